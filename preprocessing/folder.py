"""The data set's folder while it is being made: whose it is, what stays in it, and how it is left.

DATASET/.prepare/     while a preparation is unfinished: job.json, the lock, the vocabulary's sample, and of each share
                      a folder with its lock, progress and errors
DATASET/groups/       a side file a finished group: what a rerun need not make again
DATASET/shards/  vocab.txt  manifest.json         the contract; the manifest comes last
"""

from __future__ import annotations

import fcntl
import json
import logging
import shutil
from collections.abc import Collection, Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from configs.errors import UserError
from configs.files import TEMPORARY_SUFFIX, atomic_write_text, explain_write_errors, sha256_of_file
from configs.schema import digest_of
from preprocessing.contract import CARD, MANIFEST, PICTURES, SHARDS, VOCABULARY, Manifest, check_shard, read_manifest
from preprocessing.group import GROUPS
from preprocessing.share import WHOLE, Share

WORK = ".prepare"
_JOB = "job.json"
_LOCK = "lock"

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Job:
    """What a data set is made of. Whoever has the same job makes the same bytes."""

    recipe: dict[str, Any]  # the [data] fields that determine bytes
    input_digest: str
    given_vocabulary: str | None  # SHA-256 of a vocabulary that is given; None: it is trained

    @property
    def digest(self) -> str:
        """Names an unfinished data set; the manifest's digest, once the vocabulary is there, a finished one."""
        return digest_of({"recipe": self.recipe, "input": self.input_digest, "vocabulary": self.given_vocabulary})

    def data_set_digest(self, vocabulary_sha256: str) -> str:
        """The manifest's `digest`."""
        return digest_of({"recipe": self.recipe, "input": self.input_digest, "vocabulary": vocabulary_sha256})


def finished_data_set(folder: Path, job: Job) -> Manifest | None:
    """The manifest in `folder`, or None when there is none. Raises `UserError` when it is that of another job."""
    if not (folder / MANIFEST).is_file():
        return None
    manifest = read_manifest(folder)
    expected = job.data_set_digest(job.given_vocabulary or manifest.vocabulary.sha256)
    if manifest.digest != expected:
        differences = _differences(manifest.recipe, job.recipe)
        if manifest.input_digest != job.input_digest:
            differences.append("the input files")
        raise _other_data_set(folder, manifest.digest, expected, differences or ["the vocabulary"])
    return manifest


def damage(folder: Path, manifest: Manifest) -> dict[str, str]:
    """What is missing or damaged of a finished data set: a message a file, by its name. Reads all of it."""
    found = {}
    for shard in manifest.shards:
        try:
            check_shard(folder, shard)
        except UserError as error:
            found[shard.name] = f"{error.place}: {error.cause}"
    vocabulary = folder / VOCABULARY
    if not vocabulary.is_file() or sha256_of_file(vocabulary) != manifest.vocabulary.sha256:
        found[VOCABULARY] = f"{vocabulary}: missing or damaged"
    return found


def withdraw(folder: Path, manifest: Manifest, damaged: Collection[str]) -> None:
    """The data set is finished no more, nor are the groups of its damaged files."""
    (folder / MANIFEST).unlink(missing_ok=True)
    for shard in manifest.shards:
        if shard.name in damaged:
            (folder / GROUPS / f"{shard.group}.json").unlink(missing_ok=True)


def run_folder(folder: Path, share: Share) -> Path:
    """Where the workers of one run tell their progress and errors."""
    return folder / WORK / f"share-{share.number}-of-{share.count}"


def check_ownership(folder: Path) -> None:
    """Raise `UserError` unless the folder is missing, empty, or holds a data set of ours, finished or not."""
    if folder.exists() and not folder.is_dir():
        raise UserError("this is a file, not a folder", place=str(folder), mend="choose another data.dataset")
    is_ours = (folder / WORK).is_dir() or _is_manifest(folder / MANIFEST)
    if not is_ours and folder.is_dir() and any(folder.iterdir()):
        mend = "choose an empty or new folder for data.dataset"
        raise UserError("the folder holds other files, and no data set", place=str(folder), mend=mend)


@contextmanager
def claimed(folder: Path, job: Job, share: Share = WHOLE, *, overwrite: bool = False) -> Iterator[None]:
    """The folder, ready for `job` to begin or go on, and nobody else in it but its other shares.

    Raises `UserError` when it holds an unfinished data set of another job, or cannot be written. A job that ends in a
    `UserError` before any group is finished leaves nothing behind; otherwise what is finished stays for a rerun. A
    share leaves all as it is, since others may be at work.
    """
    with explain_write_errors(folder), _locked(folder, share):
        if overwrite:
            _remove_contents(folder)
        _refuse_other_job(folder, job)
        with _left_clean(folder) if share == WHOLE else nullcontext(), explain_write_errors(folder):
            run_folder(folder, share).mkdir(exist_ok=True)
            (folder / GROUPS).mkdir(exist_ok=True)
            (folder / SHARDS).mkdir(exist_ok=True)
            atomic_write_text(folder / WORK / _JOB, json.dumps({"digest": job.digest, "recipe": job.recipe}))
            yield


def release(folder: Path) -> None:
    """The data set is whole: remove what only its making needed. Where other shares are about it, one of them will."""
    with suppress(FileNotFoundError, BlockingIOError), (folder / WORK / _LOCK).open("a+") as lock:
        if _lock(lock, fcntl.LOCK_EX):
            _sweep(folder)
        shutil.rmtree(folder / WORK, ignore_errors=True)


def discard(folder: Path) -> None:
    """Remove everything of ours, and the folder with it when nothing else is in it; nothing when that is done."""
    if not (folder / WORK).is_dir():
        return
    _remove_contents(folder)
    shutil.rmtree(folder / WORK)
    if not any(folder.iterdir()):
        folder.rmdir()


def _is_manifest(path: Path) -> bool:
    """Whether it looks like one of ours, of any version."""
    try:
        return "format_version" in json.loads(path.read_bytes())
    except (OSError, ValueError, TypeError):
        return False


@contextmanager
def _locked(folder: Path, share: Share) -> Iterator[None]:
    """Nobody else is in the folder; or, for a share, only others."""
    run = run_folder(folder, share)
    run.mkdir(parents=True, exist_ok=True)
    with (folder / WORK / _LOCK).open("a+") as lock, (run / _LOCK).open("a+") as own:
        try:
            _lock(lock, fcntl.LOCK_EX if share == WHOLE else fcntl.LOCK_SH)
            _lock(own, fcntl.LOCK_EX)
        except BlockingIOError as error:
            mend = "wait until it is done, or choose another data.dataset"
            raise UserError("another preparation is at work here", place=str(folder), mend=mend) from error
        yield


def _lock(file: IO[str], kind: int) -> bool:
    """Lock it until it is closed; False where there are no locks. Raises `BlockingIOError` where another has it."""
    try:
        fcntl.flock(file, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        raise
    except OSError as error:  # some shared file systems have none; two preparations would write the same bytes
        logger.info("no lock on %s: %s", file.name, error)
        return False
    return True


@contextmanager
def _left_clean(folder: Path) -> Iterator[None]:
    try:
        yield
    except UserError:
        if not any((folder / GROUPS).glob("*.*.json")):
            discard(folder)
        raise
    finally:
        _sweep(folder)


def _sweep(folder: Path) -> None:
    """Remove what workers that were ended left half written."""
    for file in folder.rglob(f".*{TEMPORARY_SUFFIX}"):
        file.unlink()


def _refuse_other_job(folder: Path, job: Job) -> None:
    file = folder / WORK / _JOB
    if not file.is_file():
        return
    other = json.loads(file.read_text())
    if other["digest"] != job.digest:
        differences = _differences(other["recipe"], job.recipe) or ["the input files or the vocabulary"]
        raise _other_data_set(folder, other["digest"], job.digest, differences)


def _other_data_set(folder: Path, found: str, expected: str, differences: list[str]) -> UserError:
    what = ", ".join(differences)
    cause = f"holds another data set ({found[:12]}, where this recipe makes {expected[:12]}; what differs: {what})"
    return UserError(cause, place=str(folder), mend="choose another data.dataset, or replace it with --overwrite")


def _differences(found: dict[str, Any], expected: dict[str, Any], prefix: str = "data.") -> list[str]:
    """Keys of the recipe whose values differ."""
    keys: list[str] = []
    for key in sorted({*found, *expected}):
        old, new = found.get(key), expected.get(key)
        if isinstance(old, dict) and isinstance(new, dict):
            keys += _differences(old, new, f"{prefix}{key}.")
        elif old != new:
            keys.append(f"{prefix}{key}")
    return keys


def _remove_contents(folder: Path) -> None:
    """All of a data set but the lock; the manifest goes first."""
    (folder / MANIFEST).unlink(missing_ok=True)
    (folder / VOCABULARY).unlink(missing_ok=True)
    (folder / CARD).unlink(missing_ok=True)
    for part in (GROUPS, SHARDS, PICTURES):
        shutil.rmtree(folder / part, ignore_errors=True)
    for path in (folder / WORK).iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        elif path.name != _LOCK:
            path.unlink()
