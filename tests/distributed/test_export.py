"""The export of one model is the same, byte for byte, whichever ZeRO stage and world size saved it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from configs.run_layout import CHECKPOINTS
from configs.schema import TrainConfig
from launch.transfer.huggingface import export_run
from pretrain import checkpoint as checkpoints
from pretrain.checkpoint.state import TrainingState
from pretrain.engine.engine import Engine
from tests.distributed import ranks, small
from tests.pretrain.runs import some_model, write_run

FILES = ("model.safetensors", "config.json", "vocab.txt", "tokenizer.json", "tokenizer_config.json")
EACH_STAGE = (0, 1, 2, 3)


def save_again(run: str, stages: list[int]) -> None:
    """Runs in each rank: load the run's checkpoint at each stage, and save it to `RUN-STAGE`."""
    world = small.join()
    folder = checkpoints.find_checkpoint(Path(run))
    assert folder is not None
    for stage in stages:
        train = TrainConfig.model_validate({"zero_stage": stage, "precision": "fp32"})
        engine = Engine(some_model(seed=stage + 1), small.OPTIMIZER, train, world)
        state = checkpoints.load_checkpoint(folder, engine)
        assert checkpoints.save_checkpoint(
            Path(f"{run}-{stage}"), engine, TrainingState(step=state.step, cursor=0), keep=1
        )


@pytest.mark.parametrize(
    ("world_size", "stages"),
    [
        (2, (1, 3)),
        pytest.param(2, EACH_STAGE, marks=pytest.mark.slow),
        pytest.param(1, EACH_STAGE, marks=pytest.mark.slow),
    ],
)
def test_an_export_is_the_same_from_any_stage_and_world_size(
    tmp_path: Path, world_size: int, stages: tuple[int, ...]
) -> None:
    run = write_run(tmp_path, some_model())
    ranks.run(save_again, world_size, str(run), stages)
    export_run(run, tmp_path / "expected")
    for stage in stages:
        saved = Path(f"{run}-{stage}")
        shutil.copytree(run, saved, ignore=shutil.ignore_patterns(CHECKPOINTS), dirs_exist_ok=True)
        found = tmp_path / f"exported-{stage}"
        assert len(list(saved.glob(f"{CHECKPOINTS}/*/rank_*"))) == world_size
        export_run(saved, found)
        assert all((found / name).read_bytes() == (tmp_path / "expected" / name).read_bytes() for name in FILES)
