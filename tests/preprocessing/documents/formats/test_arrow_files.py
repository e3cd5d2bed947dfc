"""Arrow streams and files, and the folders that Hugging Face `datasets` writes."""

from __future__ import annotations

import gzip
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import feather

from configs.errors import UserError
from configs.schema import CorpusConfig
from preprocessing.documents.file_search import find_files
from preprocessing.documents.formats import FORMATS
from preprocessing.documents.input_files import ReadCounter
from tests.preprocessing.corpora import write_lying_arrow

datasets = pytest.importorskip("datasets")

TEXTS = [f"text {number}" for number in range(25)]


def read(path: str | Path, field: str = "text") -> list[bytes | str]:
    corpus = CorpusConfig(paths=[str(path)], format="arrow", text_field=field)
    return [block for _, block in FORMATS["arrow"].blocks(str(path), 0, 1 << 40, corpus, ReadCounter())]


def write(path: Path, *, as_stream: bool) -> Path:
    table = pa.table({"id": range(25), "text": pa.array(TEXTS, pa.string_view())})
    new = pa.ipc.new_stream if as_stream else pa.ipc.new_file
    with new(str(path), table.schema) as writer:
        writer.write_table(table, max_chunksize=10)
    return path


@pytest.mark.parametrize("as_stream", [True, False])
def test_all_batches_are_read(tmp_path: Path, as_stream: bool) -> None:
    assert read(write(tmp_path / "a.arrow", as_stream=as_stream)) == [text.encode() for text in TEXTS]


def test_a_folder_of_save_to_disk_is_read(tmp_path: Path) -> None:
    data = datasets.Dataset.from_dict({"text": TEXTS, "meta": [{"title": f"T{number}"} for number in range(25)]})
    data.filter(lambda row: row["text"] != "text 3").save_to_disk(tmp_path / "data", num_shards=3)
    datasets.DatasetDict({"train": data, "test": data.select([4])}).save_to_disk(tmp_path / "splits")
    files = find_files([str(tmp_path / "data")], FORMATS["arrow"].side_files)
    assert [Path(file.path).suffix for file in files] == [".arrow"] * 3
    assert [text for file in files for text in read(file.path)] == [t.encode() for t in TEXTS if t != "text 3"]
    assert read(files[0].path, "meta.title")[0] == b"T0"
    splits = find_files([str(tmp_path / "splits")], FORMATS["arrow"].side_files)
    assert [Path(file.path).parent.name for file in splits] == ["test", "train"]


@pytest.mark.parametrize("as_stream", [True, False])
@pytest.mark.parametrize("cut", ["half", "before the last batch", "end"])
def test_a_truncated_file_is_refused(tmp_path: Path, as_stream: bool, cut: str) -> None:
    content = write(tmp_path / "a.arrow", as_stream=as_stream).read_bytes()
    ends = {"half": len(content) // 2, "before the last batch": content.rindex(b"\xff\xff\xff\xff", 0, -8), "end": -4}
    (tmp_path / "a.arrow").write_bytes(content[: ends[cut]])
    with pytest.raises(UserError, match="truncated") as raised:
        read(tmp_path / "a.arrow")
    assert raised.value.place == str(tmp_path / "a.arrow")


def test_a_text_outside_the_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="the file is damaged, truncated, or not Arrow"):
        read(write_lying_arrow(tmp_path / "a.arrow"))


@pytest.mark.parametrize("content", [b"", b"{}", b"plain text " * 100])
def test_another_file_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.arrow").write_bytes(content)
    with pytest.raises(UserError, match="not Arrow"):
        read(tmp_path / "a.arrow")


def test_feather_of_version_1_is_named(tmp_path: Path) -> None:
    feather.write_feather(pa.table({"text": TEXTS}), str(tmp_path / "a.feather"), version=1)
    with pytest.raises(UserError, match="this is Feather of version 1") as raised:
        read(tmp_path / "a.feather")
    assert "Feather of version 2" in raised.value.fix
    feather.write_feather(pa.table({"text": TEXTS}), str(tmp_path / "b.feather"), version=2, compression="lz4")
    assert read(tmp_path / "b.feather") == [text.encode() for text in TEXTS]


def test_compression_around_arrow_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.arrow.gz"
    path.write_bytes(gzip.compress(write(tmp_path / "a.arrow", as_stream=False).read_bytes()))
    with pytest.raises(UserError, match="Arrow is not read through another compression") as raised:
        read(path)
    assert raised.value.fix.startswith("decompress the file")


def test_concatenated_streams_are_read_to_the_end(tmp_path: Path) -> None:
    path = write(tmp_path / "a.arrow", as_stream=True)
    path.write_bytes(path.read_bytes() * 2)
    assert read(path) == [text.encode() for text in TEXTS] * 2


def test_two_columns_of_one_name_are_refused(tmp_path: Path) -> None:
    table = pa.table([pa.array(TEXTS), pa.array(TEXTS)], names=["text", "text"])
    with pa.ipc.new_stream(str(tmp_path / "a.arrow"), table.schema) as writer:
        writer.write_table(table)
    with pytest.raises(UserError, match="several columns 'text'"):
        read(tmp_path / "a.arrow")
