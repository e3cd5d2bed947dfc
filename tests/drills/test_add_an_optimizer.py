"""launch/docs/add_an_optimizer.md, done: RAdam, which trains on two ranks and resumes on one."""

from __future__ import annotations

import math
import shutil
from pathlib import Path

import pytest

from tests.drills.drill import Copy, Edit
from tests.integration.test_earlier_versions import FIXTURES, records

pytestmark = pytest.mark.slow

NEW = {"pretrain/engine/optimizers/radam.py": Path(__file__).with_name("radam.py")}
TABLE = "pretrain/engine/optimizers/table.py"
EDITS = [
    Edit("configs/schema/training.py", 'name: Literal["adamw", "lamb"]', 'name: Literal["adamw", "lamb", "radam"]'),
    Edit(TABLE, '"lamb": LAMB}', '"lamb": LAMB, "radam": RADAM}'),
    Edit(TABLE, "import LAMB\n", "import LAMB\nfrom pretrain.engine.optimizers.radam import RADAM\n"),
]
TRAIN = ("-m", "launch.cli", "train", "run.toml", "name=radam", "optimizer.name=radam")


def test_radam_as_an_optimizer(tmp_path: Path) -> None:
    copy = Copy(tmp_path / "copy", NEW, EDITS)
    folder = Path(shutil.copytree(FIXTURES / "v0_1", tmp_path / "v0_1"))
    for changes in (["train.steps=4"], ["train.steps=6", "train.zero_stage=0", "cluster.ranks_per_node=1"]):
        ended = copy.python(*TRAIN, *changes, cwd=folder)
        assert ended.returncode == 0, ended.stdout + ended.stderr
    taken = records(folder / "radam")
    assert list(taken) == list(range(1, 7))
    assert all(math.isfinite(record["loss"]) for record in taken.values())
    by_adamw = records(folder / "run")
    assert all(taken[step]["rows"] == by_adamw[step]["rows"] for step in range(1, 5))
    assert taken[1]["loss"] == pytest.approx(by_adamw[1]["loss"], rel=1e-3)  # of the same weights
    assert taken[4]["loss"] != pytest.approx(by_adamw[4]["loss"], rel=1e-4)
