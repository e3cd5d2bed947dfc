"""The names of files and folders inside a run's folder, `<runs>/<name>/`.

recipe.toml                 the resolved recipe
.lock                       locked while ranks of this machine are training
data/                       what the run keeps of its data set: vocabulary, manifest, first rows
metrics.jsonl  tb/          one record per step; the same for TensorBoard
logs/rank_NNNNN.log         the output of each rank
checkpoints/step_NNNNNNNN/  checkpoints; `latest` holds the name of the newest
evaluation.json             the result of the last `bertrain evaluate`
trackers.json  wandb/       ids of the run in `train.trackers`; what Weights & Biases keeps before it is uploaded
profile/                    profiler traces of selected steps
starts/NNNN/                one folder per start; the newest number owns the run (pretrain/checkpoint/ownership.py)
stop                        a request to save and end: `start N` or `job ID`
"""

from __future__ import annotations

import re
from pathlib import Path

RECIPE = "recipe.toml"
LOCK = ".lock"
DATA = "data"
METRICS = "metrics.jsonl"
TENSORBOARD = "tb"
LOGS = "logs"
CHECKPOINTS = "checkpoints"
LATEST = "latest"
EVALUATION = "evaluation.json"
PROFILE = "profile"
STARTS = "starts"
STOP = "stop"
ALIVE = "alive"  # in a start's folder: one file per node

RANK_LOGS = "rank_*.log"  # matches every `rank_log`


def rank_log(run: Path, rank: int) -> Path:
    """Return the path of a rank's log."""
    return run / LOGS / f"rank_{rank:05}.log"


def rank_of(name: str) -> int | None:
    """Return the rank that the name of a rank's file states; None for any other name, e.g. an editor's copy."""
    match = re.fullmatch(r"rank_(\d{5,9})(\.\w+)?", name, re.ASCII)
    return int(match[1]) if match else None


def checkpoint_name(step: int) -> str:
    """Return the name of the checkpoint folder of a step."""
    return f"step_{step:08d}"


def step_of(name: str) -> int | None:
    """Return the step that the name of a checkpoint folder states; None for any other name."""
    match = re.fullmatch(r"step_(\d{8,18})", name, re.ASCII)
    return int(match[1]) if match else None


def start_folder(run: Path, number: int) -> Path:
    """Return the folder of a start."""
    return run / STARTS / f"{number:04}"
