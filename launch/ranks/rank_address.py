"""Read a rank's numbers and rendezvous from Slurm or MPI, and convert them to torchrun's variables for the trainer.

Slurm gives everything except the rendezvous, which the batch script determines before it starts the ranks. Under MPI,
rank 0 broadcasts its addresses and a port, and all ranks use the first address that every rank can reach.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import socket
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import psutil

from configs.errors import UserError
from configs.machine import missing_packages_explained

LOOPBACK = "127.0.0.1"
REACH_S = 5.0

# Turns off hwloc's search for GPUs on X displays at ports 6000 to 6009, which hangs if TensorBoard listens on 6006.
ASK_NO_DISPLAY = {"HWLOC_COMPONENTS": "-gl"}


@dataclass(frozen=True)
class RankAddress:
    """A rank's numbers, and the rendezvous of all ranks."""

    rank: int
    local_rank: int
    world_size: int
    local_world_size: int
    address: str
    port: int
    secret: str = ""  # in the environment already if empty

    def variables(self, environment: Mapping[str, str]) -> dict[str, str]:
        """Return the variables as `pretrain.engine.distributed.discover` reads them, and the network interface."""
        variables = {
            "RANK": str(self.rank),
            "LOCAL_RANK": str(self.local_rank),
            "WORLD_SIZE": str(self.world_size),
            "LOCAL_WORLD_SIZE": str(self.local_world_size),
            "MASTER_ADDR": self.address,
            "MASTER_PORT": str(self.port),
        }
        variables |= interface_variables(interface_towards(self.address, self.port), environment)
        return variables | ({"BERTRAIN_SECRET": self.secret} if self.secret else {})


def slurm_address(env: Mapping[str, str]) -> RankAddress:
    """Return the address of this task of srun. Raise `UserError` if one of its variables is missing."""
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
        raise UserError(
            f"this process is not a task of srun: {error}", place="environment", fix="start ranks with srun"
        ) from error


def expand_counts(text: str) -> list[int]:
    """Parse Slurm's counts: `2(x3),1` gives [2, 2, 2, 1]."""
    counts: list[int] = []
    for part in text.split(","):
        match = re.fullmatch(r"(\d+)(?:\(x(\d+)\))?", part)
        if match is None:
            raise ValueError(f"{text!r} is not a list of tasks per node")
        counts += [int(match[1])] * int(match[2] or 1)
    return counts


def mpi_address() -> RankAddress:
    """Return the address of this process of mpirun or `srun --mpi=pmix`. Initialises and finalises MPI.

    Raises `UserError` if mpi4py or the MPI library is missing, or the ranks cannot reach rank 0.
    """
    os.environ |= {**ASK_NO_DISPLAY, **os.environ}
    try:
        with missing_packages_explained():
            from mpi4py import MPI
    except (ImportError, RuntimeError) as error:
        fix = "install an MPI library, on Debian: apt-get install openmpi-bin; on a cluster: module load openmpi"
        raise UserError(f"MPI is not available: {error}", place="mpi4py", fix=fix) from error
    world = MPI.COMM_WORLD
    node = world.Split_type(MPI.COMM_TYPE_SHARED)
    with ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        if world.rank == 0:
            listener.bind(("", 0))
            stack.enter_context(accepting(listener))
        offer = [own_addresses(), listener.getsockname()[1], secrets.token_hex(32)] if world.rank == 0 else []
        addresses, port, secret = json.loads(_broadcast(world, json.dumps(offer).encode()))
        own = bytearray(can_connect(address, port) for address in addresses)
        table = bytearray(len(own) * world.size)
        world.Allgather(own, table)
    reached = [[bool(flag) for flag in table[first : first + len(own)]] for first in range(0, len(table), len(own))]
    address = _first_reached(addresses, reached)
    place = RankAddress(world.rank, node.rank, world.size, node.size, address, port, secret)
    MPI.Finalize()  # before the rank's process is forked
    return place


@contextmanager
def accepting(listener: socket.socket) -> Iterator[None]:
    """Inside the block, accept all connections and close them. The port is free at its end.

    The kernel's queue alone is too short for each rank's attempt at each address: it drops those of the last ranks.
    """
    listener.listen()
    thread = threading.Thread(target=_accept_all, args=(listener,), daemon=True)
    thread.start()
    try:
        yield
    finally:
        listener.shutdown(socket.SHUT_RDWR)  # wakes the thread
        thread.join()


def _accept_all(listener: socket.socket) -> None:
    with suppress(OSError):  # the listener is shut down
        while True:
            with suppress(ConnectionError, TimeoutError), listener.accept()[0] as connection:
                connection.settimeout(REACH_S)
                connection.recv(1)  # the rank closes first, so that no TIME_WAIT holds the port here


def _broadcast(world: Any, content: bytes) -> bytes:
    """Return rank 0's `content` on all ranks. mpi4py's lower-case methods would pickle."""
    size = bytearray(len(content).to_bytes(8))
    world.Bcast(size)
    buffer = bytearray(content.ljust(int.from_bytes(size)))[: int.from_bytes(size)]
    world.Bcast(buffer)
    return bytes(buffer)


def first_free_port(ports: Sequence[int], *, host: str = LOOPBACK, fix: str) -> int:
    """Return the first of these ports that is free. Raise `UserError` with this `fix` if there is none."""
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
    """Return this machine's IPv4 addresses. Loopback is last; it works if all ranks run here."""
    found = [entry.address for entries in psutil.net_if_addrs().values() for entry in entries if _is_ipv4(entry.family)]
    return sorted(set(found), key=lambda address: (address.startswith("127."), address))


def can_connect(address: str, port: int) -> bool:
    """Return whether a listener accepts connections at this address."""
    with suppress(OSError), socket.create_connection((address, port), timeout=REACH_S):
        return True
    return False


def interface_towards(address: str, port: int) -> str:
    """Return the network interface that leads to `address`, or an empty string if unknown. Sends no packets."""
    with suppress(OSError):
        family, kind, _, _, there = socket.getaddrinfo(address, port, type=socket.SOCK_DGRAM)[0]
        with socket.socket(family, kind) as probe:
            probe.connect(there)
            own = probe.getsockname()[0].partition("%")[0]
        for name, entries in psutil.net_if_addrs().items():
            if any(entry.address.partition("%")[0] == own for entry in entries):
                return str(name)
    return ""


def interface_variables(interface: str, environment: Mapping[str, str]) -> dict[str, str]:
    """Return the variables with which gloo, and NCCL until it finds its fast links, use this interface.

    NCCL's setting in `environment`, which a site can have made, is left as it is.
    """
    if not interface:
        return {}
    nccl = {} if "NCCL_SOCKET_IFNAME" in environment else {"NCCL_SOCKET_IFNAME": f"={interface}"}  # =: the exact name
    return {"GLOO_SOCKET_IFNAME": interface, **nccl}


def _first_reached(addresses: Sequence[str], reached: Sequence[Sequence[bool]]) -> str:
    """Return the first address that all ranks reach. `reached` has a row per rank and a column per address."""
    for column, address in enumerate(addresses):
        if all(row[column] for row in reached):
            return address
    raise UserError(
        f"no address of rank 0 is reachable from every rank: {', '.join(addresses)}",
        place="the network between the nodes",
        fix="open the ports between them, or set MASTER_ADDR and start with torchrun",
    )


def _is_ipv4(family: int) -> bool:
    return family == socket.AF_INET
