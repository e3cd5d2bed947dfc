"""launch/docs/add_a_corpus_format.md, done: subtitles, which give the rows of the same documents in plain files."""

from __future__ import annotations

import gzip
import shutil
from pathlib import Path

import pytest

from tests.drills.drill import Copy, Edit
from tests.integration.test_earlier_versions import FIXTURES
from tests.preprocessing.corpora import digests

pytestmark = pytest.mark.slow

FORMATS = "preprocessing/documents/formats"
TABLE = f"{FORMATS}/table.py"
NEW = {f"{FORMATS}/subtitles.py": Path(__file__).with_name("subtitles.py")}
IMPORT = "from preprocessing.documents.formats.wikiextractor import"
EDITS = [
    Edit("configs/schema/text.py", '"jsonl",\n', '"jsonl",\n        "subtitles",\n'),
    Edit(TABLE, IMPORT, f"from preprocessing.documents.formats.subtitles import text_of_subtitles\n{IMPORT}"),
    Edit(
        TABLE,
        "FORMATS = {\n",
        "FORMATS = {\n"
        '    "subtitles": Format(in_sections(file_blocks), 16.0, text_of_subtitles, is_splittable=False),\n',
    ),
]


def captions(text: str) -> str:
    """The lines of a text as the captions of a SubRip file."""
    times = "00:00:{0:02},000 --> 00:00:{0:02},900"
    return "\n".join(f"{n}\n{times.format(n % 60)}\n{line}\n" for n, line in enumerate(text.split("\n"), 1))


def test_subtitles_as_a_corpus_format(tmp_path: Path) -> None:
    copy = Copy(tmp_path / "copy", NEW, EDITS)
    texts = (FIXTURES / "v0_1" / "corpus" / "one.txt").read_text().strip().split("\n\n")
    shutil.copy(FIXTURES / "v0_1" / "run.toml", tmp_path)
    (tmp_path / "files").mkdir()
    (tmp_path / "subtitles").mkdir()
    for number, text in enumerate(texts):
        (tmp_path / "files" / f"{number:03}.txt").write_text(text)
        with gzip.open(tmp_path / "subtitles" / f"{number:03}.srt.gz", "wt") as stream:
            stream.write(captions(text))

    for name in ("files", "subtitles"):
        corpus = f'data.corpora=[{{paths=["{name}"], format="{name}"}}]'
        arguments = ("run.toml", f"data.dataset={name}_dataset", corpus, "data.group_bytes=1000000")
        planned = copy.python("-m", "launch.cli", "plan", *arguments, cwd=tmp_path)
        assert planned.returncode == 0, planned.stdout + planned.stderr
        prepared = copy.python("-m", "launch.cli", "prepare", *arguments, cwd=tmp_path)
        assert prepared.returncode == 0, prepared.stdout + prepared.stderr
    assert digests(tmp_path / "subtitles_dataset" / "shards") == digests(tmp_path / "files_dataset" / "shards")


def test_a_file_without_captions_is_refused(tmp_path: Path) -> None:
    copy = Copy(tmp_path / "copy", NEW, EDITS)
    shutil.copy(FIXTURES / "v0_1" / "run.toml", tmp_path)
    (tmp_path / "corpus.srt").write_text("A text.\n")
    corpus = 'data.corpora=[{paths=["corpus.srt"], format="subtitles"}]'
    prepared = copy.python("-m", "launch.cli", "prepare", "run.toml", corpus, cwd=tmp_path)
    assert prepared.returncode == 2
    assert "corpus.srt, byte 0: the file holds no caption" in prepared.stderr
