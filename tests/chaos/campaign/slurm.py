"""Jobs of a real Slurm of four nodes, with a stand-in for the model."""

from __future__ import annotations

import json
import os
import random
import sys
from collections.abc import Mapping
from pathlib import Path

from launch.ranks import newest_step, read_starts
from pretrain.checkpoint import newest_start
from tests.chaos.campaign.family import Family, Strike, assert_one_history
from tests.chaos.campaign.staging import small_disk
from tests.distributed.slurm_cluster import SlurmCluster, missing_program
from tests.distributed.test_slurm import STAND_IN, log_of, make_run
from tests.distributed.test_slurm_faults import PYTHON, SHORT_LIMIT, SPARE, daemon_of, nodes_of, records_of, submit
from tests.processes import wait_until

STEPS, STEP_S, PATIENCE_S = 60, 0.1, 400
NODES = 4


class Slurm(Family):
    """Each fault has a job of its own, which must end with all its steps, on nodes that work."""

    missing = missing_program()

    def __init__(self, folder: Path, faults: int) -> None:
        super().__init__(folder, faults)
        self._open_cluster()

    def _open_cluster(self) -> None:
        self.cluster = self.stack.enter_context(SlurmCluster(NODES))
        before = dict(os.environ)
        self.stack.callback(os.environ.update, before)
        names = ("SLURM_CONF", "PATH")
        os.environ.update({name: self.cluster.env[name] for name in names} | {"PYTHONPATH": str(STAND_IN)})

    @property
    def kinds(self) -> Mapping[str, Strike]:
        """The kinds of fault by name."""
        return {
            "a rank raises": lambda draw, folder: self._by_itself(draw, folder, "raise"),
            "a rank is killed": lambda draw, folder: self._by_itself(draw, folder, "kill"),
            "one rank's input error": lambda draw, folder: self._by_itself(draw, folder, "2"),
            "nodes without Python": self._bad_nodes,
            "a node with a full scratch": self._full_scratch,
            "quick preemptions": self._preempt,
            "a killed step daemon": self._kill_step_daemon,
            "a stopped supervisor": self._stop_supervisor,
            "two jobs in one folder": self._second_job,
            "a dead slurmd": self._kill_slurmd,
            "a dead node": self._kill_node,
            "a requeue": self._requeue,
            "a warning": self._warn,
        }

    def _by_itself(self, draw: random.Random, folder: Path, what: str) -> None:
        run = self._make(draw, folder)
        (run / "fault").write_text(f"{draw.randint(1, STEPS - 1)} {(rank := draw.randint(0, 1))} {what}")
        self._finish(submit(run), run)
        if what != "kill":  # nobody says which node's rank was killed
            assert nodes_of(run)[0][rank] not in nodes_of(run)[-1]

    def _bad_nodes(self, draw: random.Random, folder: Path) -> None:
        bad = draw.sample(self.cluster.nodes, draw.randint(1, 2))
        run = self._make(draw, folder, self._python(folder, bad))
        self._finish(submit(run), run)
        assert not set(nodes_of(run)[-1]) & set(bad)

    def _full_scratch(self, draw: random.Random, folder: Path) -> None:
        node = draw.choice(["n1", "n2"])
        python = self._python(folder, [], f'[ "$SLURMD_NODENAME" != {node} ] || export TMPDIR="{folder}/scratch"')
        with small_disk(folder / "scratch", "size=4k,nr_inodes=1"):
            run = self._make(draw, folder, python)
            self._finish(submit(run), run)
        assert len(nodes_of(run)) == 1  # Python takes another temporary folder

    def _preempt(self, draw: random.Random, folder: Path) -> None:
        run = self._make(draw, folder, "cluster.max_restarts=1")
        job, script = submit(run), folder / "urgent.sh"
        script.write_text("#!/bin/bash\nsleep 1\n")
        for number in range(1, draw.randint(2, 4)):
            if not self._has_begun(run, job, number):
                break  # the job was quicker than the preemption, or has failed
            urgent = ("--partition=urgent", f"--nodes={NODES}", "--exclusive", "--output=/dev/null")
            self.cluster.wait(self.cluster.submit(script, *urgent), timeout_s=PATIENCE_S)
        self._finish(job, run)

    def _has_begun(self, run: Path, job: str, number: int) -> bool:
        """Wait until a start has begun. Returns False if the job has ended without it."""
        wait_until(
            lambda: newest_start(run) >= number or self.cluster.state(job) in ("COMPLETED", "FAILED"),
            PATIENCE_S,
            f"start {number} of {run}",
        )
        return newest_start(run) >= number

    def _kill_step_daemon(self, draw: random.Random, folder: Path) -> None:
        run, job = self._running(draw, folder, SHORT_LIMIT)
        daemon_of(self.cluster, draw.choice(nodes_of(run)[0])).kill()
        self._finish(job, run)

    def _stop_supervisor(self, draw: random.Random, folder: Path) -> None:
        run, job = self._running(draw, folder, SHORT_LIMIT)
        node = nodes_of(run)[0][1]
        for child in daemon_of(self.cluster, node).children():
            child.suspend()
        self._finish(job, run)
        assert node not in nodes_of(run)[-1]

    def _second_job(self, draw: random.Random, folder: Path) -> None:
        run, first = self._running(draw, folder)
        second = submit(run)
        assert self.cluster.wait(first, timeout_s=PATIENCE_S) in ("FAILED", "COMPLETED")
        self._finish(second, run)

    def _kill_slurmd(self, draw: random.Random, folder: Path) -> None:
        run, job = self._running(draw, folder)
        node = draw.choice(nodes_of(run)[0])
        slurmd = self.cluster.daemons.pop(node)
        slurmd.kill()
        slurmd.wait()
        self._finish(job, run)
        self._replace_cluster()

    def _kill_node(self, draw: random.Random, folder: Path) -> None:
        run, job = self._running(draw, folder, SHORT_LIMIT)
        node = draw.choice(nodes_of(run)[0])
        self.cluster.kill_node(node)
        self._finish(job, run)
        self._replace_cluster()

    def _requeue(self, draw: random.Random, folder: Path) -> None:
        run, job = self._running(draw, folder)
        self.cluster.run("scontrol", "requeue", job)
        self._finish(job, run)

    def _warn(self, draw: random.Random, folder: Path) -> None:
        run, job = self._running(draw, folder)
        self.cluster.run("scancel", "--batch", "--signal=USR1", job)
        self._finish(job, run)
        assert len({step for _, step in records_of(run)}) == len(records_of(run))  # it saved: no step is repeated

    def _make(self, draw: random.Random, folder: Path, *settings: str) -> Path:
        spare = [SPARE] if draw.random() < 0.5 else []
        return make_run(folder, STEPS, STEP_S, *settings, *spare)

    def _python(self, folder: Path, bad: list[str], line: str = "") -> str:
        (folder / "bad").write_text("".join(f"{node}\n" for node in bad))
        python = folder / "python"
        python.write_text(PYTHON.format(folder=folder, python=sys.executable).replace("exec ", f"{line}\nexec "))
        python.chmod(0o755)
        return f"cluster.python={json.dumps(str(python))}"

    def _running(self, draw: random.Random, folder: Path, *settings: str) -> tuple[Path, str]:
        run, step = self._make(draw, folder, *settings), draw.randint(1, STEPS // 2)
        job = submit(run)
        wait_until(lambda: (run / "metrics.jsonl").exists(), PATIENCE_S, f"a step: {log_of(run)}")
        wait_until(lambda: step in [number for _, number in records_of(run)], PATIENCE_S, f"step {step}")
        return run, job

    def _finish(self, job: str, run: Path) -> None:
        assert self.cluster.wait(job, timeout_s=PATIENCE_S) == "COMPLETED", log_of(run)
        assert_one_history(records_of(run), STEPS)
        assert newest_step(run) == STEPS
        assert len(read_starts(run)) == newest_start(run)
        assert "launch/cluster" not in log_of(run)  # a traceback of ours; those of the stand-in's ranks are meant

    def _replace_cluster(self) -> None:
        """Continue with another cluster, because one node of this one is down."""
        self.stack.close()
        self._open_cluster()
