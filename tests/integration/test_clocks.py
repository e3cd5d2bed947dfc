"""A run that resumes on a node whose clock is two hours behind: TensorBoard itself shows each step once."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import urllib.request
from pathlib import Path

import pytest

from tests.integration.small import bertrain, command, environment, write_small
from tests.processes import wait_until

PATIENCE_S = 120.0
BEHIND = "import time\nnow = time.time\ntime.time = lambda: now() - 7200\n"
SCALARS = "/data/plugin/scalars/scalars?run=small&tag=loss%2Fmlm"

pytestmark = pytest.mark.slow


def test_steps_of_a_start_whose_clock_is_behind_are_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_small(tmp_path, 100)
    settings = ("cluster.ranks_per_node=1", "checkpoint.every_steps=4")
    for arguments in (("prepare",), ("train", "train.steps=8")):
        made = bertrain(tmp_path, arguments[0], "recipe.toml", *settings, *arguments[1:])
        assert made.returncode == 0, made.stderr
    (tmp_path / "clock").mkdir()
    (tmp_path / "clock/sitecustomize.py").write_text(BEHIND)
    with monkeypatch.context() as patch:
        patch.setenv("PYTHONPATH", str(tmp_path / "clock"))
        resume = ("--resume", str(tmp_path / "runs/small/checkpoints/step_00000004"))
        again = bertrain(tmp_path, "train", "recipe.toml", *settings, "train.steps=12", *resume)
    assert again.returncode == 0, again.stderr
    recorded = [json.loads(line) for line in (tmp_path / "runs/small/metrics.jsonl").read_text().splitlines()]
    losses = {one["step"]: one["mlm_loss"] for one in recorded if "mlm_loss" in one}
    assert list(losses) == list(range(1, 13))
    shown = shown_by_tensorboard(tmp_path)
    assert [step for step, _ in shown] == list(losses)
    assert [value for _, value in shown] == pytest.approx(list(losses.values()), rel=1e-5)


def shown_by_tensorboard(folder: Path) -> list[tuple[int, float]]:
    """Return the steps and losses that a TensorBoard server sends to a browser."""
    server = subprocess.Popen(
        command("tensorboard", "runs/small"), cwd=folder, env=environment(), stdout=subprocess.PIPE, text=True
    )
    found: list[list[float]] = []
    try:
        assert server.stdout is not None
        port = re.search(r"localhost:(\d+)", server.stdout.readline())
        assert port

        def answers() -> bool:
            try:
                with urllib.request.urlopen(f"http://localhost:{port[1]}{SCALARS}", timeout=5) as answer:
                    found[:] = json.load(answer)
            except OSError:
                return False
            return bool(found)

        wait_until(answers, PATIENCE_S, "TensorBoard's scalars")
    finally:
        server.send_signal(signal.SIGINT)
        server.communicate(timeout=PATIENCE_S)
    return [(int(step), value) for _, step, value in found]
