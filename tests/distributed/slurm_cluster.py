"""A private Slurm cluster on loopback: one slurmctld, one slurmd per node, and munge with its own key.

All files are in one temporary folder, and all daemons run as the current user. A Slurm that is installed on the machine
is not touched. Debian's packages suffice:

    apt-get install --no-install-recommends slurmctld slurmd slurm-client slurm-wlm-basic-plugins munge
"""

from __future__ import annotations

import getpass
import os
import secrets
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Self

import psutil

from launch.ranks.rank_address import ASK_NO_DISPLAY
from tests.processes import started_with, wait_until

PATIENCE_S = 240.0  # what takes so long has hung, on the most loaded machine
PROGRAMS = ("slurmctld", "slurmd", "sbatch", "munged")
INSTALL = "apt-get install --no-install-recommends slurmctld slurmd slurm-client slurm-wlm-basic-plugins munge"
SEARCH_PATH = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"])

CONFIGURATION = """\
ClusterName=test
SlurmctldHost={host}({address})
SlurmctldPort={controller_port}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={folder}/munge/socket,cred_expire=5
CredType=cred/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool.%n
TmpFS={folder}/tmp.%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdPidFile={folder}/slurmd.%n.pid
SlurmdLogFile={folder}/slurmd.%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin={task_plugin}
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SwitchType=switch/none
MpiDefault=none
GresTypes=gpu
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerType=sched/backfill
SchedulerParameters=sched_interval=2,bf_interval=1
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
JobRequeue=1
ReturnToService=2
SlurmctldTimeout=10
SlurmdTimeout=10
InactiveLimit=0
KillWait={kill_wait_s}
CompleteWait=0
SlurmdParameters=config_overrides
MailProg=/bin/true
{nodes}
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP PriorityTier=1
PartitionName=urgent Nodes=ALL MaxTime=INFINITE State=UP PriorityTier=2 PreemptMode=OFF
"""


def missing_program() -> str:
    """Return the first of Slurm's programs that is not installed, or an empty string."""
    return next((name for name in PROGRAMS if shutil.which(name, path=SEARCH_PATH) is None), "")


class SlurmCluster:
    """`nodes` nodes n1, n2 … with two cores each. Leaving the context ends all processes and removes all files."""

    address = "127.0.0.1"  # the controller's

    def __init__(self, nodes: int, kill_wait_s: int = 5, gpus: int = 0, task_plugin: str = "task/none") -> None:
        self.gpus = gpus  # GPUs per node; in name only
        self.task_plugin = task_plugin
        self.nodes = [f"n{number}" for number in range(1, nodes + 1)]
        self.folder = Path(tempfile.mkdtemp(prefix="slurm-", dir="/tmp"))  # a socket needs a short path
        # The daemons load PMIx. Its hwloc would query the ports of X displays, where a TensorBoard never replies.
        self.env = {**os.environ, **ASK_NO_DISPLAY}
        self.env |= {"PATH": SEARCH_PATH, "SLURM_CONF": str(self.folder / "slurm.conf")}
        self.daemons: dict[str, subprocess.Popen[bytes]] = {}
        self.kill_wait_s = kill_wait_s

    def __enter__(self) -> Self:
        try:
            self._configure()
            self._start_daemons()
            wait_until(lambda: self._idle_nodes() == len(self.nodes), PATIENCE_S, "the nodes to be idle")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        kill(self._processes())
        for daemon in self.daemons.values():
            daemon.wait(PATIENCE_S)
        shutil.rmtree(self.folder, ignore_errors=True)

    def run(self, *argv: str) -> str:
        """Run one of Slurm's commands on this cluster and return its output. A failure raises its message."""
        done = subprocess.run(argv, env=self.env, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
        assert done.returncode == 0, f"{argv}: {done.stdout}{done.stderr}"
        return done.stdout.strip()

    def submit(self, script: Path, *options: str) -> str:
        """Run `sbatch` and return the job's ID."""
        return self.run("sbatch", "--parsable", *options, str(script))

    def state(self, job: str) -> str:
        """Return the job's state: PENDING, RUNNING, COMPLETED, FAILED …"""
        return self.run("squeue", "--noheader", "--states=all", f"--jobs={job}", "--format=%T")

    def field(self, job: str, name: str) -> str:
        """Return one field of `scontrol show job`."""
        shown = self.run("scontrol", "--oneliner", "show", "job", job)
        return next(word.partition("=")[2] for word in shown.split() if word.startswith(f"{name}="))

    def wait(self, job: str, *states: str, timeout_s: float = PATIENCE_S) -> str:
        """Wait until the job is in one of `states` (default: until it has ended)."""
        ended = states or ("COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL")
        wait_until(lambda: self.state(job) in ended, timeout_s, f"job {job} to be {' or '.join(ended)}")
        return self.state(job)

    def cancel_all(self) -> None:
        """Cancel all jobs, and wait until the nodes are idle."""
        self.run("scancel", "--full", f"--user={getpass.getuser()}")
        self.run("scancel", "--signal=KILL", f"--user={getpass.getuser()}")
        wait_until(lambda: self._idle_nodes() == len(self.nodes), PATIENCE_S, "the nodes to be idle")

    def kill_node(self, node: str) -> None:
        """Simulate a power cut: kill slurmd, its step daemons and all their children at once by SIGKILL."""
        kill([*self._processes(f"SLURMD_NODENAME={node}"), psutil.Process(self.daemons[node].pid)])
        self.daemons.pop(node).wait(PATIENCE_S)

    def start_node(self, node: str) -> None:
        """Start a node's slurmd."""
        self._start(node, *self._slurmd(node))

    def _slurmd(self, node: str) -> list[str]:
        return ["slurmd", "-D", "-N", node, "-f", self.env["SLURM_CONF"]]

    def _place_of(self, node: str) -> str:
        """Return the node's name and address for slurm.conf."""
        return f"NodeHostname={socket.gethostname().partition('.')[0]} NodeAddr={self.address}"

    def _configure(self) -> None:
        host = socket.gethostname().partition(".")[0]
        ports = free_ports(1 + len(self.nodes))
        size = f"CPUs={max(2, self.gpus)} RealMemory=8000" + (f" Gres=gpu:{self.gpus}" if self.gpus else "")
        lines = [
            f"NodeName={node} {self._place_of(node)} Port={port} {size}"
            for node, port in zip(self.nodes, ports[1:], strict=True)
        ]
        for name in ("state", "munge", *(f"{kind}.{node}" for node in self.nodes for kind in ("tmp", "spool"))):
            (self.folder / name).mkdir(mode=0o700)
        (self.folder / "slurm.conf").write_text(
            CONFIGURATION.format(
                host=host,
                address=self.address,
                user=getpass.getuser(),
                folder=self.folder,
                controller_port=ports[0],
                kill_wait_s=self.kill_wait_s,
                task_plugin=self.task_plugin,
                nodes="\n".join(lines),
            )
        )
        (self.folder / "cgroup.conf").write_text("CgroupPlugin=cgroup/v1\n")  # if it is not mounted, no cgroup is used
        for gpu in range(self.gpus):
            (self.folder / f"gpu{gpu}").touch()
        gpus = f"Name=gpu File={self.folder}/gpu[0-{self.gpus - 1}]\n" if self.gpus else ""
        (self.folder / "gres.conf").write_text(gpus)
        key = self.folder / "munge" / "key"
        key.write_bytes(secrets.token_bytes(128))
        key.chmod(0o400)

    def _start_daemons(self) -> None:
        munge = self.folder / "munge"
        files = {"key-file": "key", "socket": "socket", "pid-file": "pid", "log-file": "log", "seed-file": "seed"}
        options = [f"--{option}={munge / name}" for option, name in files.items()]
        self._start("munged", "munged", "--foreground", "--force", *options)
        wait_until((munge / "socket").exists, PATIENCE_S, "munged's socket")
        self._start("slurmctld", "slurmctld", "-D", "-c", "-f", self.env["SLURM_CONF"])
        for node in self.nodes:
            self.start_node(node)

    def _start(self, name: str, *argv: str) -> None:
        with (self.folder / f"{name}.out").open("ab") as output:
            self.daemons[name] = subprocess.Popen(argv, env=self.env, stdout=output, stderr=output)

    def _idle_nodes(self) -> int:
        argv = ["sinfo", "--noheader", "--partition=main", "--states=idle", "--format=%D"]
        done = subprocess.run(argv, env=self.env, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
        return sum(int(line) for line in done.stdout.split())

    def _processes(self, assignment: str = "") -> list[psutil.Process]:
        """Return the processes with this cluster's configuration and `assignment` in their environment.

        A step's daemon overwrites its environment with its title, so it is found through its children.
        """
        found = started_with(*{f"SLURM_CONF={self.env['SLURM_CONF']}", assignment} - {""})
        parents = [parent for process in found if (parent := _parent(process)) and parent.name() == "slurmstepd"]
        return [*parents, *found]


def kill(processes: Sequence[psutil.Process]) -> None:
    """Send SIGKILL to all processes, and wait until they have ended."""
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(processes, timeout=PATIENCE_S)


def _parent(process: psutil.Process) -> psutil.Process | None:
    with suppress(psutil.NoSuchProcess):
        return process.parent()
    return None


def free_ports(count: int) -> list[int]:
    """Return ports on which no process listens now."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [int(one.getsockname()[1]) for one in sockets]
    finally:
        for one in sockets:
            one.close()


def job_script(path: Path, body: Sequence[str], *options: str) -> Path:
    """Write a batch script with these options and lines."""
    path.write_text("\n".join(["#!/bin/bash", *(f"#SBATCH {option}" for option in options), *body, ""]))
    return path
