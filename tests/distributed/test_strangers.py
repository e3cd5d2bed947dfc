"""Another address and another user (network and user namespaces): no join, no value accepted, no file touched."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from configs.recipe import write_recipe
from pretrain.telemetry.metrics_file import read_metrics
from tests.chaos.training import recipe_of
from tests.distributed import slurm_network
from tests.integration.small import command, environment
from tests.pretrain.synthetic import write_dataset
from tests.processes import wait_until

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.skipif(bool(slurm_network.why_not()), reason=slurm_network.why_not()),
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to become another user"),
]
NOBODY = 65_534
OURS, THEIRS, PORT = "10.213.78.1", "10.213.78.2", 29_511

# Tries, from its own address and as nobody, what worked once: to write values, and to join as a rank. Prints the ports
# that it reached, and whether it joined.
STRANGER = """
import encodings.idna, json, os, socket, sys
from datetime import timedelta
import torch.distributed as dist  # before, because nobody may be unable to read this Python
from torch._C._distributed_c10d import TCPStore, PrefixStore
host, ports = sys.argv[1], json.loads(sys.argv[2])
os.setgroups([]); os.setgid(65534); os.setuid(65534)
reached = []
for port in ports:
    try:
        socket.create_connection((host, port), timeout=1).close()
        reached.append(port)
    except OSError:
        pass
print(json.dumps(reached), flush=True)
if not reached:
    sys.exit()
store = TCPStore(host, reached[0], is_master=False, timeout=timedelta(seconds=5), wait_for_workers=False)
for key in list(store.list_keys()):
    store.set(key, b"stranger")
try:
    dist.init_process_group("gloo", store=PrefixStore("bertrain/0", store), rank=1, world_size=2,
                            timeout=timedelta(seconds=5))
    print("joined", flush=True)
except Exception as error:
    print(type(error).__name__, flush=True)
"""


@dataclass(frozen=True)
class Network:
    """A namespace with an address of its own, joined to this machine by a cable."""

    space: str

    def run(self, *arguments: str, timeout_s: float = 120) -> str:
        argv = ["nsenter", f"--net=/run/netns/{self.space}", sys.executable, "-c", STRANGER, *arguments]
        done = subprocess.run(argv, capture_output=True, text=True, timeout=timeout_s, check=False, cwd="/")
        assert done.returncode == 0, done.stderr
        return done.stdout


def ip(*arguments: str, check: bool = True) -> None:
    subprocess.run(["ip", *arguments], check=check, capture_output=True)


@pytest.fixture
def elsewhere() -> Iterator[Network]:
    space, cable = f"stranger{os.getpid()}", f"s{os.getpid()}"
    ip("netns", "add", space)
    try:
        ip("link", "add", cable, "type", "veth", "peer", "name", "eth0", "netns", space)
        ip("address", "add", f"{OURS}/24", "dev", cable)
        ip("link", "set", cable, "up")
        ip("-n", space, "address", "add", f"{THEIRS}/24", "dev", "eth0")
        ip("-n", space, "link", "set", "eth0", "up")
        yield Network(space)
    finally:
        ip("link", "delete", cable, check=False)
        ip("netns", "delete", space, check=False)


def make_run(folder: Path, name: str) -> Path:
    write_dataset(folder / "dataset", [[400] * 4], [8], vocabulary_size=120)
    patient = {"collective_timeout_s": 300}
    recipe = recipe_of(str(folder / "dataset"), folder / "runs" / name, train={"steps": 100_000}, cluster=patient)
    write_recipe(recipe, folder / f"{name}.toml")
    return folder / "runs" / name


def start(folder: Path, name: str, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        command("train", str(folder / f"{name}.toml"), *arguments),
        cwd=folder, env=environment() | {"OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip


def listening(processes: list[int]) -> list[tuple[str, int]]:
    found = []
    for number in processes:
        for one in psutil.Process(number).net_connections("inet"):
            if one.status == "LISTEN":
                found.append((str(one.laddr.ip), int(one.laddr.port)))
    return found


def descendants(process: subprocess.Popen[str]) -> list[int]:
    return [process.pid, *(child.pid for child in psutil.Process(process.pid).children(recursive=True))]


def test_ranks_of_one_node_cannot_be_reached(tmp_path: Path, elsewhere: Network) -> None:
    run = make_run(tmp_path, "one")
    training = start(tmp_path, "one")
    try:
        wait_until(lambda: len(read_metrics(run)) > 3, 180, "steps")
        ports = listening(descendants(training))
        assert {address for address, _ in ports} <= {"127.0.0.1"}
        assert json.loads(elsewhere.run(OURS, json.dumps([port for _, port in ports]))) == []
        step = read_metrics(run)[-1]["step"]
        wait_until(lambda: read_metrics(run)[-1]["step"] > step, 60, "a further step")
    finally:
        training.terminate()
        assert training.wait(60) == 75


def test_a_stranger_at_the_store_of_two_nodes_joins_nothing(tmp_path: Path, elsewhere: Network) -> None:
    """The training, which has met, continues; no value of the stranger's is accepted."""
    run = make_run(tmp_path, "two")
    ours = ("cluster.ranks_per_node=1", "--nnodes", "2", "--rendezvous", f"{OURS}:{PORT}")
    machines = [start(tmp_path, "two", *ours, "--node-rank", str(number)) for number in (0, 1)]
    try:
        wait_until(lambda: len(read_metrics(run)) > 3, 180, "steps")
        addresses = {address for machine in machines for address, _ in listening(descendants(machine))}
        assert addresses <= {OURS}
        assert (run / ".secret").stat().st_mode & 0o777 == 0o600
        said = elsewhere.run(OURS, json.dumps([PORT])).splitlines()
        assert json.loads(said[0]) == [PORT]
        assert "joined" not in said
        step = read_metrics(run)[-1]["step"]
        wait_until(lambda: read_metrics(run)[-1]["step"] > step, 60, "a further step")
        assert all(machine.poll() is None for machine in machines)
    finally:
        for machine in machines:
            machine.terminate()
        codes = [machine.wait(90) for machine in machines]
    assert codes == [75, 75]


def test_links_that_another_user_plants_are_not_followed(tmp_path: Path) -> None:
    """In the shared temporary folder, at the place of the shards and of the rendezvous."""
    shared, victim = tmp_path / "shared", tmp_path / "victim"
    shared.mkdir()
    shared.chmod(0o1777)
    victim.mkdir()
    for name in ("a" * 64, "b" * 64 + ".partial", "notes"):
        (victim / name).write_bytes(b"x" * 100)
    planted = shared / f"bertrain-{os.getuid()}"
    planted.symlink_to(victim)
    os.lchown(planted, NOBODY, NOBODY)
    make_run(tmp_path, "planted")
    training = start(tmp_path, "planted", f"train.stage_in={json.dumps(str(shared))}", "cluster.ranks_per_node=1")
    out = training.communicate(timeout=180)[0]
    assert training.returncode == 2, out
    assert "another user created this folder" in out
    assert len(list(victim.iterdir())) == 3
