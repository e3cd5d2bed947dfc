"""What an interrupted preparation left is damaged: the data set has the bytes of an undisturbed one all the same."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from configs.errors import UserError
from configs.schema import DataConfig
from preprocessing.documents import Progress
from preprocessing.pipeline import prepare, prepare_share
from preprocessing.resuming import inputs
from preprocessing.resuming.share import Share
from tests.preprocessing.corpora import digests, make_documents, small_config, write_text
from tests.preprocessing.resuming.test_inputs import At, fresh, interrupt


def flip_a_bit(content: bytes) -> bytes:
    """Change the third hexadecimal digit of a digest, if there is one, else the byte in the middle."""
    place = content.find(b"sha256") + 12 if b"sha256" in content else len(content) // 2
    return content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]


def change_a_digit(content: bytes) -> bytes:
    """Change the last digit: the end of a digest in records that state one."""
    place = max(content.rfind(digit) for digit in b"0123456789")
    return content if place < 0 else content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]


DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "a flipped bit": flip_a_bit,
    "another digit": change_a_digit,
    "half": lambda content: content[: len(content) // 2],
    "empty": lambda _: b"",
    "deep": lambda _: b"[" * 100_000,
    "bytes": lambda content: bytes(range(128, 256)) * (1 + len(content) // 128),
}


# Where the preparation was interrupted, and files that it left.
STAGES = {
    "duplicates": ("cleaned-", "fingerprints-"),
    "vocabulary": ("cleaned-", "drops-", "boilerplate.npy"),
    "groups": ("cleaned-", "sample-", "drops-", "boilerplate.npy", "job.json", "inputs.json", "vocab.txt"),
}


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> DataConfig:
    """A recipe whose preparation was interrupted, with two of its groups finished."""
    return interrupted(tmp_path, monkeypatch, At("groups", interrupt, groups=2))


def interrupted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: Callable[[Progress], None]) -> DataConfig:
    monkeypatch.setattr(inputs, "_SETTLED_NS", 0)  # also a fresh file has its record
    documents = make_documents(150)
    for name, part in (("a.txt", documents[:75]), ("b.txt", documents[75:])):
        write_text(tmp_path / "in" / name, part)
    config = small_config(tmp_path / "dataset", tmp_path / "in", boilerplate_documents=20, vocabulary={"size": 150})
    with pytest.raises(KeyboardInterrupt):
        prepare(config, progress=at)
    return config


class AtDocuments:
    """Interrupts a stage when it has read some documents."""

    def __init__(self, stage: str, documents: int) -> None:
        self.stage, self.documents = stage, documents

    def __call__(self, now: Progress) -> None:
        if now.stage == self.stage and now.documents >= self.documents:
            interrupt()


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_part_changes_no_byte(config: DataConfig, tmp_path: Path, damage: str) -> None:
    damage_each_file(config, tmp_path, "groups", damage)


@pytest.mark.slow
@pytest.mark.parametrize("damage", ["a flipped bit", "half"])
@pytest.mark.parametrize("stage", ["duplicates", "vocabulary"])
def test_a_damaged_part_of_an_earlier_stage_changes_no_byte(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stage: str, damage: str
) -> None:
    damage_each_file(interrupted(tmp_path, monkeypatch, AtDocuments(stage, 150)), tmp_path, stage, damage)


def damage_each_file(config: DataConfig, tmp_path: Path, stage: str, damage: str) -> None:
    dataset, kept, expected = Path(config.dataset), tmp_path / "kept", fresh(config, tmp_path)
    dataset.rename(kept)
    names = [path.relative_to(kept) for path in sorted(kept.rglob("*")) if path.is_file() and path.stat().st_size]
    assert all(any(name.name.startswith(start) for name in names) for start in STAGES[stage])
    for name in names:
        shutil.copytree(kept, dataset)
        content = (kept / name).read_bytes()
        (dataset / name).write_bytes(DAMAGE[damage](content))
        with suppress(UserError):  # a file that is damaged in its middle: "run the same command again"
            prepare(config)
        prepare(config)
        assert digests(dataset) == expected, name
        shutil.rmtree(dataset)


def test_a_damaged_description_of_the_preparation_is_said(config: DataConfig, caplog: pytest.LogCaptureFixture) -> None:
    """A share refuses, since others can be running, and its fix works."""
    (Path(config.dataset) / ".prepare" / "job.json").write_text('{"digest": ')
    with pytest.raises(UserError, match=r"job\.json is damaged.*once without a share"):
        prepare_share(config, Share(1, 2))
    with caplog.at_level(logging.WARNING):
        prepare(config)
    assert "job.json is damaged" in caplog.text


def test_records_without_a_checksum_are_read(config: DataConfig, tmp_path: Path) -> None:
    """Version 0.1 wrote none."""
    for name in ("groups/inputs.json", ".prepare/job.json"):
        file = Path(config.dataset) / name
        record = json.loads(file.read_text())
        record.pop("check")
        file.write_text(json.dumps(record))
    prepare(config)
    assert digests(Path(config.dataset)) == fresh(config, tmp_path)
