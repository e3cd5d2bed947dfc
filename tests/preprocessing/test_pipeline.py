"""From text to a data set: its bytes, what a rerun keeps, and what bad input leads to."""

from __future__ import annotations

import bz2
import gzip
import hashlib
import json
import logging
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from configs.errors import UserError
from configs.schema import DataConfig
from preprocessing.corpus.cleaning import split_of
from preprocessing.dataset.manifest import MANIFEST, SHARDS, VOCABULARY, Manifest, read_manifest
from preprocessing.dataset.shard import read_shard
from preprocessing.documents.progress import Progress
from preprocessing.inspection.verification import verify
from preprocessing.pipeline import prepare
from preprocessing.resuming.folder import claimed
from preprocessing.resuming.identity import Identity
from preprocessing.resuming.parts import GROUPS, WORK
from preprocessing.storage.places import store_at
from preprocessing.vocabulary.training import train_vocabulary
from preprocessing.vocabulary.vocabulary import SPECIAL_TOKENS, Vocabulary
from tests.preprocessing.corpora import digests, make_documents, small_config, wikipedia_xml, write_text

GOLDEN = Path(__file__).parent / "golden" / "shards.json"
REFRESH = "REFRESH_GOLDEN=1 pytest tests/preprocessing/test_pipeline.py"


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """300 documents in one file, about 100 kB: five groups of the small recipe."""
    return write_text(tmp_path / "corpus.txt", make_documents(300))


@pytest.fixture
def config(tmp_path: Path, corpus: Path) -> DataConfig:
    return small_config(tmp_path / "dataset", corpus)


def folder_of(config: DataConfig) -> Path:
    return Path(config.dataset)


def digest_of_document(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()


def written(config: DataConfig) -> dict[str, tuple[int, int]]:
    """When and as which file each shard and side file was written."""
    files = [*folder_of(config).glob("shards/*"), *folder_of(config).glob("groups/[0-9v]*")]
    return {file.name: (file.stat().st_ino, file.stat().st_mtime_ns) for file in files}


def test_data_set_is_what_the_contract_says(config: DataConfig) -> None:
    manifest = prepare(config)
    folder = folder_of(config)
    assert read_manifest(folder) == manifest
    assert list(verify(folder)) == []
    assert sorted(path.name for path in folder.iterdir()) == sorted([GROUPS, MANIFEST, SHARDS, VOCABULARY])
    assert manifest.recipe == config.byte_fields()
    assert manifest.vocabulary.size == 150
    assert {shard.group for shard in manifest.shards} == {f"{item:05}.0000" for item in range(5)}
    assert (
        len(manifest.select("train", 0)) == len(manifest.select("train", 1)) == len(manifest.select("held_out", 0)) == 5
    )
    assert manifest.select("held_out", 1) == []
    assert manifest.drops == {}
    expected = sum(split_of(digest_of_document(text), 0.1) == "held_out" for text in make_documents(300))
    assert (manifest.statistics.documents, manifest.statistics.held_out_documents) == (300, expected)


def test_statistics_are_those_of_the_first_training_pass(config: DataConfig) -> None:
    manifest = prepare(config)
    shards = [read_shard(folder_of(config) / shard.name) for shard in manifest.select("train", 0)]
    lengths = np.concatenate([np.diff(rows.input_offsets) for rows in shards])
    assert manifest.statistics.length_histogram == np.bincount(lengths, minlength=49).tolist()
    originals = np.zeros(150, np.int64)
    for rows in shards:
        ids = rows.input_ids.copy()
        row_starts = np.repeat(rows.input_offsets[:-1], np.diff(rows.masked_offsets))
        ids[row_starts + rows.masked_lm_positions] = rows.masked_lm_ids
        originals += np.bincount(ids, minlength=150)
    originals[[manifest.vocabulary.cls_id, manifest.vocabulary.sep_id]] = 0
    assert manifest.statistics.token_counts == originals.tolist()
    assert manifest.statistics.text_bytes == sum(len(text.encode()) for text in make_documents(300))
    assert manifest.statistics.random_next_pairs == sum(int(rows.next_sentence_label.sum()) for rows in shards)


def test_bytes_are_the_recorded_ones(config: DataConfig) -> None:
    manifest = prepare(config)
    found = {shard.name: shard.sha256 for shard in manifest.shards}
    if os.environ.get("REFRESH_GOLDEN"):
        GOLDEN.write_text(json.dumps(found, indent=1) + "\n")
    assert GOLDEN.exists(), f"write it with {REFRESH}"
    assert found == json.loads(GOLDEN.read_text()), (
        f"data sets of old recipes have other bytes now; if meant: {REFRESH}"
    )


def test_same_input_and_recipe_give_the_same_bytes_elsewhere(config: DataConfig, tmp_path: Path) -> None:
    prepare(config)
    moved = write_text(tmp_path / "elsewhere" / "corpus.txt", make_documents(300))
    other = small_config(tmp_path / "other", moved)
    prepare(other)
    assert digests(folder_of(other)) == digests(folder_of(config))


def test_two_workers_give_the_same_bytes_as_one(config: DataConfig, tmp_path: Path) -> None:
    prepare(config)
    other = config.model_copy(update={"dataset": str(tmp_path / "other"), "workers": 2})
    prepare(other)
    assert digests(folder_of(other)) == digests(folder_of(config))


def test_seed_and_pass_change_the_rows(config: DataConfig, tmp_path: Path) -> None:
    first = prepare(config)
    second = prepare(config.model_copy(update={"dataset": str(tmp_path / "other"), "seed": 2}))
    sums = [shard.sha256 for manifest in (first, second) for shard in manifest.shards]
    assert len(set(sums)) == len(sums)
    assert first.digest != second.digest


def test_every_pair_is_of_the_documents_that_its_label_and_split_say(tmp_path: Path) -> None:
    """Each document is made of a word of its own, so that rows tell where they come from."""
    names = [f"{first}{second}{third}" for first in "bcdfghklmn" for second in "aeiou" for third in "rst"]
    texts = ["\n".join([" ".join([name] * 9)] * 7) for name in names]
    corpus = write_text(tmp_path / "corpus.txt", texts)
    vocabulary = Vocabulary((*SPECIAL_TOKENS, *names), lowercase=True)
    vocabulary.write(tmp_path / "vocab.txt")
    config = small_config(
        tmp_path / "dataset", corpus, held_out_fraction=0.3, mask_token_prob=0.0, random_token_prob=0.0,
        vocabulary={"file": str(tmp_path / "vocab.txt")},
    )  # fmt: skip
    manifest = prepare(config)
    assert manifest.vocabulary == vocabulary.entry()
    seen: dict[str, set[int]] = {"train": set(), "held_out": set()}
    labels = []
    for shard in manifest.shards:
        rows = read_shard(folder_of(config) / shard.name)
        for row in range(len(rows)):
            ids = rows.input_ids[rows.input_offsets[row] : rows.input_offsets[row + 1]]
            cut = int(rows.segment_a_length[row])
            (a,), (b,) = set(ids[1 : cut - 1].tolist()), set(ids[cut:-1].tolist())
            assert rows.next_sentence_label[row] == (a != b)
            labels.append(a != b)
            seen[shard.split] |= {a, b}
    for split, ids_of_split in seen.items():
        expected = {
            name for name, text in zip(names, texts, strict=True) if split_of(digest_of_document(text), 0.3) == split
        }
        assert {vocabulary.pieces[number] for number in ids_of_split} == expected
    assert 0.3 < np.mean(labels) < 0.8


def test_wikipedia_dump_and_json_lines_side_by_side(tmp_path: Path) -> None:
    documents = make_documents(60)
    pages = [(f"Page {number}", text.replace("\n", "\n\n")) for number, text in enumerate(documents[:30])]
    pages += [("Old name", "#REDIRECT [[Page 1]]"), ("Empty", "{{stub}}")]
    dump = tmp_path / "dump.xml.bz2"
    dump.write_bytes(bz2.compress(wikipedia_xml(pages).encode()))
    lines = tmp_path / "lines.jsonl.gz"
    objects = [json.dumps({"body": text}) for text in documents[30:]]
    lines.write_bytes(gzip.compress("\n".join([*objects, "{broken", '{"title": 1}']).encode()))
    corpora = [
        {"paths": [str(dump)], "format": "wikipedia"},
        {"paths": [str(lines)], "format": "jsonl", "text_field": "body"},
    ]
    manifest = prepare(small_config(tmp_path / "dataset", corpora=corpora))
    assert manifest.statistics.documents == 60
    assert manifest.statistics.text_bytes == sum(len(text.encode()) for text in documents)
    assert manifest.drops == {"broken_json": 1, "empty": 1, "no_other_document": 1, "no_text_field": 1, "redirect": 1}
    assert list(verify(tmp_path / "dataset")) == []


def test_what_is_whole_is_only_verified(config: DataConfig) -> None:
    first = prepare(config)
    before = written(config)
    told: list[Progress] = []
    assert prepare(config, progress=told.append) == first
    assert written(config) == before
    assert told == []


def test_paths_workers_and_the_name_of_the_vocabulary_are_no_other_recipe(config: DataConfig, corpus: Path) -> None:
    first = prepare(config)
    moved = corpus.rename(corpus.parent / "moved.txt").parent
    moved.joinpath("moved.txt").rename(moved / "corpus.txt")
    assert prepare(config.model_copy(update={"workers": 2})) == first


def test_other_recipe_is_refused_with_the_digest(config: DataConfig) -> None:
    first = prepare(config)
    other = DataConfig.model_validate({**config.model_dump(), "seed": 7, "vocabulary": {"size": 140}})
    with pytest.raises(UserError, match=r"data.seed, data.vocabulary.size") as raised:
        prepare(other)
    assert first.digest[:12] in raised.value.cause
    assert "--overwrite" in raised.value.fix
    assert prepare(config) == first


def test_other_input_is_refused(config: DataConfig, corpus: Path) -> None:
    prepare(config)
    write_text(corpus, make_documents(301))
    with pytest.raises(UserError, match=r"corpus\.txt has other content"):
        prepare(config)


def test_overwrite_replaces_what_is_there(config: DataConfig, tmp_path: Path) -> None:
    prepare(config.model_copy(update={"dupe_factor": 5}))
    prepare(config, overwrite=True)
    fresh = config.model_copy(update={"dataset": str(tmp_path / "fresh")})
    prepare(fresh)
    assert digests(folder_of(config)) == digests(folder_of(fresh))


class Interruption:
    """Stops a preparation like Ctrl-C once so many groups are finished in a stage."""

    def __init__(self, groups: int, stage: str = "groups") -> None:
        self.groups = groups
        self.stage = stage

    def __call__(self, progress: Progress) -> None:
        if progress.stage == self.stage and progress.groups >= self.groups:
            raise KeyboardInterrupt


@pytest.mark.parametrize("compress", [None, gzip.compress], ids=["ranges", "stream"])
def test_interrupted_preparation_goes_on(tmp_path: Path, compress: Callable[[bytes], bytes] | None) -> None:
    """`ranges`: an item a group; `stream`: one item that seals group after group."""
    corpus = write_text(tmp_path / "corpus.txt", make_documents(1_200))
    if compress is not None:
        corpus = corpus.rename(tmp_path / "corpus.txt.gz")
        corpus.write_bytes(compress(corpus.read_bytes()))
    config = small_config(tmp_path / "dataset", corpus, dupe_factor=25)
    whole = config.model_copy(update={"dataset": str(tmp_path / "whole")})
    manifest = prepare(whole)
    with pytest.raises(KeyboardInterrupt):
        prepare(config, progress=Interruption(3))
    for thread in threading.enumerate():  # of a machine so loaded that the work does not stop in time
        if thread.name == "beam":
            thread.join()
    assert not (folder_of(config) / MANIFEST).exists()
    before = written(config)
    finished = [name for name in before if name.startswith("0") and name.endswith(".json")]
    assert 3 <= len(finished) < len({shard.group for shard in manifest.shards})
    assert prepare(config) == manifest
    assert digests(folder_of(config)) == digests(folder_of(whole))
    after = written(config)
    kept = [name for name in before if name in finished or name.split("-")[0] + ".json" in finished]
    assert {name: after[name] for name in kept} == {name: before[name] for name in kept}


def flip_a_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 16
    path.write_bytes(content)


@pytest.mark.parametrize("harm", [flip_a_bit, Path.unlink, lambda path: path.write_bytes(b"")])
def test_damaged_shard_is_made_again_and_no_other(
    config: DataConfig, harm: Callable[[Path], Any], caplog: pytest.LogCaptureFixture
) -> None:
    manifest = prepare(config)
    before, whole = written(config), digests(folder_of(config))
    shard = manifest.select("train", 1)[2]
    harm(folder_of(config) / shard.name)
    with caplog.at_level(logging.WARNING):
        assert prepare(config) == manifest
    assert shard.name in caplog.text
    assert digests(folder_of(config)) == whole
    made_again = {name for name, stamp in written(config).items() if before[name] != stamp}
    assert made_again - {"vocabulary.json"} == {
        *(Path(other.name).name for other in manifest.shards if other.group == shard.group), f"{shard.group}.json",
    }  # fmt: skip


def test_damaged_vocabulary_is_made_again(config: DataConfig) -> None:
    manifest = prepare(config)
    flip_a_bit(folder_of(config) / VOCABULARY)
    before = written(config)
    assert prepare(config) == manifest
    after = written(config)
    assert {name: after[name] for name in before if name.endswith(".arrow")} == {
        name: stamp for name, stamp in before.items() if name.endswith(".arrow")
    }


def test_side_file_of_another_data_set_is_not_believed(config: DataConfig, tmp_path: Path) -> None:
    other = config.model_copy(update={"dataset": str(tmp_path / "other"), "seed": 2})
    prepare(other)
    prepare(config)
    whole = digests(folder_of(config))
    for file in folder_of(other).glob("*/0*"):
        file.replace(folder_of(config) / file.relative_to(folder_of(other)))
    prepare(config)
    assert digests(folder_of(config)) == whole


def test_second_preparation_in_the_same_folder_is_refused(config: DataConfig) -> None:
    job = Identity(config.byte_fields(), "input", None)
    with (
        claimed(store_at(config.dataset), job),
        pytest.raises(UserError, match="another preparation is running"),
    ):
        prepare(config)


def test_progress_tells_stages_and_ends_full(config: DataConfig, corpus: Path) -> None:
    told: list[Progress] = []
    prepare(config, progress=told.append)
    assert list(dict.fromkeys(progress.stage for progress in told)) == [
        "duplicates",
        "comparison",
        "vocabulary",
        "groups",
    ]
    of_groups = [progress for progress in told if progress.stage == "groups"]
    assert [progress.bytes_read for progress in of_groups] == sorted(progress.bytes_read for progress in of_groups)
    last = of_groups[-1]
    assert (last.bytes_read, last.bytes_total) == (corpus.stat().st_size, corpus.stat().st_size)
    assert (last.documents, last.groups) == (300, 5)
    assert last.seconds > 0


def test_given_vocabulary(config: DataConfig, tmp_path: Path) -> None:
    trained = prepare(config)
    file = tmp_path / "given.txt"
    file.write_bytes((folder_of(config) / VOCABULARY).read_bytes())
    given = DataConfig.model_validate(
        {**config.model_dump(), "dataset": str(tmp_path / "given"), "vocabulary": {"size": 150, "file": str(file)}}
    )
    same = prepare(given)
    own = {"digest", "recipe", "manifest_sha256"}  # the recipe of one states a size, that of the other a file
    assert same.model_dump(exclude=own) == trained.model_dump(exclude=own)
    file.write_bytes(file.read_bytes() + b"another\n")
    with pytest.raises(UserError, match="difference: the vocabulary"):
        prepare(given)


def test_vocabulary_of_a_sample(config: DataConfig, tmp_path: Path) -> None:
    def trained_on(sample_bytes: int) -> Manifest:
        dataset = str(tmp_path / f"sample-{sample_bytes}")
        vocabulary = {"size": 150, "sample_bytes": sample_bytes}
        return prepare(DataConfig.model_validate({**config.model_dump(), "dataset": dataset, "vocabulary": vocabulary}))

    small, large = trained_on(10_000), trained_on(10_000_000)
    assert small.vocabulary.sha256 != large.vocabulary.sha256
    assert small.statistics.documents == large.statistics.documents == 300


def test_invalid_utf8_is_counted(config: DataConfig, corpus: Path) -> None:
    corpus.write_bytes(corpus.read_bytes() + b"\n\nBroken \xff text. Here it is.\n\n\xfe\n")
    assert prepare(config).drops == {"invalid_utf8_replaced": 1, "no_word_pieces": 1}


def test_empty_held_out_split_is_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    corpus = write_text(tmp_path / "corpus.txt", make_documents(20))
    with caplog.at_level(logging.WARNING):
        manifest = prepare(small_config(tmp_path / "dataset", corpus, held_out_fraction=1e-9))
    assert manifest.select("held_out", 0) == []
    assert "the held-out split is empty: none of 20 documents" in caplog.text


def jsonl(text: str) -> dict[str, Any]:
    return {"content": text.encode(), "format": "jsonl"}


@pytest.mark.parametrize(
    ("case", "cause"),
    [
        ({"content": b""}, "no document to train on"),
        ({"content": b"\n \n\n"}, "no document to train on"),
        ({"content": b"\0\0\n\n\x01"}, "no document to train on (dropped: 2 empty)"),
        ({"content": b"One document. With sentences.\nBut only one."}, "a single document to train on"),
        ({"content": b"The same. Twice over.\n\n" * 2}, "a single document to train on (dropped: 1 exact_duplicate)"),
        (
            {"content": b"The same. Twice over.\n\n" * 2, "duplicates": "none"},
            "2 of 2 documents have no other document in their group",
        ),
        ({"content": bz2.compress(b"Text. " * 9_000)[:-9], "name": "a.bz2"}, "truncated"),
        ({"content": b"BZh9 but nothing more", "name": "a.bz2"}, "damaged"),
        ({"content": b"Fine.\n\nNot \xff fine.", "invalid_utf8": "refuse"}, "not UTF-8"),
        ({"content": "Text. More.\n\nText.".encode("utf-16")}, "UTF-16"),
        (jsonl('{"title": "a"}\n{"title": "b"}'), "no document to train on (dropped: 2 no_text_field)"),
        ({"content": b"<mediawiki><page>", "format": "wikipedia"}, "truncated"),
        ({"content": b"One. Two.\n\nThree. Four.", "min_document_chars": 1_000}, "(dropped: 2 too_short)"),
        ({"content": b"One. Two.\n\nThree. Four.", "held_out_fraction": 0.999999}, "no document to train on"),
        ({"content": b"One.\n\nTwo.", "vocabulary": {"file": "/no/such/vocab.txt"}}, "cannot read the vocabulary"),
    ],
)  # fmt: skip
def test_unusable_input_is_named_and_leaves_nothing(tmp_path: Path, case: dict[str, Any], cause: str) -> None:
    path = tmp_path / case.pop("name", "a.txt")
    path.write_bytes(case.pop("content"))
    corpora = [{"paths": [str(path)], "format": case.pop("format", "text")}]
    with pytest.raises(UserError) as raised:
        prepare(small_config(tmp_path / "dataset", corpora=corpora, **case))
    assert cause in raised.value.cause
    assert raised.value.place
    assert raised.value.fix
    assert sorted(found.name for found in tmp_path.iterdir()) == [path.name]


def test_recipe_without_corpus(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="names no corpus"):
        prepare(small_config(tmp_path / "dataset", corpora=[]))


def test_missing_input_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such file") as raised:
        prepare(small_config(tmp_path / "dataset", tmp_path / "nothing"))
    assert raised.value.place == str(tmp_path / "nothing")
    assert not (tmp_path / "dataset").exists()


def test_error_of_a_worker_process_is_the_original_one(tmp_path: Path) -> None:
    good = write_text(tmp_path / "a.txt", make_documents(300))
    bad = tmp_path / "b.txt.gz"
    bad.write_bytes(gzip.compress(good.read_bytes())[:-100])
    with pytest.raises(UserError, match="truncated") as raised:
        prepare(small_config(tmp_path / "dataset", good, bad, workers=2))
    assert raised.value.place == str(bad)
    assert raised.value.fix == "fetch it again"
    work = tmp_path / "dataset" / WORK
    assert not work.exists() or list(work.glob("cleaned-*.json"))  # what was finished before the error is kept
    bad.unlink()
    assert prepare(small_config(tmp_path / "dataset", good)).statistics.documents == 300


def can_mount() -> bool:
    """Whether this machine lets us have a small disk of our own."""
    argv = ["unshare", "-rm", "mount", "-t", "tmpfs", "tmpfs", "/tmp"]  # noqa: S108  # seen by nobody else
    return (
        shutil.which("unshare") is not None and subprocess.run(argv, capture_output=True, check=False).returncode == 0
    )


PREPARE = """
import sys
from configs.schema import DataConfig
from preprocessing.pipeline import prepare
prepare(DataConfig.model_validate_json(sys.argv[1]))
"""


@pytest.mark.skipif(not can_mount(), reason="needs user namespaces, to mount a small disk in one")
@pytest.mark.parametrize(
    ("options", "fix"), [("nr_inodes=20", "The disk is full"), ("ro", "The file system is read-only")]
)
def test_disk_that_cannot_be_written_is_named_and_only_finished_parts_are_left(
    tmp_path: Path, corpus: Path, options: str, fix: str
) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    config = small_config(disk / "dataset", corpus)
    script = 'mount -t tmpfs -o "$1" tmpfs "$2"; "$3" -c "$4" "$5"; code=$?; cd "$2"; find . -type f; exit $code'
    argv = ["unshare", "-rm", "sh", "-c", script, "sh", options, str(disk), sys.executable, PREPARE]
    ended = subprocess.run([*argv, config.model_dump_json()], capture_output=True, text=True, check=False)
    assert ended.returncode == 1
    assert ended.stderr.splitlines()[-1].startswith(f"configs.errors.UserError: {config.dataset}: cannot write. {fix}")
    left = {Path(line).name for line in ended.stdout.splitlines()}
    assert [name for name in left if name.endswith(".partial")] == []
    assert any(name.startswith("cleaned-") for name in left) == bool(left) == (options != "ro")


def test_folder_of_something_else_is_refused_and_left_alone(config: DataConfig) -> None:
    folder = folder_of(config)
    folder.mkdir()
    (folder / "thesis.tex").write_text("years of work")
    for overwrite in (False, True):
        with pytest.raises(UserError, match="holds other files and no data set"):
            prepare(config, overwrite=overwrite)
    assert [file.name for file in folder.iterdir()] == ["thesis.tex"]


@pytest.mark.parametrize("content", ['{"name": "a web page"}', "[]", "7", ""])
def test_manifest_of_something_else_is_refused_and_left_alone(config: DataConfig, content: str) -> None:
    folder = folder_of(config)
    folder.mkdir()
    (folder / MANIFEST).write_text(content)
    for overwrite in (False, True):
        with pytest.raises(UserError, match="holds other files and no data set"):
            prepare(config, overwrite=overwrite)
    assert (folder / MANIFEST).read_text() == content


@pytest.mark.parametrize("content", ["", '{"format_ver'])
def test_a_damaged_manifest_beside_shards_can_be_overwritten(config: DataConfig, content: str) -> None:
    manifest = prepare(config)
    (folder_of(config) / MANIFEST).write_text(content)
    with pytest.raises(UserError):
        prepare(config)
    assert prepare(config, overwrite=True) == manifest


def test_shards_of_something_else_are_left_alone(config: DataConfig) -> None:
    folder = folder_of(config)
    (folder / "shards").mkdir(parents=True)
    (folder / "shards" / "train-00000.arrow").write_text("years of work")
    (folder / MANIFEST).write_text("[]")
    with pytest.raises(UserError, match="holds other files and no data set"):
        prepare(config, overwrite=True)
    assert (folder / "shards" / "train-00000.arrow").read_text() == "years of work"


def test_data_set_of_another_version_is_refused_unless_overwritten(config: DataConfig) -> None:
    manifest = prepare(config)
    path = folder_of(config) / MANIFEST
    path.write_text(path.read_text().replace('"format_version": 2', '"format_version": 99'))
    with pytest.raises(UserError, match="format version 99"):
        prepare(config)
    assert prepare(config, overwrite=True) == manifest


def test_file_in_the_folder_s_place_is_refused(config: DataConfig) -> None:
    folder_of(config).write_text("x")
    with pytest.raises(UserError, match="this is a file"):
        prepare(config)


def test_corpus_inside_of_the_data_set_is_refused(tmp_path: Path, corpus: Path) -> None:
    with pytest.raises(UserError, match="is in the data set's own folder"):
        prepare(small_config(tmp_path, corpus))


def test_unfinished_data_set_of_another_recipe_is_refused(config: DataConfig) -> None:
    with pytest.raises(KeyboardInterrupt):
        prepare(config, progress=Interruption(2))
    assert (folder_of(config) / WORK).is_dir()
    with pytest.raises(UserError, match=r"difference: data\.seed"):
        prepare(config.model_copy(update={"seed": 2}))
    prepare(config.model_copy(update={"seed": 2}), overwrite=True)


def test_other_recipe_continues_where_no_group_is_finished(config: DataConfig, tmp_path: Path) -> None:
    """An error can advise another value of a key, and its user has nothing to lose yet."""
    with pytest.raises(KeyboardInterrupt):
        prepare(config, progress=Interruption(0, "vocabulary"))
    cleaned = set((folder_of(config) / WORK).glob("cleaned-*.json"))
    assert len(cleaned) == 5
    other = config.model_copy(update={"min_document_chars": 60})
    prepare(other)
    whole = other.model_copy(update={"dataset": str(tmp_path / "whole")})
    prepare(whole)
    assert digests(folder_of(other)) == digests(folder_of(whole))


# Prepares what the recipe on its command line says; prints the most memory that it has held, in KiB.
MEASURED = """
import re, sys
from pathlib import Path
from configs.schema import DataConfig
from preprocessing.pipeline import prepare
prepare(DataConfig.model_validate_json(sys.argv[1]))
print(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="asks Linux for the most memory held")
def test_document_of_60_mb_stays_below_a_gibibyte(tmp_path: Path) -> None:
    documents = make_documents(3_000)
    vocabulary = tmp_path / "vocab.txt"
    train_vocabulary(documents, small_config(tmp_path, vocabulary).vocabulary).write(vocabulary)
    text = "\U00020000 " + "\n".join(documents)  # so each of its characters takes Python 4 bytes
    lines = [json.dumps({"text": part}, ensure_ascii=False) for part in (text * (60_000_000 // len(text)), *documents)]
    (tmp_path / "a.jsonl").write_text("\n".join(lines))
    corpora = [{"paths": [str(tmp_path / "a.jsonl")], "format": "jsonl"}]
    table = {"dataset": str(tmp_path / "dataset"), "corpora": corpora, "vocabulary": {"file": str(vocabulary)}}
    config = DataConfig.model_validate({**table, "workers": 1, "dupe_factor": 2})
    argv = [sys.executable, "-c", MEASURED, config.model_dump_json()]
    ended = subprocess.run(argv, capture_output=True, text=True, check=True)
    assert int(ended.stdout) < 1 << 20, f"{int(ended.stdout) >> 10} MiB"
    assert read_manifest(tmp_path / "dataset").drops["part_of_a_long_document"] >= 10
