"""Where the ranks of a start meet: a store of small values, with which gloo and NCCL find each other.

- On one node it is a folder that only this user can enter. Nothing listens.
- Between nodes it is a TCPStore. It listens on the interface that leads to the other nodes and not on all, and each
  value is signed with a secret that the ranks share, because whoever reaches a TCPStore can read and write it. A value
  that a stranger writes is refused with an error that names it.

    BERTRAIN_RENDEZVOUS    the folder on one node
"""

from __future__ import annotations

import errno
import logging
import os
import shutil
import socket
from datetime import timedelta
from pathlib import Path

import psutil
from torch._C._distributed_c10d import HashStore, PrefixStore, Store, TCPStore

from configs.errors import UserError
from configs.machine import make_private, private_folder
from pretrain.engine.meeting.secret import key_of
from pretrain.engine.meeting.stores import FolderStore, SignedStore

FOLDER = "BERTRAIN_RENDEZVOUS"

log = logging.getLogger(__name__)
_kept: list[Store] = []  # torch keeps only the C++ half of a store, and calls the Python half for each new group


def meet(rank: int, world_size: int, local_world_size: int, run: Path | None, limit: timedelta) -> Store:
    """Return the store through which this rank finds the others. `run` is the run's folder, which all ranks share.

    Raises `UserError` if the ranks are on several nodes and share no secret.
    """
    if world_size == 1:
        return HashStore()
    store = _shared_store(rank, world_size, local_world_size, run, limit)
    _kept.append(store)
    return store


def _shared_store(rank: int, world_size: int, local_world_size: int, run: Path | None, limit: timedelta) -> Store:
    if local_world_size == world_size:
        stay_on_this_machine()
        return FolderStore(_folder(), rank, world_size, limit)
    tcp = _tcp_store(rank, limit)
    tcp.set_timeout(limit)
    attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
    return SignedStore(PrefixStore(f"bertrain/{attempt}", tcp), key_of(run), rank, world_size)


def _folder() -> Path:
    """Return the folder of this start's ranks on this node, which only this user can enter."""
    named = os.environ.get(FOLDER)
    folder = Path(named) if named else private_folder(_name_of_the_launcher())
    make_private(folder)
    make_private(folder / "rendezvous")
    return folder / "rendezvous"


def _name_of_the_launcher() -> str:
    """Return a name that only the ranks of one torchrun, and of one attempt of it, have in common."""
    launcher, attempt = psutil.Process(os.getppid()), os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
    began_ms = int(1000 * launcher.create_time())  # another process can get the same number later
    return f"bertrain@{os.getuid()}@{launcher.pid}@{began_ms}@{os.environ['MASTER_PORT']}@{attempt}"


def stay_on_this_machine() -> None:
    """Make gloo and NCCL listen on loopback alone, for ranks that are all on this node, unless the user chose."""
    for name in ("GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME"):
        os.environ.setdefault(name, "lo")


def leave(rank: int) -> None:
    """Remove the folder in which the ranks of this node met, unless the launcher does."""
    while _kept:
        store = _kept.pop()
        if rank == 0 and isinstance(store, FolderStore) and FOLDER not in os.environ:
            shutil.rmtree(store.folder.parent, ignore_errors=True)


def _tcp_store(rank: int, limit: timedelta) -> TCPStore:
    """Return rank 0's store, or a connection to it. torchrun's agent serves a store of its own, which is used then."""
    host, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    if os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True" or rank:
        return TCPStore(host, port, is_master=False, timeout=limit)
    listener = _listen(host, port)
    return TCPStore(host, port, is_master=True, timeout=limit, wait_for_workers=False, master_listen_fd=listener)


def _listen(host: str, port: int) -> int:
    """Return the descriptor of a socket that listens on the address of `host` alone, not on all addresses."""
    family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    with socket.socket(family, kind, protocol) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(address)
        except OSError as error:
            if error.errno != errno.EADDRNOTAVAIL:
                fix = "choose another port"
                raise UserError(f"cannot listen there: {error.strerror}", place=f"{host}:{port}", fix=fix) from error
            log.warning("%s is no address of this machine's interfaces: listening on all of them", host)
            listener.bind(("", port))
        listener.listen(socket.SOMAXCONN)
        return listener.detach()
