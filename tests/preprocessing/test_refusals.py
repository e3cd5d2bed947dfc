"""What corpora and vocabularies are refused for, and that the fix that each message names works."""

from __future__ import annotations

import json
import pickle
import re
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from configs.errors import UserError
from configs.schema import CorpusConfig
from preprocessing.documents.formats.columns import TextColumns
from preprocessing.documents.formats.csv_rows import csv_rows
from preprocessing.documents.formats.json_lines import _refuse_other_notation
from preprocessing.documents.input_files import ReadCounter
from preprocessing.documents.plan import _refuse_encoding
from preprocessing.documents.signatures import refuse_foreign


def test_missing_and_repeated_columns_are_named(tmp_path: Path) -> None:
    schema = pa.schema([("body", pa.string()), ("title", pa.string()), ("title", pa.string())])
    with pytest.raises(UserError, match="the file has no column 'text'") as caught:
        TextColumns(schema, ["text"], "t.parquet")
    with pytest.raises(UserError, match="the file has several columns 'title'"):
        TextColumns(schema, ["title"], "t.parquet")
    offered = caught.value.fix.rpartition(": ")[2].split(", ")[0]
    assert TextColumns(schema, [offered], "t.parquet").names == ["body"]


def test_a_repeated_column_of_csv_is_named_and_renaming_it_works(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    corpus = CorpusConfig.model_validate({"paths": [str(path)], "format": "csv", "text_field": "text"})
    path.write_text("text,text\na,b\n")
    with pytest.raises(UserError, match=r"several columns 'text'. Rename all but one of them"):
        list(csv_rows(str(path), 0, 0, corpus, ReadCounter()))
    path.write_text("text,other\na,b\n")
    assert [block for _, block in csv_rows(str(path), 0, 0, corpus, ReadCounter())] == [b"a"]


def test_a_line_beyond_the_limit_of_a_document_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("preprocessing.documents.formats.csv_rows.MAX_DOCUMENT_BYTES", 1 << 20)
    path = tmp_path / "t.csv"
    corpus = CorpusConfig.model_validate({"paths": [str(path)], "format": "csv", "text_field": "text"})
    path.write_text("text\n" + "a" * (1 << 21) + "\n")
    with pytest.raises(UserError, match=r"a line is longer than 1 MiB\. Break the text into lines"):
        list(csv_rows(str(path), 0, 0, corpus, ReadCounter()))
    path.write_text("text\n" + "a\n" * 3)
    assert len(list(csv_rows(str(path), 0, 0, corpus, ReadCounter()))) == 3


@pytest.mark.parametrize("content", [[{"text": "a"}, {"text": "b"}], {"text": "a", "id": 1}])
def test_json_in_another_layout_is_refused_and_lines_are_accepted(content: Any) -> None:
    start = json.dumps(content, indent=1).encode()
    with pytest.raises(UserError, match=r"Write one object a line, for example with cat d.json \| jq -c") as caught:
        _refuse_other_notation(start, "d.json")
    assert caught.value.fix.endswith(" > d.jsonl")
    rows = content if isinstance(content, list) else [content]
    _refuse_other_notation("\n".join(map(json.dumps, rows)).encode(), "d.jsonl")


def test_files_that_are_no_text_are_named() -> None:
    with pytest.raises(UserError, match=r"this is a pickle. Write its texts as JSON lines"):
        refuse_foreign(pickle.dumps(["a text"]), "d.txt", is_utf8=True)
    for start, kind in ((b"SQLite format 3\0", "an SQLite database"), (b"\x93NUMPY\x01", "a NumPy array")):
        with pytest.raises(UserError, match=re.escape(f"d.txt: this is {kind}")):
            refuse_foreign(start, "d.txt", is_utf8=True)
    refuse_foreign(b'{"text": "a text"}\n', "d.txt", is_utf8=True)


def test_an_encoding_of_parquet_is_refused_and_none_is_accepted() -> None:
    fields = {"paths": ["d.parquet"], "format": "parquet"}
    with pytest.raises(UserError, match=r"parquet files state how they encode text. Remove the key encoding"):
        _refuse_encoding(CorpusConfig.model_validate(fields | {"encoding": "latin-1"}))
    _refuse_encoding(CorpusConfig.model_validate(fields))
