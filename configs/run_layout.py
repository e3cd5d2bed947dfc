"""The names inside a run's folder, `<runs>/<name>/`. Each is stated here and nowhere else.

recipe.toml                 the resolved recipe
.lock                       locked while ranks of this machine train
metrics.jsonl  tb/          one record a step; the same for TensorBoard
logs/rank_NNNNN.log         what each rank printed
checkpoints/step_NNNNNNNN/  checkpoints; `latest` holds the name of the newest
evaluation.json             what `bertrain evaluate` found last
profile/                    traces of chosen steps
starts/NNNN/                the starts of a job on a cluster, with signs of life below alive/
"""

from __future__ import annotations

from pathlib import Path

RECIPE = "recipe.toml"
LOCK = ".lock"
METRICS = "metrics.jsonl"
TENSORBOARD = "tb"
LOGS = "logs"
CHECKPOINTS = "checkpoints"
LATEST = "latest"
EVALUATION = "evaluation.json"
PROFILE = "profile"
STARTS = "starts"
STOP = "stop"  # below a start: somebody has asked the run to stop
ALIVE = "alive"  # below a start: a file for each node

RANK_LOGS = "rank_*.log"  # matches every `rank_log`


def rank_log(run: Path, rank: int) -> Path:
    """The log of a rank."""
    return run / LOGS / f"rank_{rank:05}.log"
