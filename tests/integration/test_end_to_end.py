"""Raw text to a trained model through the command line, as a user runs it, with interruptions and resumes."""

from __future__ import annotations

import json
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from configs.run_layout import LATEST, METRICS
from launch.ranks import newest_step
from pretrain.telemetry.metrics import TAGS
from pretrain.telemetry.metrics_file import read_metrics
from tests.integration.small import bertrain, environment, start, write_small
from tests.processes import wait_until


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the prepared small corpus and the run `small`, trained without interruption on two ranks."""
    folder = tmp_path_factory.mktemp("end to end")  # a path with spaces, as users can have
    write_small(folder)
    made = bertrain(folder, "prepare", "recipe.toml", "data.workers=1")
    assert made.returncode == 0, made.stderr
    trained = bertrain(folder, "train", "recipe.toml")
    assert trained.returncode == 0, trained.stdout + trained.stderr
    (folder / "trained.out").write_text(trained.stdout)
    return folder


def wait_for_step(run: Path, step: int, process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 90
    while not any(record["step"] >= step for record in read_metrics(run)):
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.fixture
def survivors() -> Iterator[list[psutil.Process]]:
    """Processes that a test tracks; none can be left at its end."""
    watched: list[psutil.Process] = []
    yield watched
    _, alive = psutil.wait_procs(watched, timeout=5)
    for process in alive:
        process.kill()
    assert not alive


def ranks_of(process: subprocess.Popen[str]) -> list[psutil.Process]:
    return [child for child in psutil.Process(process.pid).children(recursive=True) if "pretrain" in child.cmdline()]


def test_run_folder_is_self_contained(prepared: Path) -> None:
    run = prepared / "runs/small"
    assert {path.name for path in run.iterdir()} >= {"recipe.toml", "logs", METRICS, "tb", "checkpoints", "latest"}
    saved = sorted(path.name for path in (run / "checkpoints").iterdir())
    assert saved == ["step_00000005", "step_00000010", "step_00000012"]
    assert (run / "latest").read_text().strip() == "step_00000012"
    records = read_metrics(run)
    assert [record["step"] for record in records] == list(range(1, 13))
    assert all(set(TAGS) <= record.keys() for record in records)
    assert [record["cursor"] for record in records] == [16 * step for step in range(12)]
    assert records[-1]["samples"] == 12 * 16
    assert records[-1]["valid_mlm_loss"] < records[0]["mlm_loss"]
    assert 0 < records[-1]["valid_unigram_loss"] < 6
    out = (prepared / "trained.out").read_text()
    assert len(re.findall(r"step +\d+/12", out)) == 12
    assert "held-out at step 12" in out


def test_a_finished_run_has_nothing_left_to_do(prepared: Path) -> None:
    before = (prepared / "runs/small" / METRICS).read_bytes()
    again = bertrain(prepared, "train", "recipe.toml")
    assert again.returncode == 0, again.stderr
    assert (prepared / "runs/small" / METRICS).read_bytes() == before


def test_evaluate_gives_the_figures_of_the_last_step(prepared: Path) -> None:
    evaluated = bertrain(prepared, "evaluate", "runs/small")
    assert evaluated.returncode == 0, evaluated.stderr
    record = read_metrics(prepared / "runs/small")[-1]
    assert f"mlm loss {record['valid_mlm_loss']:.4f}" in evaluated.stdout
    assert f"nsp accuracy {record['valid_nsp_accuracy']:.3f}" in evaluated.stdout


def test_run_with_a_killed_rank_ends_and_resumes_to_the_same_bits(
    prepared: Path, survivors: list[psutil.Process]
) -> None:
    process = start(prepared, "train", "recipe.toml", "name=killed")
    wait_for_step(prepared / "runs/killed", 6, process)
    wait_until((prepared / "runs/killed" / LATEST).exists, 90, "step 5, which is saved in the background")
    survivors += ranks_of(process)
    survivors[-1].kill()
    out = process.communicate(timeout=60)[0]
    assert process.returncode == 1, out
    assert "rank 1 was killed by SIGKILL" in out
    resumed = bertrain(prepared, "train", "recipe.toml", "name=killed")
    assert resumed.returncode == 0, resumed.stderr
    assert "resumed from" in resumed.stdout
    assert learned(prepared / "runs/killed") == learned(prepared / "runs/small")


def test_stop_request_saves_and_one_rank_resumes_with_the_same_rows(
    prepared: Path, survivors: list[psutil.Process]
) -> None:
    process = start(prepared, "train", "recipe.toml", "name=stopped")
    wait_for_step(prepared / "runs/stopped", 3, process)
    survivors += ranks_of(process)
    process.send_signal(signal.SIGTERM)
    out = process.communicate(timeout=60)[0]
    assert process.returncode == 75, out
    alone = bertrain(prepared, "train", "recipe.toml", "name=stopped", "cluster.ranks_per_node=1", "train.zero_stage=3")
    assert alone.returncode == 0, alone.stderr
    mine, undisturbed = read_metrics(prepared / "runs/stopped"), read_metrics(prepared / "runs/small")
    assert [record["rows"] for record in mine] == [record["rows"] for record in undisturbed]


ANSWER = "press Ctrl-C again to stop at once"
MOMENTS = {"opening": "recipe.toml", "ranks start": "logs/rank_00001.log", "training": METRICS}


def press_ctrl_c(process: subprocess.Popen[str]) -> None:
    """Send SIGINT, and wait until the command has answered or ended: of two signals in a row the kernel keeps one."""
    assert process.stdout
    process.send_signal(signal.SIGINT)
    while (line := process.stdout.readline()) and ANSWER not in line:
        assert "Traceback" not in line


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_second_ctrl_c_at_any_time_ends_everything_at_once(
    prepared: Path, survivors: list[psutil.Process], moment: str
) -> None:
    run = prepared / "runs" / moment.replace(" ", "-")
    process = start(prepared, "train", "recipe.toml", f"name={run.name}", "train.steps=100000")
    wait_until((run / MOMENTS[moment]).exists, 90, moment)
    survivors += psutil.Process(process.pid).children(recursive=True)
    press_ctrl_c(process)
    process.send_signal(signal.SIGINT)  # the command may be about to end, or have ended
    out = process.communicate(timeout=60)[0]
    assert process.returncode in (75, 130, -signal.SIGINT), out
    assert "Traceback" not in out
    steps = newest_step(run) + 12
    on = bertrain(prepared, "train", "recipe.toml", f"name={run.name}", f"train.steps={steps}")
    # The learning rate follows train.steps, so only the rows can be compared.
    assert on.returncode == 0, on.stderr


def test_it_runs_inside_torchrun(prepared: Path) -> None:
    torchrun = [sys.executable, "-P", "-m", "torch.distributed.run", "--nproc-per-node=2", "--standalone"]
    argv = [*torchrun, "--no-python", str(Path(sys.executable).with_name("bertrain"))]
    environ = environment() | {"OMP_NUM_THREADS": "1"}
    trained = subprocess.run(
        [*argv, "train", "recipe.toml", "name=torchrun"],
        cwd=prepared, env=environ, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert trained.returncode == 0, trained.stderr
    assert learned(prepared / "runs/torchrun") == learned(prepared / "runs/small")


def test_two_machines_started_manually_train_as_two_ranks_of_one(prepared: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        meeting = f"127.0.0.1:{probe.getsockname()[1]}"
    common = ("train", "recipe.toml", "name=by-hand", "cluster.ranks_per_node=1", "--nnodes", "2")
    nodes = [start(prepared, *common, "--node-rank", str(number), "--rendezvous", meeting) for number in (1, 0)]
    outs = [node.communicate(timeout=120)[0] for node in nodes]
    assert [node.returncode for node in nodes] == [0, 0], outs
    assert learned(prepared / "runs/by-hand") == learned(prepared / "runs/small")
    assert (prepared / "runs/by-hand/logs/rank_00001.log").exists()


def test_run_refuses_another_data_set(prepared: Path) -> None:
    (prepared / "corpus.txt").rename(prepared / "first.txt")
    (prepared / "corpus.txt").write_text((prepared / "first.txt").read_text() * 2)
    made = bertrain(prepared, "prepare", "recipe.toml", "data.dataset=other", "data.workers=1")
    (prepared / "first.txt").rename(prepared / "corpus.txt")
    assert made.returncode == 0, made.stderr
    resumed = bertrain(prepared, "train", "recipe.toml", "data.dataset=other", "train.steps=20")
    assert resumed.returncode == 2
    assert resumed.stderr.count("\n") == 1
    assert "the checkpoint was trained on data set" in resumed.stderr


@pytest.mark.parametrize(
    ("overrides", "cause"),
    [
        (["data.dataset=missing"], "no such data set"),
        (["data.max_seq_length=32"], "rows of up to 48 tokens"),
        (["data.vocabulary.size=200"], "entries"),
        (["data.vocabulary.lowercase=false"], "lower-cased"),
        (["model.hidden_size=33"], "not a multiple"),
        (["train.steps=0"], "greater than or equal to 1"),
        (["train.stepz=3"], "Did you mean `train.steps`?"),
        (["runs=/proc/none"], "/proc/none"),
        (["cluster.device=cuda"], "GPU"),
    ],
)
def test_bad_input_is_refused_in_one_line(prepared: Path, overrides: list[str], cause: str) -> None:
    refused = bertrain(prepared, "train", "recipe.toml", "name=refused", *overrides)
    assert refused.returncode == 2, refused.stdout + refused.stderr
    assert refused.stderr.count("\n") == 1, refused.stderr
    assert refused.stderr.startswith("error: ")
    assert cause in refused.stderr
    assert not (prepared / "runs/refused/recipe.toml").exists()


def test_a_damaged_shard_is_named(prepared: Path, tmp_path: Path) -> None:
    manifest = json.loads((prepared / "dataset/manifest.json").read_text())
    shard = prepared / "dataset" / next(entry["name"] for entry in manifest["shards"] if entry["split"] == "train")
    good = shard.read_bytes()
    shard.write_bytes(good[:-100] + bytes([good[-100] ^ 1]) + good[-99:])
    try:
        refused = bertrain(prepared, "train", "recipe.toml", "name=damaged")
    finally:
        shard.write_bytes(good)
    assert refused.returncode == 2
    assert shard.name in refused.stderr
    assert "SHA-256" in refused.stderr


def learned(run: Path) -> list[tuple[object, ...]]:
    """Return the rows and losses of every step, which must not depend on interruptions."""
    return [(record["step"], record["rows"], record["loss"], record["grad_norm"]) for record in read_metrics(run)]


def test_a_path_without_a_checkpoint_never_means_step_0(prepared: Path) -> None:
    refused = bertrain(prepared, "train", "recipe.toml", "name=from-nowhere", "--resume", "dataset")
    assert refused.returncode == 2
    assert refused.stderr == (
        "error: dataset: no checkpoint found. Give the folder of a run or of one of its checkpoints.\n"
    )
