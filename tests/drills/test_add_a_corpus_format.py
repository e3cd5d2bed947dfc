"""launch/docs/add_a_corpus_format.md, done: CSV, which gives the same rows as the same documents in JSON lines."""

from __future__ import annotations

import csv
import gzip
import json
import shutil
from pathlib import Path

from tests.drills.drill import Copy, Edit
from tests.integration.test_earlier_versions import FIXTURES
from tests.preprocessing.corpora import digests

NEW = {"preprocessing/documents/csv_rows.py": Path(__file__).with_name("csv_rows.py")}
FORMATS = "preprocessing/documents/formats.py"
EDITS = [
    Edit("configs/schema/text.py", '"jsonl", "parquet"]', '"jsonl", "parquet", "csv"]'),
    Edit(
        FORMATS,
        "from preprocessing.documents.document_text import",
        "from preprocessing.documents.csv_rows import csv_rows\nfrom preprocessing.documents.document_text import",
    ),
    Edit(FORMATS, "FORMATS = {\n", 'FORMATS = {\n    "csv": Format(csv_rows, 17.0, is_splittable=False),\n'),
]


def test_csv_as_a_corpus_format(tmp_path: Path) -> None:
    copy = Copy(tmp_path / "copy", NEW, EDITS)
    texts = (FIXTURES / "v0_1" / "corpus" / "one.txt").read_text().strip().split("\n\n")
    shutil.copy(FIXTURES / "v0_1" / "run.toml", tmp_path)
    (tmp_path / "jsonl").mkdir()
    (tmp_path / "csv").mkdir()
    (tmp_path / "jsonl" / "corpus").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    with gzip.open(tmp_path / "csv" / "corpus.gz", "wt", newline="") as stream:
        rows = csv.writer(stream)
        rows.writerow(["number", "story"])
        rows.writerows(enumerate(texts))

    for name, field in (("jsonl", "text"), ("csv", "story")):
        corpus = f'data.corpora=[{{paths=["{name}"], format="{name}", text_field="{field}"}}]'
        arguments = ("run.toml", f"data.dataset={name}_dataset", corpus)
        planned = copy.python("-m", "launch.cli", "plan", *arguments, cwd=tmp_path)
        assert planned.returncode == 0, planned.stdout + planned.stderr
        prepared = copy.python("-m", "launch.cli", "prepare", *arguments, cwd=tmp_path)
        assert prepared.returncode == 0, prepared.stdout + prepared.stderr
    assert digests(tmp_path / "csv_dataset" / "shards") == digests(tmp_path / "jsonl_dataset" / "shards")


def test_a_header_without_the_column_is_refused(tmp_path: Path) -> None:
    copy = Copy(tmp_path / "copy", NEW, EDITS)
    shutil.copy(FIXTURES / "v0_1" / "run.toml", tmp_path)
    (tmp_path / "corpus.csv").write_text("number,story\n1,A text.\n")
    corpus = 'data.corpora=[{paths=["corpus.csv"], format="csv"}]'
    prepared = copy.python("-m", "launch.cli", "prepare", "run.toml", corpus, cwd=tmp_path)
    assert prepared.returncode == 2
    assert "corpus.csv: the header names no column 'text'" in prepared.stderr
