"""A rank's place among the ranks, as Slurm or MPI tells it: `python -m pretrain` wants it as torchrun's variables.

Slurm says all but the rendezvous, which the job's script finds before it starts the ranks. Under MPI the ranks find it
together: rank 0 offers its addresses and a port, and the first that every other rank can reach is taken.
"""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

import psutil

from configs.errors import UserError

LOOPBACK = "127.0.0.1"
REACH_S = 5.0

# For hwloc, which asks every X display for its GPUs: ports 6000 to 6009, where TensorBoard (6006) never answers.
ASK_NO_DISPLAY = {"HWLOC_COMPONENTS": "-gl"}


@dataclass(frozen=True)
class RankAddress:
    """One rank among the others, and where they meet."""

    rank: int
    local_rank: int
    world_size: int
    local_world_size: int
    address: str
    port: int

    def variables(self) -> dict[str, str]:
        """As `pretrain.engine.distributed.discover` reads it; and for gloo the interface that leads to the others."""
        variables = {
            "RANK": str(self.rank),
            "LOCAL_RANK": str(self.local_rank),
            "WORLD_SIZE": str(self.world_size),
            "LOCAL_WORLD_SIZE": str(self.local_world_size),
            "MASTER_ADDR": self.address,
            "MASTER_PORT": str(self.port),
        }
        interface = interface_towards(self.address, self.port)
        return variables | ({"GLOO_SOCKET_IFNAME": interface} if interface else {})


def slurm_address(env: Mapping[str, str]) -> RankAddress:
    """Inside a task of srun. `UserError` where one of its variables is missing."""
    try:
        per_node = expand_counts(env["SLURM_STEP_TASKS_PER_NODE"])
        return RankAddress(
            rank=int(env["SLURM_PROCID"]),
            local_rank=int(env["SLURM_LOCALID"]),
            world_size=int(env["SLURM_STEP_NUM_TASKS"]),
            local_world_size=per_node[int(env["SLURM_NODEID"])],
            address=env["MASTER_ADDR"],
            port=int(env["MASTER_PORT"]),
        )
    except (KeyError, ValueError, IndexError) as error:
        raise UserError(f"not a task of srun: {error}", place="environment", fix="start ranks with srun") from error


def expand_counts(text: str) -> list[int]:
    """Slurm's `2(x3),1` as [2, 2, 2, 1]."""
    counts: list[int] = []
    for part in text.split(","):
        match = re.fullmatch(r"(\d+)(?:\(x(\d+)\))?", part)
        if match is None:
            raise ValueError(f"{text!r} does not count tasks a node")
        counts += [int(match[1])] * int(match[2] or 1)
    return counts


def mpi_address() -> RankAddress:
    """Inside an MPI process, started by mpirun or `srun --mpi=pmix`. Initialises MPI and leaves it again.

    `UserError` when mpi4py or the MPI library is missing, or the ranks cannot reach rank 0.
    """
    os.environ |= {**ASK_NO_DISPLAY, **os.environ}
    try:
        from mpi4py import MPI
    except (ImportError, RuntimeError) as error:
        fix = "install bertrain[mpi] and an MPI library, on Debian: apt-get install openmpi-bin"
        raise UserError(f"no MPI: {error}", place="mpi4py", fix=fix) from error
    world = MPI.COMM_WORLD
    node = world.Split_type(MPI.COMM_TYPE_SHARED)
    with socket.socket() as listener:
        if world.rank == 0:
            listener.bind(("", 0))
            listener.listen(world.size)
        offered = world.bcast((own_addresses(), listener.getsockname()[1]) if world.rank == 0 else None)
        addresses, port = offered
        reached = world.allgather([can_connect(address, port) for address in addresses])
    place = RankAddress(world.rank, node.rank, world.size, node.size, _first_reached(addresses, reached), port)
    MPI.Finalize()  # before the rank's process is forked
    return place


def first_free_port(ports: Sequence[int], *, host: str = LOOPBACK, fix: str) -> int:
    """The first of these ports on which nobody listens. `UserError`, with this `fix`, where there is none."""
    for port in ports:
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, port))
            except OSError:
                continue
            return port
    cause = f"none of the ports {min(ports)} to {max(ports)} is free"
    raise UserError(cause, place=socket.gethostname(), fix=fix)


def own_addresses() -> list[str]:
    """This machine's IPv4 addresses; loopback last, which is right when all ranks are here."""
    found = [entry.address for entries in psutil.net_if_addrs().values() for entry in entries if _is_ipv4(entry.family)]
    return sorted(set(found), key=lambda address: (address.startswith("127."), address))


def can_connect(address: str, port: int) -> bool:
    """Whether a listener answers there."""
    with suppress(OSError), socket.create_connection((address, port), timeout=REACH_S):
        return True
    return False


def interface_towards(address: str, port: int) -> str:
    """The network interface from which `address` is reached; empty where that cannot be told. Sends nothing."""
    with suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect((address, port))
        own: str = probe.getsockname()[0]
        for name, entries in psutil.net_if_addrs().items():
            if any(entry.address == own for entry in entries):
                return str(name)
    return ""


def _first_reached(addresses: Sequence[str], reached: Sequence[Sequence[bool]]) -> str:
    """`reached` holds one row a rank, one column an address."""
    for column, address in enumerate(addresses):
        if all(row[column] for row in reached):
            return address
    raise UserError(
        f"not every rank reaches rank 0 at one of {', '.join(addresses)}",
        place="the network between the nodes",
        fix="open the ports between them, or set MASTER_ADDR and start with torchrun",
    )


def _is_ipv4(family: int) -> bool:
    return family == socket.AF_INET
