"""One opener for all: what a file is comes from its content, whatever its name."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

from configs.errors import UserError
from pretrain.transfer.tables.json_rows import parse
from pretrain.transfer.tables.table import open_table
from tests.preprocessing.corpora import write_lying_arrow

RECORDS = [{"text": "one, two", "label": 1}, {"text": "drei\u00e9", "label": 0}]
CSV = 'text,label\n"one, two",1\ndrei\u00e9,0\n'
JSONL = "".join(json.dumps(record) + "\n" for record in RECORDS)


def rows(path: Path, names: list[str] | None = None) -> list[dict[str, Any]]:
    with open_table(path, names or []) as table:
        return [row.values for row in table.rows if row.problem is None]


def problems(path: Path) -> list[str]:
    with open_table(path) as table:
        return [f"{row.place}: {row.problem.cause}" for row in table.rows if row.problem]


def write(folder: Path, content: str | bytes, name: str = "data") -> Path:
    (folder / name).write_bytes(content.encode() if isinstance(content, str) else content)
    return folder / name


def as_text(records: list[dict[str, Any]]) -> list[dict[str, str]]:
    return [{name: str(value) for name, value in record.items()} for record in records]


CONTENTS: dict[str, str | bytes] = {
    "csv": CSV,
    "csv with a mark": CSV.encode("utf-8-sig"),
    "csv of Windows": CSV.replace("\n", "\r\n"),
    "csv of old Macs": CSV.replace("\n", "\r"),
    "csv in UTF-16": CSV.encode("utf-16"),
    "csv in UTF-16 without a mark": CSV.encode("utf-16-le"),
    "csv in UTF-16, big-endian": b"\xfe\xff" + CSV.encode("utf-16-be"),
    "csv in UTF-32": CSV.encode("utf-32"),
    "semicolons": 'text;label\n"one, two";1\ndrei\u00e9;0\n',
    "vertical bars": "text|label\none, two|1\ndrei\u00e9|0\n",
    "tabs": "text\tlabel\none, two\t1\ndrei\u00e9\t0\n",
    "blanks after commas": 'text, label\n"one, two", 1\ndrei\u00e9, 0\n',
    "blank lines": f"\n\n{CSV}\n\n",
    "trailing commas": 'text,label\n"one, two",1,,\ndrei\u00e9,0,\n',
    "jsonl": JSONL,
    "jsonl with blank lines": "\n" + JSONL.replace("\n", "\n\n"),
    "json array": json.dumps(RECORDS),
    "indented json array": json.dumps(RECORDS, indent=2),
    "json array of data": json.dumps({"version": 1, "data": RECORDS}),
    "gz": gzip.compress(CSV.encode(), mtime=0),
    "gz of jsonl": gzip.compress(JSONL.encode(), mtime=0),
    "bz2": bz2.compress(JSONL.encode()),
    "xz": lzma.compress(CSV.encode("utf-16")),
    "zst": zstandard.compress(JSONL.encode()),
}


@pytest.mark.parametrize("kind", CONTENTS)
def test_the_same_records_are_read_from_every_form(kind: str, tmp_path: Path) -> None:
    assert as_text(rows(write(tmp_path, CONTENTS[kind]))) == as_text(RECORDS)


def test_standard_input_is_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    piped = io.TextIOWrapper(io.BufferedReader(io.BytesIO(gzip.compress(JSONL.encode(), mtime=0))))
    monkeypatch.setattr(sys, "stdin", piped)
    assert rows(Path("-")) == RECORDS


@pytest.mark.parametrize("name", ["a.parquet", "a.arrow", "a.stream", "saved"])
def test_class_labels_are_read_by_their_names(name: str, tmp_path: Path) -> None:
    features = datasets.Features({"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["neg", "pos"])})
    columns = {"text": ["a", "b", "c"], "label": [1, 0, -1]}
    made, path = datasets.Dataset.from_dict(columns, features=features), tmp_path / name
    if name == "saved":
        made.save_to_disk(path)
    elif name == "a.parquet":
        made.to_parquet(path)
    else:
        table = made.data.table
        with (pa.ipc.new_file if name == "a.arrow" else pa.ipc.new_stream)(path, table.schema) as writer:
            writer.write_table(table)
    assert [row["label"] for row in rows(path)] == ["pos", "neg", None]


def test_lists_of_class_labels_are_read_by_their_names(tmp_path: Path) -> None:
    tags = datasets.Sequence(datasets.ClassLabel(names=["O", "B-X"]))
    features = datasets.Features({"tokens": datasets.Sequence(datasets.Value("string")), "tags": tags})
    columns = {"tokens": [["a", "b"]], "tags": [[0, 1]]}
    datasets.Dataset.from_dict(columns, features=features).to_parquet(tmp_path / "a")
    assert rows(tmp_path / "a") == [{"tokens": ["a", "b"], "tags": ["O", "B-X"]}]


def test_parquet_without_metadata_is_read_as_it_is(tmp_path: Path) -> None:
    pq.write_table(pa.table({"text": ["a"], "label": [1]}), tmp_path / "a")
    assert rows(tmp_path / "a") == [{"text": "a", "label": 1}]


def archive(member: str) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as made:
        made.writestr(member, "x")
    return stream.getvalue()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (archive("xl/workbook.xml"), "an Excel workbook. Save it as CSV"),
        (archive("xl/worksheets/sheet1.xml"), "an Excel workbook"),
        (archive("word/document.xml"), "a Word document"),
        (archive("train.csv"), r"a zip archive. Unpack it and give one of its files, e\.g\. train\.csv"),
        (b"\xd0\xcf\x11\xe0\xa1", "an old Excel workbook"),
        (b"%PDF-1.7", "a PDF file"),
        (b"\x89PNG\r\n\x1a\n" + bytes(40), "a PNG image"),
        (bytes(80), "zero bytes: this is not a text file"),
        (b"\x80\x04\x95", "a pickle, which can run code"),
        (b"version https://git-lfs.github.com/spec/v1\n", "a pointer of Git LFS"),
        (b"text,label\nca\xe9,1\n", "line 2: not UTF-8 text: byte 0xe9"),
        (b"text,label\na\x00b,1\n", "line 2: a zero byte"),
        (gzip.compress(CSV.encode(), mtime=0)[:-9], "the file is truncated"),
        (gzip.compress(gzip.compress(CSV.encode(), mtime=0), mtime=0), "compressed twice"),
        (b"\x04\x22\x4d\x18" + CSV.encode(), "LZ4 data"),
        (b"text,label\r\na\rb,1\r\n", "line 2: a carriage return stands inside a line"),
        (b'text,label\r"a\nb",1\r', "line 1: a carriage return stands inside a line"),
        ("text,label\n本,1\n".encode("iso2022_jp"), "line 2: an escape sequence of ISO 2022"),
        (b"PAR1 and no more", "cannot read"),
        (b'text,label\na,1\n"b,0\nc,1\n', "line 3: a quotation mark opens a text here and is never closed"),
        (b'text,label\n"say \\"no\\"",1\n', "line 2: text follows the quotation mark that ends a field"),
        (b'[{"text": "a"}\n', "not JSON"),
        (b'["a"', "not JSON"),
    ],
)
def test_other_files_are_named_for_what_they_are(content: bytes, words: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=words):
        rows(write(tmp_path, content))


def test_missing_files_and_folders_are_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot read: No such file"):
        rows(tmp_path / "none")
    write(tmp_path, "x", "train.jsonl")
    with pytest.raises(UserError, match=r"a folder, not a file; it holds train\.jsonl\. Give one of its files"):
        rows(tmp_path)


def test_records_of_another_number_of_fields_are_named_with_their_line(tmp_path: Path) -> None:
    path = write(tmp_path, 'text,label\n"a\nb",1\none, two,1\nc\nd,0\n')
    assert problems(path) == [
        f"{path}, line 4: 3 fields separated by commas, but the header names 2",
        f"{path}, line 5: 1 fields separated by commas, but the header names 2",
    ]
    assert rows(path) == [{"text": "a\nb", "label": "1"}, {"text": "d", "label": "0"}]


def test_quotation_marks_are_ordinary_between_tabs(tmp_path: Path) -> None:
    path = write(tmp_path, 'text\tlabel\nsay "no\t1\n"yes"\t0\n')
    assert [row["text"] for row in rows(path)] == ['say "no', '"yes"']


def test_a_field_can_be_longer_than_pythons_limit(tmp_path: Path) -> None:
    path = write(tmp_path, f'text,label\n"{"word " * 30_000}",1\n')
    assert len(rows(path)[0]["text"]) == 150_000


def test_columns_can_be_named_for_a_file_without_a_header(tmp_path: Path) -> None:
    path = write(tmp_path, "gj04\t1\t\tOur friends.\ngj04\t0\t*\tThey drank the pub.\n")
    made = rows(path, ["source", "label", "mark", "sentence"])
    assert [row["label"] for row in made] == ["1", "0"]
    with pytest.raises(UserError, match=r"line 1: 4 fields, but task\.columns names 2"):
        rows(path, ["label", "sentence"])
    bracket = write(tmp_path, "[laughs] {so}\t1\n[ends]\t0\n")
    assert [row["label"] for row in rows(bracket, ["sentence", "label"])] == ["1", "0"]


@pytest.mark.parametrize("kind", ["jsonl", "json array", "parquet", "datasets"])
def test_names_of_columns_are_for_files_without_them(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "data"
    if kind == "parquet":
        pq.write_table(pa.Table.from_pylist(RECORDS), path)
    elif kind == "datasets":
        datasets.Dataset.from_list(RECORDS).save_to_disk(path)
    else:
        write(tmp_path, CONTENTS[kind])
    with pytest.raises(UserError, match=r"this file has names of its own\. Remove task\.columns"):
        rows(path, ["text", "label"])
    assert rows(path)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("{", "not JSON"),
        ("[1]", "not a JSON object"),
        ('{"label": 0, "label": 1}', "the key 'label' occurs twice"),
        ("[" * 100_000, "nested too deeply"),
    ],
)
def test_bad_lines_of_jsonl_are_named(line: str, words: str, tmp_path: Path) -> None:
    path = write(tmp_path, f'{JSONL}{line}\n{{"text": "last", "label": 1}}\n')
    (problem,) = problems(path)
    assert problem.startswith(f"{path}, line 3: ")
    assert words in problem
    assert len(rows(path)) == 3


def test_two_columns_of_one_name_keep_both_values(tmp_path: Path) -> None:
    assert rows(write(tmp_path, "a,b,a\n1,2,3\n")) == [{"a": "1", "b": "2", "a.2": "3"}]


MANY = "".join(["text,label\n", *(f"text number {number},{number % 2}\n" for number in range(3_000))]).encode()
PACK = {"gz": gzip.compress, "bz2": bz2.compress, "xz": lzma.compress, "zst": zstandard.compress}


@pytest.mark.parametrize("pack", PACK.values(), ids=PACK)
def test_a_damaged_compressed_file_is_refused_and_never_shorter(pack: Callable[[bytes], bytes], tmp_path: Path) -> None:
    whole, first, second = pack(MANY), pack(MANY[:30_000]), pack(MANY[30_000:])
    assert len(rows(write(tmp_path, first + second))) == 3_000
    for content in (whole[: len(whole) // 2], whole[:-3], whole + b"more", first + b"!" + second[1:]):
        with pytest.raises(UserError, match=r"truncated|damaged"):
            rows(write(tmp_path, content))


def test_streams_of_arrow_are_read_to_their_end(tmp_path: Path) -> None:
    stream, table = io.BytesIO(), pa.table({"text": ["a", "b"] * 5, "label": [0, 1] * 5})
    with pa.ipc.new_stream(stream, table.schema) as writer:
        writer.write_table(table, max_chunksize=2)
    assert len(rows(write(tmp_path, stream.getvalue() * 2))) == 20
    with pytest.raises(UserError, match="truncated"):
        rows(write(tmp_path, stream.getvalue()[:-8]))


def test_a_text_outside_a_file_of_arrow_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="a damaged file"):
        rows(write_lying_arrow(tmp_path / "a.arrow"))


def test_a_damaged_page_of_parquet_is_named(tmp_path: Path) -> None:
    pq.write_table(pa.table({"text": [f"text {number}" for number in range(99)]}), tmp_path / "a")
    content = (tmp_path / "a").read_bytes()
    with pytest.raises(UserError, match="damaged"):
        rows(write(tmp_path, content[:60] + b"\xff" * 40 + content[100:]))


def test_the_header_of_a_concatenated_file_is_no_record(tmp_path: Path) -> None:
    (problem,) = problems(write(tmp_path, CSV.encode("utf-8-sig") * 2))
    assert problem.endswith("line 4: the header line again")


def test_columns_come_from_many_objects_of_jsonl(tmp_path: Path) -> None:
    path = write(tmp_path, '{"text": bad}\n{"text": "a", "data": [1]}\n{"text": "b", "label": 1}\n')
    with open_table(path) as table:
        assert table.columns == ["text", "data", "label"]
    assert len(rows(write(tmp_path, '{"data": ["a"], "label": 1}\n' * 2))) == 2


@pytest.mark.parametrize("text", ['{"text": "\\ud800"}', '{"\\udc00": 1}', '["a", "\\ud83d"]'])
def test_half_of_a_surrogate_pair_is_no_text(text: str) -> None:
    with pytest.raises(ValueError, match="surrogate"):
        parse(text)
    assert parse('["\\ud83d\\ude00"]') == ["\U0001f600"]
