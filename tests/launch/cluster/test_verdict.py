"""The verdict on a start: who is guilty, and whether the job comes back."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from configs.errors import UserError
from configs.recipe import load_recipe, write_recipe
from configs.run_layout import STOP, start_folder
from launch.cluster import verdict
from launch.cluster.verdict import INTERRUPTED, Evidence, end_start, judge, node_named_in
from launch.ranks import starts
from launch.ranks.starts import RankEnd, Start, Verdict

START = Start(1, "7", True, ["n1", "n2"], ranks=4, step=0, time=0.0)
FIVE = Start(1, "7", True, ["n1", "n2", "n3", "n4", "n5"], ranks=5, step=0, time=0.0)
ALL = frozenset(range(4))
LOST = "Connection closed by peer"


def ends(*codes: int, error: str = "") -> list[RankEnd]:
    return [RankEnd(rank, f"n{1 + rank // 2}", code, error=error, time=float(rank)) for rank, code in enumerate(codes)]


def found(*codes: int) -> Evidence:
    return Evidence(ends(*codes))


def save(run: Path, step: int) -> None:
    folder = run / "checkpoints" / f"step_{step:08}"
    folder.mkdir(parents=True)
    (folder / "state.json").write_text("{}")


@pytest.fixture
def run(tmp_path: Path) -> Path:
    write_recipe(load_recipe("demo", ["cluster.max_restarts=2"]), tmp_path / "recipe.toml")
    return tmp_path


def begin(run: Path, *, is_first: bool = False) -> Start:
    return starts.begin_start(run, "7", is_first=is_first, nodes=["n1", "n2"], ranks=4)


def fail(run: Path, *, is_first: bool = False) -> Verdict:
    """Begin a start whose rank 3 fails."""
    start = begin(run, is_first=is_first)
    starts.record_end(run, start.number, RankEnd(3, "n2", 1, fault=1, error="CUDA error"))
    return end_start(run, start)


def preempt(run: Path, *, is_first: bool = False) -> Verdict:
    """Begin a start that gets SIGTERM before its first step."""
    start = begin(run, is_first=is_first)
    for rank in range(4):
        starts.record_end(run, start.number, RankEnd(rank, starts.node_of(start, rank), INTERRUPTED))
    return end_start(run, start)


def test_all_done_is_done() -> None:
    assert judge(START, found(0, 0, 0, 0)) == Verdict(0, False, "done")


def test_stopped_with_a_checkpoint_requeues_unless_stopped_by_the_user() -> None:
    assert judge(START, found(75, 75, 75, 75)).requeue
    assert not judge(START, replace(found(75, 75, 75, 75), was_stopped=True)).requeue


def test_a_user_error_is_final_only_if_all_ranks_say_so() -> None:
    everywhere = judge(START, Evidence(ends(2, 2, 2, 2, error="error: no data set")))
    assert everywhere == Verdict(2, False, "error: no data set")
    one = RankEnd(3, "n2", 2, fault=1, error="error: /tmp/caches: cannot write. The disk is full.")
    here = judge(START, Evidence([*ends(143, 143, 143), one]))
    assert here == Verdict(1, True, f"rank 3 on n2: {one.error}", "n2")


def test_the_cause_is_not_a_lost_connection() -> None:
    failed = [
        RankEnd(0, "n1", 1, fault=2, error=LOST, time=1.0),
        RankEnd(1, "n1", 143, time=0.5),  # ended by the scheduler
        RankEnd(2, "n2", 1, fault=1, error="CUDA error", time=1.1),
        RankEnd(3, "n2", 1, fault=1, error="another", time=1.2),
    ]
    assert judge(START, Evidence(failed)) == Verdict(1, True, "rank 2 on n2: CUDA error", "n2")


def test_a_node_whose_ranks_left_no_record_is_the_cause_of_lost_connections() -> None:
    effects = [RankEnd(rank, "n1", 1, fault=2, error=LOST) for rank in (0, 1)]
    assert judge(START, Evidence(effects, begun=ALL)).without_node == "n2"


def test_ranks_that_never_began_are_the_cause_and_not_those_that_were_killed_for_it() -> None:
    effects = [RankEnd(0, "n1", 1, fault=2, error=LOST)]
    assert judge(FIVE, Evidence(effects, begun=frozenset({0, 1, 2, 4}))).without_node == "n4"


def test_nobody_is_blamed_without_evidence() -> None:
    nothing = judge(FIVE, Evidence([]))
    assert (nothing.requeue, nothing.without_node) == (True, "")
    several = judge(FIVE, Evidence([RankEnd(0, "n1", 1, fault=2, error=LOST)]))
    assert (several.requeue, several.without_node) == (True, "")
    assert several.reason == f"rank 0 on n1: {LOST}"


@pytest.mark.parametrize("number", [1, 3, 5])
def test_srun_names_the_node_that_cannot_start_python(number: int) -> None:
    """The first, a middle and the last node. The others are killed for it, most before they begin."""
    others = [f"srun: error: n{n}: task {n - 1}: Terminated" for n in range(1, 6) if n != number]
    log = "\n".join(
        [
            "slurmstepd: error: execve(): /venv/bin/python: No such file or directory",
            f"srun: error: n{number}: task {number - 1}: Exited with exit code 2",
            "srun: Terminating StepId=7.0",
            *others,
            "srun: error: n2: tasks 1-2: Exited with exit code 143",
        ]
    )
    assert node_named_in(log) == f"n{number}"
    assert judge(FIVE, Evidence([], named=node_named_in(log))).without_node == f"n{number}"


def test_srun_names_no_node_when_tasks_are_only_killed() -> None:
    assert node_named_in("srun: error: n1: task 0: Terminated\nsrun: error: n2: task 1: Killed\n") == ""
    assert node_named_in("srun: error: Node failure on n2\nsrun: error: n1: task 0: Exited with exit code 1") == "n2"


@pytest.mark.parametrize(
    "said",
    [
        "slurmstepd: error: *** STEP 7.0 ON n1 CANCELLED AT 2026-01-01T00:00:00 DUE TO PREEMPTION ***",
        # before srun could begin the step
        "srun: error: Unable to confirm allocation for job 1: Job is pending execution",
        "srun: error: Task launch for StepId=2.0 failed on node n2: Job credential revoked",  # while it began
    ],
)
def test_a_preemption_blames_nobody(said: str) -> None:
    assert verdict._INTERRUPTION.search(said)
    assert judge(START, Evidence([], was_interrupted=True)).code == INTERRUPTED
    found = judge(START, Evidence([], named="n1", was_interrupted=True))
    assert (found.code, found.requeue, found.without_node) == (INTERRUPTED, True, "")


def test_failures_without_a_checkpoint_are_limited(run: Path) -> None:
    assert [fail(run, is_first=True).requeue, fail(run).requeue] == [True, True]
    last = fail(run)
    assert not last.requeue
    assert "3 starts in a row saved no new checkpoint" in last.reason
    assert starts.read_verdict(run, 3) == last
    with pytest.raises(UserError, match=r"giving up.*max_restarts is 2"):
        verdict.check_restart_limit(run)


def test_preempted_starts_do_not_count(run: Path) -> None:
    assert preempt(run, is_first=True).requeue
    assert all(preempt(run).requeue for _ in range(6))
    assert verdict.failures_without_checkpoint(run) == 0
    assert fail(run).requeue


def test_starts_that_slurm_preempted_before_any_record_do_not_count(run: Path) -> None:
    """On a busy machine a job is killed while it starts its ranks. The daemon of its script has told the log why."""
    (run / "logs").mkdir(exist_ok=True)
    for number in range(1, 6):
        with (run / "logs/slurm.log").open("a") as log:
            log.write(f"bertrain: start {begin(run).number} of {run} on n1 n2, from step 0\n")
            if number != 3:
                log.write(
                    "slurmstepd-n1: error: *** JOB 1 ON n1 CANCELLED AT 2026-11-29T21:35:23 DUE TO PREEMPTION ***\n"
                )
    assert verdict.failures_without_checkpoint(run) == 1


def test_starts_that_slurm_ended_with_their_script_are_judged_by_their_records(run: Path) -> None:
    """A preemption kills the batch script before it can record a verdict."""
    for _ in range(5):
        start = begin(run)
        starts.record_end(run, start.number, RankEnd(0, "n1", INTERRUPTED))
    verdict.check_restart_limit(run)
    for _ in range(3):
        begin(run)  # nothing at all is known about these
    with pytest.raises(UserError, match="giving up"):
        verdict.check_restart_limit(run)


def test_a_checkpoint_or_a_start_by_the_user_resets_the_count(run: Path) -> None:
    fail(run, is_first=True)
    fail(run)
    save(run, 10)
    assert fail(run).requeue
    assert verdict.failures_without_checkpoint(run) == 1
    fail(run)
    fail(run, is_first=True)
    assert verdict.failures_without_checkpoint(run) == 1


def test_a_superseded_start_never_comes_back(run: Path) -> None:
    old, _ = begin(run, is_first=True), begin(run)
    found = end_start(run, old)
    assert (found.code, found.requeue) == (1, False)
    assert found.reason.startswith("superseded by start 2")


def test_a_verdict_needs_no_space_on_the_disk(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    start = begin(run, is_first=True)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(verdict, "record_verdict", full)
    assert end_start(run, start).requeue


def test_damaged_records_are_passed_over(run: Path) -> None:
    start = begin(run, is_first=True)
    (start_folder(run, 1) / "rank_00000.json").write_bytes(b'{"rank": 0, "no')
    (start_folder(run, 1) / "rank_00001.json").write_text("[]")
    starts.record_end(run, 1, RankEnd(2, "n2", 1, fault=1, error="CUDA error"))
    assert end_start(run, start).without_node == "n2"


def test_half_written_checkpoint_is_no_progress(run: Path) -> None:
    (run / "checkpoints" / "step_00000009").mkdir(parents=True)
    assert starts.newest_step(run) == 0


def test_a_start_by_the_user_removes_only_requests_to_other_jobs(run: Path) -> None:
    starts.request_stop(run, "job 6")
    begin(run, is_first=True)
    assert not (run / STOP).exists()
    starts.request_stop(run, "job 7")
    start = begin(run, is_first=True)  # the user was quicker than the job's first command
    assert starts.is_stop_requested(run, start)
