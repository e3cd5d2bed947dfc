"""Checkpoints in one process; tests of several ranks, kills and resumes are in tests/distributed."""

from __future__ import annotations

import json
import logging
import math
import os
import random
import re
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from configs.errors import UserError
from configs.files import sha256_of_file
from configs.schema import TrainConfig, digest_of
from launch.ranks import newest_step
from pretrain import checkpoint as checkpoints
from pretrain.checkpoint import Ownership, Superseded, claim_start, remove_unfinished
from pretrain.checkpoint.state import TrainingState
from pretrain.engine.distributed import World
from pretrain.engine.engine import Engine
from tests.distributed import small
from tests.limits import no_file_above


@pytest.fixture(scope="module")
def engine(alone: World) -> Engine:
    engine = small.engine_of(alone, 1, "fp32")
    small.losses_of(engine, range(1, 3))
    return engine


@pytest.fixture
def run(tmp_path: Path, engine: Engine) -> Path:
    """A run with the checkpoints of steps 1 and 2."""
    for step in (1, 2):
        save(tmp_path, engine, step)
    return tmp_path


def save(run: Path, engine: Engine, step: int, keep: int = 3) -> Path | None:
    return checkpoints.save_checkpoint(run, engine, TrainingState(step=step, cursor=100 * step), keep)


def folder_of(run: Path, step: int) -> Path:
    return run / "checkpoints" / f"step_{step:08d}"


def contents(run: Path) -> list[str]:
    """All files in the run's folder."""
    return sorted(str(path.relative_to(run)) for path in run.rglob("*"))


def test_contents_of_a_checkpoint(tmp_path: Path, engine: Engine) -> None:
    given = TrainingState(
        step=2, cursor=640, samples=600, tokens=9_000, time_s=1.5, skipped=[(320, 360)], dataset="d", recipe={"a": 1}
    )
    folder = checkpoints.save_checkpoint(tmp_path, engine, given, keep=1)
    assert folder == folder_of(tmp_path, 2)
    assert contents(tmp_path) == [
        "checkpoints",
        "checkpoints/step_00000002",
        "checkpoints/step_00000002/rank_00000.safetensors",
        "checkpoints/step_00000002/state.json",
        "latest",
    ]
    assert (tmp_path / "latest").read_text() == "step_00000002\n"
    state = checkpoints.read_state(folder)
    file = folder / "rank_00000.safetensors"
    assert [entry.model_dump() for entry in state.files] == [
        {"name": file.name, "bytes": file.stat().st_size, "sha256": sha256_of_file(file)}
    ]
    assert state.parameters == {name: tuple(p.shape) for name, p in small.build().named_parameters()}
    assert (state.optimizer_steps, state.world_size, state.zero_stage) == (2, 1, 1)
    ours = {"optimizer_steps", "world_size", "zero_stage", "parameters", "files"}
    assert state.model_dump(exclude=ours) == given.model_dump(exclude=ours)


def test_load_weights_returns_complete_parameters(run: Path, engine: Engine) -> None:
    weights = checkpoints.load_weights(folder_of(run, 2))
    parameters = dict(engine.module.named_parameters())
    assert weights.keys() == parameters.keys()
    for name, weight in weights.items():
        assert torch.equal(weight, parameters[name])


def test_only_the_newest_checkpoints_are_kept(tmp_path: Path, engine: Engine) -> None:
    for step in range(1, 5):
        save(tmp_path, engine, step, keep=2)
    assert [path.name for path in sorted((tmp_path / "checkpoints").iterdir())] == ["step_00000003", "step_00000004"]


def test_later_checkpoints_of_an_abandoned_history_are_set_aside(run: Path, engine: Engine) -> None:
    save(run, engine, 5)
    save(run, engine, 3)
    assert checkpoints.find_checkpoint(run) == folder_of(run, 3)
    assert (run / "latest").read_text() == "step_00000003\n"
    assert [path.name for path in (run / "set_aside/01/checkpoints").iterdir()] == ["step_00000005"]


def test_going_back_sets_later_checkpoints_and_records_aside(
    run: Path, engine: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    records = "".join(f'{{"step": {step}}}\n' for step in (1, 2, 3))
    (run / "metrics.jsonl").write_text(records)
    checkpoints.set_aside_after(run, 1, records=True)
    assert contents(run / "checkpoints") == contents_of_one(run, 1)
    aside = run / "set_aside/01"
    assert checkpoints.read_state(aside / "checkpoints/step_00000002").step == 2
    assert (aside / "metrics.jsonl").read_text() == records
    assert (run / "latest").read_text() == "step_00000001\n"
    assert f"training goes back: the later checkpoints step_00000002 were moved to {aside}" in caplog.text
    save(run, engine, 2, keep=1)
    assert checkpoints.read_state(aside / "checkpoints/step_00000002").step == 2  # retention leaves it


def test_resuming_from_the_newest_checkpoint_moves_nothing(run: Path) -> None:
    before = contents(run)
    checkpoints.set_aside_after(run, 2)
    assert contents(run) == before


def contents_of_one(run: Path, step: int) -> list[str]:
    name = folder_of(run, step).name
    return [name, f"{name}/rank_00000.safetensors", f"{name}/state.json"]


def test_a_superseded_start_saves_and_removes_nothing(run: Path, engine: Engine) -> None:
    owner = Ownership(run, claim_start(run))
    state = TrainingState(step=3, cursor=0)
    checkpoints.save_checkpoint(run, engine, state, keep=3, owner=owner)
    claim_start(run)
    before = contents(run)
    with pytest.raises(Superseded, match="superseded by start 2"):
        checkpoints.save_checkpoint(run, engine, TrainingState(step=4, cursor=0), keep=1, owner=owner)
    assert contents(run) == before


@pytest.mark.parametrize("remaining", [0, 1])
def test_a_start_whose_folder_was_removed_commits_nothing_and_claims_nothing(
    run: Path, engine: Engine, remaining: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The folder is removed before the save, or while it is under way."""
    claim_start(run)
    owner, checks, check = Ownership(run, claim_start(run)), [], Ownership.check

    def remove_and_check(self: Ownership) -> None:
        checks.append(self.number)
        if len(checks) > remaining:
            shutil.rmtree(run / "starts/0002", ignore_errors=True)
        check(self)

    monkeypatch.setattr(Ownership, "check", remove_and_check)
    with pytest.raises(Superseded, match="the folder of this start in starts/ was removed"):
        checkpoints.save_checkpoint(run, engine, TrainingState(step=3, cursor=0), keep=1, owner=owner)
    assert checkpoints.find_checkpoint(run) == folder_of(run, 2)


def test_a_save_under_way_cannot_be_completed_after_a_newer_start_began(
    run: Path, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The earlier start is held up between its last check and the rename."""
    owner, checks = Ownership(run, claim_start(run)), []

    def check(self: Ownership) -> None:
        checks.append(self.number)
        if len(checks) == 2:
            claim_start(run)
            remove_unfinished(run)  # as a start does before it looks for checkpoints

    monkeypatch.setattr(Ownership, "check", check)
    assert checkpoints.save_checkpoint(run, engine, TrainingState(step=3, cursor=0), keep=1, owner=owner) is None
    assert checkpoints.find_checkpoint(run) == folder_of(run, 2)


def test_what_an_earlier_recipe_kept_for_good_is_kept(run: Path, engine: Engine) -> None:
    kept: dict[str, Any] = {"checkpoint": {"keep_every_steps": 3}}
    for step in (3, 4, 5):
        state = TrainingState(step=step, cursor=0, recipe=kept)
        checkpoints.save_checkpoint(run, engine, state, keep=1, keep_every_steps=3)
    save(run, engine, 6, keep=1)
    save(run, engine, 7, keep=1)
    assert [path.name for path in sorted((run / "checkpoints").iterdir())] == ["step_00000003", "step_00000007"]


def test_a_run_without_checkpoints_has_none(tmp_path: Path) -> None:
    assert checkpoints.find_checkpoint(tmp_path) is None
    assert not checkpoints.has_checkpoint(tmp_path)


def test_missing_folder_raises(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such run or checkpoint"):
        checkpoints.find_checkpoint(tmp_path / "nothing")


def test_find_newest_or_given_checkpoint(run: Path) -> None:
    assert checkpoints.has_checkpoint(run)
    assert checkpoints.find_checkpoint(run) == folder_of(run, 2)
    assert checkpoints.find_checkpoint(folder_of(run, 1)) == folder_of(run, 1)


def _flip_a_bit(folder: Path) -> None:
    path = folder / "rank_00000.safetensors"
    data = bytearray(path.read_bytes())
    data[-100] ^= 1
    path.write_bytes(data)


def _truncate(folder: Path) -> None:
    path = folder / "rank_00000.safetensors"
    path.write_bytes(path.read_bytes()[:-1])


def _change_version(folder: Path) -> None:
    _edit_state(format_version=99)(folder)


def _halve_state(folder: Path) -> None:
    (folder / "state.json").write_text((folder / "state.json").read_text()[:200])


def _edit_state(**changes: object) -> Callable[[Path], None]:
    """Change values and state the digest that belongs to them, as a hand or a program would."""

    def edit(folder: Path) -> None:
        fields = json.loads((folder / "state.json").read_text()) | changes
        del fields["digest"]
        (folder / "state.json").write_text(json.dumps(fields | {"digest": digest_of(fields)}))

    return edit


def _flip_a_digit(folder: Path) -> None:
    path = folder / "state.json"
    path.write_text(re.sub(r'"cursor": \d', '"cursor": 7', path.read_text()))


def _drop_the_digest(folder: Path) -> None:
    fields = json.loads((folder / "state.json").read_text())
    del fields["digest"]
    (folder / "state.json").write_text(json.dumps(fields))


def _rename(folder: Path) -> None:
    """Leave a folder of this step that holds the state of another."""
    other = folder.with_name("step_00000001")
    shutil.copy(other / "state.json", folder / "state.json")


DAMAGES: dict[str, tuple[Callable[[Path], None], str]] = {
    "flipped digit": (_flip_a_digit, "its values differ from its digest"),
    "no digest": (_drop_the_digest, "it has no digest"),
    "negative cursor": (_edit_state(cursor=-1), "cursor: Input should be greater"),
    "huge cursor": (_edit_state(cursor=2**63), "cursor: Input should be less"),
    "null": (_edit_state(tokens=None), "tokens: Input should be a valid integer"),
    "text for a number": (_edit_state(samples="5"), "samples: Input should be a valid integer"),
    "more skipped than steps": (_edit_state(skipped_steps=3), "3 skipped steps of 2"),
    "ranges that overlap": (_edit_state(skipped=[[5, 9], [7, 12]]), "the skipped ranges of rows are not ascending"),
    "a file elsewhere": (_edit_state(files=[{"name": "../x", "bytes": 1, "sha256": "0" * 64}]), "files.0.name"),
    "flipped bit": (_flip_a_bit, r"rank_00000\.safetensors is damaged: its SHA-256"),
    "truncated": (_truncate, r"rank_00000\.safetensors has \d+ bytes, not \d+"),
    "missing file": (lambda folder: (folder / "rank_00000.safetensors").unlink(), r"rank_00000\.safetensors: No such"),
    "missing state": (lambda folder: (folder / "state.json").unlink(), r"state\.json: No such"),
    "half a state": (_halve_state, r"state\.json is damaged"),
    "other version": (_change_version, "format version 99"),
}


def test_a_checkpoint_in_the_folder_of_another_step_is_refused(run: Path) -> None:
    folder_of(run, 1).rename(run / "step_00000009")
    with pytest.raises(UserError, match="it is of step 1, which is not the step in its folder's name"):
        checkpoints.find_checkpoint(run / "step_00000009")


def test_every_flipped_bit_of_a_state_is_noticed(run: Path) -> None:
    path, draw = folder_of(run, 2) / "state.json", random.Random(3)
    content, state = path.read_bytes(), checkpoints.read_state(folder_of(run, 2))
    for _ in range(500):
        spoiled = bytearray(content)
        spoiled[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
        path.write_bytes(spoiled)
        with suppress(UserError):
            assert checkpoints.read_state(folder_of(run, 2)) == state  # white space


@pytest.mark.parametrize("latest", [b"\xff\xfe\0", b"\0" * 5_000, b"\0" * 200, b"", "step_٠٠٠٠٠٠٠٢".encode()])
def test_latest_that_is_not_text_gives_a_warning(run: Path, latest: bytes, caplog: pytest.LogCaptureFixture) -> None:
    (run / "latest").write_bytes(latest)
    assert checkpoints.find_checkpoint(run) == folder_of(run, 2)
    assert "which does not exist" in caplog.text


@pytest.mark.parametrize("name", ["latest", "checkpoints/step_00000002/state.json"])
def test_a_record_as_large_as_the_disk_is_not_read(run: Path, name: str, caplog: pytest.LogCaptureFixture) -> None:
    os.truncate(run / name, 1 << 40)  # sparse
    assert checkpoints.find_checkpoint(run) == folder_of(run, 2 if name == "latest" else 1)
    assert "the limit for such a file" in caplog.text


@pytest.mark.parametrize("name", ["step_x", "step_00000003 (copy)", "step_3", "step_00000003.bak"])
def test_folders_with_other_names_are_no_checkpoints(run: Path, engine: Engine, name: str) -> None:
    shutil.copytree(folder_of(run, 2), run / "checkpoints" / name)
    assert checkpoints.find_checkpoint(run) == folder_of(run, 2)
    assert newest_step(run) == 2
    for step in (4, 5, 6):
        save(run, engine, step, keep=1)
    assert (run / "checkpoints" / name / "state.json").exists()


def test_files_have_the_modes_of_the_umask(tmp_path: Path, engine: Engine) -> None:
    before = os.umask(0o027)
    try:
        folder = save(tmp_path, engine, 1)
    finally:
        os.umask(before)
    assert folder is not None
    assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o640}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_checkpoint_is_skipped_with_a_warning(
    run: Path, caplog: pytest.LogCaptureFixture, damage: str
) -> None:
    spoil, cause = DAMAGES[damage]
    spoil(folder_of(run, 2))
    assert checkpoints.find_checkpoint(run) == folder_of(run, 1)
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert re.search(f"step_00000002 is skipped: .*{cause}", record.getMessage())
    with pytest.raises(UserError, match=cause):
        checkpoints.find_checkpoint(folder_of(run, 2))


@pytest.mark.parametrize("damage", DAMAGES)
def test_no_valid_checkpoint_raises_instead_of_starting_at_step_0(run: Path, damage: str) -> None:
    for step in (1, 2):
        DAMAGES[damage][0](folder_of(run, step))
    assert checkpoints.has_checkpoint(run)
    with pytest.raises(UserError, match=r"no valid checkpoint\. Restore it from a copy"):
        checkpoints.find_checkpoint(run)


def test_latest_naming_a_missing_checkpoint_gives_a_warning(run: Path, caplog: pytest.LogCaptureFixture) -> None:
    (run / "latest").write_text("step_00000077\n")
    assert checkpoints.find_checkpoint(run) == folder_of(run, 2)
    assert "latest names step_00000077, which does not exist" in caplog.text


def test_latest_without_checkpoints_raises(tmp_path: Path) -> None:
    (tmp_path / "latest").write_text("step_00000077\n")
    assert checkpoints.has_checkpoint(tmp_path)
    with pytest.raises(UserError, match="no valid checkpoint"):
        checkpoints.find_checkpoint(tmp_path)


def test_remains_of_a_killed_save_are_ignored_and_removed(run: Path, engine: Engine) -> None:
    litter = run / "checkpoints" / ".step_00000003.partial"
    litter.mkdir()
    (litter / "rank_00000.safetensors").write_bytes(b"half")
    (run / ".latest.0123.partial").write_text("step_0")
    assert checkpoints.find_checkpoint(run) == folder_of(run, 2)
    save(run, engine, 4)
    assert not litter.exists()
    assert not (run / ".latest.0123.partial").exists()


@pytest.mark.parametrize("plant", [lambda path, other: path.symlink_to(other), lambda path, other: path.touch()])
def test_a_link_or_a_file_in_place_of_an_unfinished_save_stops_no_save(
    run: Path, engine: Engine, tmp_path: Path, plant: Callable[[Path, Path], object]
) -> None:
    (other := tmp_path / "other").mkdir()
    (other / "file").touch()
    plant(run / "checkpoints/.step_00000003.0000.partial", other)
    assert save(run, engine, 3) == folder_of(run, 3)
    assert (other / "file").exists()


def test_keep_every_steps_keeps_checkpoints_permanently(tmp_path: Path, engine: Engine) -> None:
    for step in range(1, 8):
        checkpoints.save_checkpoint(tmp_path, engine, TrainingState(step=step, cursor=0), keep=1, keep_every_steps=3)
    kept = [path.name for path in sorted((tmp_path / "checkpoints").iterdir())]
    assert kept == ["step_00000003", "step_00000006", "step_00000007"]


def test_save_on_a_full_disk_changes_nothing(run: Path, engine: Engine, caplog: pytest.LogCaptureFixture) -> None:
    before = contents(run)
    with no_file_above(1_000):
        assert save(run, engine, 3) is None
    assert "File too large" in caplog.text
    assert "step 3 was NOT saved" in caplog.text
    assert contents(run) == before
    assert checkpoints.find_checkpoint(run) == folder_of(run, 2)
    assert save(run, engine, 3) == folder_of(run, 3)


@pytest.mark.parametrize("obstacle", ["checkpoints", "checkpoints/step_00000003"])
def test_save_blocked_by_a_file_changes_nothing(
    tmp_path: Path, engine: Engine, obstacle: str, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / obstacle
    path.parent.mkdir(exist_ok=True)
    path.write_text("in the way")
    before = contents(tmp_path)
    assert save(tmp_path, engine, 3) is None
    assert "step 3 was NOT saved" in caplog.text
    assert contents(tmp_path) == before


@pytest.mark.parametrize(
    ("change", "cause"),
    [
        ("extra", r"are missing in the checkpoint: extra\.bias, extra\.weight"),
        ("less", r"are missing in the model: row_head\.bias, row_head\.weight"),
        ("shape", r"differ in shape: row_head\.bias, row_head\.weight"),
    ],
)
def test_a_checkpoint_of_another_model_is_refused(run: Path, alone: World, change: str, cause: str) -> None:
    model = small.build()
    if change == "extra":
        model.add_module("extra", nn.Linear(2, 2))
    elif change == "less":
        del model.row_head
    else:
        model.row_head = nn.Linear(small.WIDTH, 3)
    other = Engine(model, small.OPTIMIZER, TrainConfig.model_validate({"precision": "fp32"}), alone)
    before = [fragment.master.clone() for fragment in other.partition.fragments]
    with pytest.raises(UserError, match=cause):
        checkpoints.load_checkpoint(folder_of(run, 2), other)
    assert all(map(torch.equal, before, [fragment.master for fragment in other.partition.fragments]))


def test_checkpoint_stores_three_fp32_values_per_element(run: Path) -> None:
    state = checkpoints.read_state(folder_of(run, 2))
    elements = sum(math.prod(shape) for shape in state.parameters.values())
    tables = 8 + 200 * 3 * len(state.parameters)
    assert 12 * elements < state.files[0].bytes < 12 * elements + tables
