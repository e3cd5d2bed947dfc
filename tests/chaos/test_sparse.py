"""A file that is damaged into a sparse one of 50 GiB is refused in one line, which names the limit, and is not read."""

from __future__ import annotations

import json
import os
import resource
from collections.abc import Callable
from pathlib import Path

import pytest

from configs.errors import UserError
from configs.recipe import load_recipe
from configs.schema import VocabularyConfig
from launch.transfer.huggingface import new_pieces
from preprocessing.corpus.evaluation_text import _passages
from preprocessing.dataset import read_manifest
from preprocessing.storage import store_at
from preprocessing.vocabulary import Vocabulary
from preprocessing.vocabulary.vocabulary_files import read_vocabulary
from pretrain.huggingface.json_files import read_json
from pretrain.huggingface.tokenizer_files import read_tokenizer
from pretrain.huggingface.tokenizer_settings import UNSTATED
from pretrain.huggingface.weight_files import read_weights
from pretrain.transfer.features import Mix
from pretrain.transfer.senses import read_contexts
from pretrain.transfer.tables.columnar import read_saved_dataset
from pretrain.transfer.tables.table import open_table
from tests.pretrain.runs import VOCAB

SIZE = 50 << 30
MOST_MORE_BYTES = 1 << 30  # of memory: a long line is read up to its limit


def rows(path: Path, first: bytes = b"a,b\n") -> None:
    with path.open("r+b") as stream:
        stream.write(first)
    with open_table(path) as table:
        list(table.rows)


def passages(path: Path) -> None:
    with path.open("r+b") as stream:
        stream.write(b"word " * (1 << 20))  # beyond the sample that is searched for NUL bytes
    list(_passages(str(path)))


READERS: dict[str, Callable[[Path], object]] = {
    "manifest.json": lambda path: read_manifest(path.parent),
    "vocab.txt": lambda path: read_vocabulary(path, VocabularyConfig()),
    "stored/vocab.txt": lambda path: Vocabulary.of_data_set(store_at(path.parent), VOCAB.entry()),
    "model/vocab.txt": lambda path: read_tokenizer(path.parent, 9, UNSTATED),
    "tokenizer.json": lambda path: read_vocabulary(path, VocabularyConfig()),
    "recipe.toml": load_recipe,
    "config.json": read_json,
    "model.safetensors.index.json": lambda path: read_weights(path.parent),
    "mix.json": Mix.read,
    "pieces.txt": lambda path: new_pieces(path, VOCAB),
    "contexts.tsv": lambda path: read_contexts(path, "bank"),
    "state.json": lambda path: read_saved_dataset(path.parent),
    "rows.csv": rows,
    "rows.parquet": lambda path: rows(path, b"PAR1"),
    "rows.arrow": lambda path: rows(path, b"ARROW1"),
    "rows.zip": lambda path: rows(path, b"PK\x03\x04"),
    "utf16.csv": lambda path: rows(path, b"\xff\xfe"),
    "exam.txt": passages,
    "exam.json": passages,
    "exam.jsonl": passages,
    "exam.csv": passages,
}


@pytest.mark.parametrize("name", READERS)
def test_a_file_that_is_larger_than_the_memory_is_refused_unread(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.touch()
    os.truncate(path, SIZE)  # sparse
    before = peak_bytes()
    with pytest.raises(UserError, match=r"larger than \d+ [GM]iB, the limit|of more than [\d,]+ characters") as raised:
        READERS[name](path)
    assert str(path) in str(raised.value) or str(path.parent) in str(raised.value)
    assert "\n" not in str(raised.value)
    assert peak_bytes() - before < MOST_MORE_BYTES


def test_the_rest_of_a_safetensors_file_is_refused_unread(tmp_path: Path) -> None:
    header = json.dumps({"w": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}).encode()
    for content in (b"", len(header).to_bytes(8, "little") + header + bytes(4)):
        (tmp_path / "model.safetensors").write_bytes(content)
        os.truncate(tmp_path / "model.safetensors", SIZE)
        before = peak_bytes()
        with pytest.raises(UserError, match="cannot read"):
            read_weights(tmp_path)
        assert peak_bytes() - before < MOST_MORE_BYTES


def peak_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10
