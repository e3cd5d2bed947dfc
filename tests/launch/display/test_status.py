from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from configs.errors import UserError
from configs.recipe import load_recipe, write_recipe
from configs.run_layout import checkpoint_name
from launch.cluster.batch_script import Site, render
from launch.cluster.slurm import QueuedJob
from launch.cluster.stopping import stop_run
from launch.cluster.verdict import end_start
from launch.display.logs import show_log
from launch.display.status import Status, read_status, read_statuses, show_status, status_report
from launch.ranks import heartbeat, process_training_in, run_folder, starts
from launch.ranks.starts import RankEnd
from pretrain.telemetry import tail_of_metrics


@pytest.fixture
def run(tmp_path: Path) -> Path:
    folder = tmp_path / "runs" / "demo"
    (folder / "logs").mkdir(parents=True)
    write_recipe(load_recipe("demo", ["train.steps=100"]), folder / "recipe.toml")
    return folder


def record(run: Path, *steps: int) -> None:
    with (run / "metrics.jsonl").open("a") as metrics:
        for step in steps:
            line: dict[str, Any] = {"step": step, "loss": 7 - step / 100, "tokens_per_s": 5e4, "mfu": 0.5}
            metrics.write(json.dumps(line | {"time_s": 2.0 * step}) + "\n")


def save(run: Path, step: int) -> None:
    """Write as much of a checkpoint as `status` reads."""
    folder = run / "checkpoints" / checkpoint_name(step)
    folder.mkdir(parents=True)
    (folder / "state.json").write_text("{}")


def job(run: Path, state: str, script: str = "submit.sbatch") -> QueuedJob:
    return QueuedJob("7", state, "Priority", "n[1-2]", "3:10", run.absolute() / script)


def test_status_of_a_running_job(run: Path) -> None:
    record(run, 1, 2, 10)
    starts.begin_start(run, "7", is_first=True, nodes=["n1"], ranks=1)
    starts.begin_start(run, "7", is_first=False, nodes=["n1"], ranks=1)
    status = read_status(run, [job(run, "RUNNING")])
    assert (status.state, status.detail) == ("running", "job 7 on n[1-2], 3:10")
    assert (status.step, status.steps, status.loss, status.restarts) == (10, 100, 6.9, 1)
    assert status.eta_s == 180.0
    assert shown(status).splitlines() == [
        "run   state    step    loss    tokens/s  MFU    ETA",
        "demo  running  10/100  6.9000  50,000    50.0%  3 m 00 s",
        "demo: no checkpoint; 1 restart(s); job 7 on n[1-2], 3:10",
    ]


def shown(*statuses: Status) -> str:
    """Return the report on a screen of 80 columns, without the spaces at the ends of lines."""
    console = Console(width=80, record=True, soft_wrap=True, file=open(os.devnull, "w"))  # noqa: SIM115 - closed with the process
    console.print(status_report(statuses))
    return re.sub(r" +$", "", console.export_text(), flags=re.MULTILINE)


def test_nothing_is_cut_at_80_columns(run: Path) -> None:
    name = "a_run_whose_name_is_as_long_as_a_file_system_allows" * 3
    long = Status(
        run.with_name(name), "running", "rank 2 on n2 is slow: " * 9, 1_000_000, 999_999, 10.1234, 12_345_678.0, 0.5,
        86_000.0, restarts=12, checkpoint=999_990, goodput=0.981,
    )  # fmt: skip
    told = shown(long)
    table, _, below = told.partition(f"{name}: ")
    assert "…" not in told
    assert max(map(len, table.splitlines())) <= 80
    for value in ("running", "999999/1000000", "10.1234", "12,345,678", "50.0%", "23 h 53 m"):
        assert value in table.splitlines()[1]
    assert name in "".join(line[: line.find("  ")] if "  " in line else line for line in table.splitlines()[1:])
    assert below.startswith("checkpoint 999990; 12 restart(s); goodput 98.1%; rank 2 on n2")


def test_status_shows_goodput_with_losses_by_cause(run: Path) -> None:
    with (run / "metrics.jsonl").open("w") as metrics:
        account = {"wall_s": 100.0, "lost_starts_s": 20.0, "lost_saves_s": 5.0, "lost_skipped_s": 0.0, "clock": 1e9}
        metrics.write(json.dumps({"step": 9, "time_s": 75.0} | account) + "\n")
    status = read_status(run, [])
    assert (status.goodput, status.detail) == (0.75, "lost: starting 20.0%, saving 5.0%")


def test_status_respects_the_time_budget(run: Path) -> None:
    write_recipe(load_recipe("demo", ["train.steps=100", "train.budget_min=0.5"]), run / "recipe.toml")
    record(run, 9, 10)
    status = read_status(run, [job(run, "RUNNING")])
    assert (status.state, status.eta_s) == ("running", 10.0)
    record(run, 15)
    assert read_status(run, []).state == "stopped"  # the last step is not saved yet
    save(run, 15)
    assert read_status(run, []).state == "done"


def test_a_job_without_output_for_long_is_silent(run: Path) -> None:
    record(run, 1, 2)
    assert read_status(run, [job(run, "RUNNING")], now=time.time() + 100).state == "running"
    assert read_status(run, [job(run, "RUNNING")], now=time.time() + 1000).state == "silent"


def test_the_slow_node_is_named(run: Path) -> None:
    starts.begin_start(run, "7", is_first=True, nodes=["n1", "n2"], ranks=4)
    record(run, 1, 2)
    with (run / "metrics.jsonl").open("a") as metrics:
        metrics.write('{"step": 3, "time_s": 6.0, "loss": 6.9, "slow_rank": 2, "slow_rank_ratio": 1.52}\n')
    record(run, 4, 5)
    detail = read_status(run, [job(run, "RUNNING")]).detail
    assert detail == "job 7 on n[1-2], 3:10; rank 2 on n2 is slow: 1.5 times the others' time"
    record(run, *range(6, 60))
    assert "slow" not in read_status(run, [job(run, "RUNNING")]).detail


def test_a_node_without_heartbeat_is_named(run: Path) -> None:
    starts.begin_start(run, "7", is_first=True, nodes=["n1", "n2"], ranks=2)
    with heartbeat.beating(run, 1, "n1"), heartbeat.beating(run, 1, "n2"):
        while len(heartbeat.silences_s(run, 1, time.time())) < 2:
            time.sleep(0.01)
    assert read_status(run, [job(run, "RUNNING")]).detail == "job 7 on n[1-2], 3:10"
    hour_ago = time.time() - 3600
    os.utime(run / "starts/0001/alive/n2", (hour_ago, hour_ago))
    assert read_status(run, [job(run, "RUNNING")]).detail == "job 7 on n[1-2], 3:10; no heartbeat from n2 for 1 h 00 m"


@pytest.mark.parametrize(
    ("queue_state", "script", "expected"),
    [
        ("PENDING", "submit.sbatch", ("waiting", "job 7: pending, Priority")),
        ("RUNNING", "prepare.sbatch", ("running", "preparation, job 7 on n[1-2], 3:10")),
    ],
)
def test_states_of_the_queue(run: Path, queue_state: str, script: str, expected: tuple[str, str]) -> None:
    status = read_status(run, [job(run, queue_state, script)])
    assert (status.state, status.detail) == expected


def test_states_without_a_queue(run: Path) -> None:
    assert read_status(run, []).state == "new"
    record(run, 1)
    assert read_status(run, []).state == "stopped"
    start = starts.begin_start(run, "7", is_first=True, nodes=["n1"], ranks=1)
    starts.record_end(run, 1, RankEnd(0, "n1", 2, error="error: no data set"))
    end_start(run, start)
    assert (read_status(run, []).state, read_status(run, []).detail) == ("failed", "error: no data set")
    record(run, 100)
    assert read_status(run, []).state == "failed"
    save(run, 100)
    assert read_status(run, []).state == "done"
    assert read_status(run, []).eta_s is None


def test_a_job_that_started_nothing_is_named(run: Path) -> None:
    """Slurm reports the job of a script that was cut before its first command as completed."""
    script = run / "submit.sbatch"
    text = render(load_recipe(str(run / "recipe.toml")), run.absolute(), Site(run.absolute(), "python"))
    script.write_text(text)
    assert read_status(run, [job(run, "PENDING")]).state == "waiting"
    said = "no start is recorded, and no job is in Slurm's queue here: submit the run again"
    assert (read_status(run, []).state, read_status(run, []).detail) == ("new", said)
    starts.begin_start(run, "7", is_first=True, nodes=["n1"], ranks=1)
    assert read_status(run, []).detail == ""
    record(run, 1)
    script.write_text(text[: text.index("#SBATCH --requeue")])
    said = "submit.sbatch is cut, and its jobs start nothing: submit the run again, which writes it anew"
    assert (read_status(run, []).state, read_status(run, []).detail) == ("stopped", said)
    record(run, 100)
    save(run, 100)
    assert (read_status(run, []).state, read_status(run, []).detail) == ("done", "")


def test_status_shows_the_error_of_a_local_run(run: Path) -> None:
    (run / "logs" / "rank_00000.log").write_text("Traceback (most recent call last)\n  x\nRuntimeError: [CUDA] lost\n")
    status = read_status(run, [])
    assert (status.state, status.detail) == ("failed", "RuntimeError: [CUDA] lost")


def test_only_the_tail_of_long_metrics_is_read(run: Path) -> None:
    record(run, *range(1, 5000))
    with (run / "metrics.jsonl").open("a") as metrics:
        metrics.write('{"step": 5000, "lo')  # being written
    records = tail_of_metrics(run).merged
    assert records[-1]["step"] == 4999
    assert len(records) < 1000


def test_status_of_twenty_runs_shows_nineteen_if_one_is_damaged(
    tmp_path: Path, run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = [Path(shutil.copytree(run, tmp_path / f"run{number:02}")) for number in range(20)]
    (runs[7] / "recipe.toml").write_bytes(b"\x00[train")
    with pytest.raises(UserError, match="1 of 20 runs cannot be read; the first: not valid TOML") as raised:
        show_status(runs, watch=False)
    assert raised.value.place == str(runs[7] / "recipe.toml")
    shown = capsys.readouterr().out
    assert [name for name in (path.name for path in runs) if name in shown] == [
        path.name for path in runs if path != runs[7]
    ]
    statuses, errors = read_statuses(runs)
    assert (len(statuses), len(errors)) == (19, 1)
    with pytest.raises(UserError, match="1 of 20 runs cannot be read"):
        show_status([tmp_path], watch=False)  # the folder of the runs


def test_a_pipe_among_the_logs_does_not_block_status(run: Path) -> None:
    os.mkfifo(run / "logs" / "rank_00000.log")
    (run / "logs" / "rank_00001.log").write_text("error: no data set\n")
    assert read_status(run, []).detail == "error: no data set"


def test_status_counts_damaged_lines(run: Path) -> None:
    record(run, 1, 2)
    with (run / "metrics.jsonl").open("ab") as stream:
        stream.write(b"\0" * 50 + b"\n")
    record(run, 3)
    status = read_status(run, [])
    assert (status.step, status.detail) == (3, "1 damaged line(s) at the end of metrics.jsonl")


def test_a_folder_that_is_not_a_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such run"):
        read_status(tmp_path, [])


def test_a_run_on_this_machine_is_found_and_stopped(tmp_path: Path) -> None:
    program = (
        "import sys, time; from pathlib import Path; from configs.recipe import load_recipe\n"
        "from launch.ranks import begin_run; from pretrain.stop import StopRequest\n"
        "with begin_run(load_recipe('demo'), 'auto', ranks=1) as start:\n"
        "    stop = StopRequest(); stop.read_file_of(Path('runs/demo'), start.number); print('open', flush=True)\n"
        "    while not stop: time.sleep(0.05)\n"
        "sys.exit(75)"
    )
    process = subprocess.Popen([sys.executable, "-c", program], cwd=tmp_path, stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"open\n"
    run = tmp_path / "runs" / "demo"
    assert process_training_in(run) == (process.pid, socket.gethostname())
    assert read_status(run, []).state == "running"
    where = f"process {process.pid} on {socket.gethostname()}"
    assert stop_run(run) == f"asked {where} to save a checkpoint and exit after its current step"
    assert process.wait(60) == 75
    assert process_training_in(run) is None
    with pytest.raises(UserError, match="the run is not running"):
        stop_run(run)


@pytest.mark.parametrize("lines", [1, 3, 10_000])
def test_show_log_prints_the_last_lines(run: Path, lines: int, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    text = [f"line {number}" + "x" * 100 for number in range(3000)]
    (run / "logs" / "rank_00003.log").write_text("\n".join(text) + "\n")
    show_log(run, 3, lines, follow=False)
    assert capfdbinary.readouterr().out.decode().splitlines() == text[-lines:]


def test_a_missing_log_is_refused(run: Path) -> None:
    with pytest.raises(UserError, match=r"no log of rank 1.*has not started yet"):
        show_log(run, 1, 5, follow=False)
    (run / "logs" / "rank_00000.log").touch()
    (run / "logs" / "rank_old.log").touch()  # a user's copy
    with pytest.raises(UserError, match=r"no log of rank 1.*Choose a rank from 0 to 0"):
        show_log(run, 1, 5, follow=False)
    assert run_folder.find_run(run).name == "demo"
