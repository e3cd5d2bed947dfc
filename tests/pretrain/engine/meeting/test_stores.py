"""The stores through which ranks meet, and strangers who reach them."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from datetime import timedelta
from pathlib import Path
from typing import Any

import psutil
import pytest
from torch._C._distributed_c10d import HashStore

from configs.errors import UserError
from configs.machine import make_private
from pretrain.engine import gather
from pretrain.engine.meeting.secret import key_of, secret_of
from pretrain.engine.meeting.stores import FolderStore, RankStore, SignedStore
from tests.distributed import ranks, small

SECOND = timedelta(seconds=1)


def pair(kind: str, folder: Path) -> tuple[RankStore, RankStore]:
    if kind == "folder":
        return FolderStore(folder, 0, 2, SECOND), FolderStore(folder, 1, 2, SECOND)
    shared = HashStore()
    shared.set_timeout(SECOND)
    return SignedStore(shared, b"key", 0, 2), SignedStore(shared, b"key", 1, 2)


@pytest.mark.parametrize("kind", ["folder", "signed"])
def test_values_and_counters_are_shared(tmp_path: Path, kind: str) -> None:
    first, second = pair(kind, tmp_path)
    first.set("a/b", b"\x00\xff")
    second.set("c", "text")
    assert (second.get("a/b"), first.multi_get(["c", "a/b"])) == (b"\x00\xff", [b"text", b"\x00\xff"])
    assert (first.check(["a/b", "c"]), first.check(["c", "d"])) == (True, False)
    assert (first.add("n", 2), second.add("n", 1), first.add("n", 1)) == (2, 3, 4)
    threading.Timer(0.1, second.set, ("late", b"x")).start()
    assert first.get("late") == b"x"
    with pytest.raises(Exception, match=r"(?i)wait"):
        first.wait(["never"], timedelta(seconds=0.1))
    assert second.clone().get("c") == b"text"  # type: ignore[attr-defined]


@pytest.mark.parametrize("forged", [b"", b"x" * 31, b"x" * 100])
def test_a_value_that_is_not_signed_is_refused_by_name(forged: bytes) -> None:
    shared = HashStore()
    shared.set("address", forged)  # type: ignore[arg-type]  # takes bytes, too
    with pytest.raises(PermissionError, match="a process outside this start wrote 'address'"):
        SignedStore(shared, b"key", 0, 2).get("address")


def test_a_signed_value_counts_for_its_key_and_its_start_only() -> None:
    shared = HashStore()
    SignedStore(shared, b"key", 0, 2).set("a", b"content")
    shared.set("b", shared.get("a"))  # type: ignore[arg-type]  # takes bytes, too
    for store, key in ((SignedStore(shared, b"key", 1, 2), "b"), (SignedStore(shared, b"other", 1, 2), "a")):
        with pytest.raises(PermissionError):
            store.get(key)


def test_the_secret_of_a_run_is_private_and_the_same_for_all(tmp_path: Path) -> None:
    secret = secret_of(tmp_path)
    assert len(secret) == 64
    assert secret_of(tmp_path) == secret
    file = tmp_path / ".secret"
    assert file.stat().st_mode & 0o777 == 0o600
    file.chmod(0o644)
    with pytest.raises(UserError, match="others can read"):
        secret_of(tmp_path)


def test_ranks_on_several_nodes_need_a_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("BERTRAIN_SECRET", raising=False)
    with pytest.raises(UserError, match="need a secret in common") as refused:
        key_of(None)
    command = refused.value.fix.partition("`")[2].partition("`")[0]
    monkeypatch.setenv("BERTRAIN_SECRET", subprocess.check_output(command.split(), text=True).strip())
    assert key_of(None)


@pytest.mark.parametrize("trap", ["link", "file", "open"])
def test_a_planted_folder_is_refused(tmp_path: Path, trap: str) -> None:
    place = tmp_path / "place"
    if trap == "link":
        (tmp_path / "elsewhere").mkdir(mode=0o700)
        place.symlink_to(tmp_path / "elsewhere")
    elif trap == "file":
        place.touch()
    else:
        place.mkdir()
        place.chmod(0o750)
    with pytest.raises(UserError, match="another user created this folder"):
        make_private(place)


def _listen_on_one_node() -> list[Any]:
    small.join()
    gather(None)
    own = psutil.Process()
    return [[one.laddr.ip for one in own.net_connections("inet") if one.status == "LISTEN"], os.environ["MASTER_PORT"]]


def test_on_one_node_nothing_listens_beyond_loopback_and_no_store_does() -> None:
    for addresses, port in ranks.run(_listen_on_one_node, 2):
        assert set(addresses) <= {"127.0.0.1"}
        with socket.socket() as probe:
            assert probe.connect_ex(("127.0.0.1", int(port))) != 0


def own_address() -> str:
    """An address of this machine that is not loopback; empty if there is none."""
    found = [one.address for many in psutil.net_if_addrs().values() for one in many if one.family == socket.AF_INET]
    return next((address for address in found if not address.startswith("127.")), "")


def _meet_as_on_two_nodes(address: str) -> list[Any]:
    os.environ |= {"LOCAL_WORLD_SIZE": "1", "LOCAL_RANK": "0", "MASTER_ADDR": address, "BERTRAIN_SECRET": "s" * 64}
    world = small.join(collective_timeout_s=30)
    own = psutil.Process()
    listening = [one.laddr.ip for one in own.net_connections("inet") if one.laddr.port == int(os.environ["MASTER_PORT"])
                 and one.status == "LISTEN"]  # fmt: skip
    return [gather(world.rank), listening]


@pytest.mark.skipif(not own_address(), reason="this machine has loopback alone")
def test_between_nodes_the_store_listens_on_the_interface_of_its_address() -> None:
    first, second = ranks.run(_meet_as_on_two_nodes, 2, own_address())
    assert first == [[0, 1], [own_address()]]
    assert second == [[0, 1], []]


STRANGER = """
import json, os, sys, time
from datetime import timedelta
host, port, user = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
from torch._C._distributed_c10d import TCPStore
if not os.getuid():
    os.setgid(user)
    os.setuid(user)
deadline = time.monotonic() + 60
while True:
    try:
        store = TCPStore(host, port, is_master=False, timeout=timedelta(seconds=2), wait_for_workers=False)
        break
    except Exception:
        assert time.monotonic() < deadline
print("reached", flush=True)
for _ in range(4000):
    for key in store.list_keys():  # what the ranks have written, overwritten
        if key.startswith("bertrain/"):
            store.set(key, b"stranger")
    time.sleep(0.001)
"""


def test_a_stranger_who_reaches_the_store_of_several_nodes_has_no_value_accepted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Another user overwrites each value as soon as it appears. At worst the start ends, and says why."""
    port = ranks.free_port()
    monkeypatch.setattr(ranks, "free_port", lambda: port)
    argv = [sys.executable, "-c", STRANGER, "127.0.0.1", str(port), "65534"]
    with subprocess.Popen(argv, stdout=subprocess.PIPE) as stranger:
        failure = ""
        try:
            result = ranks.run(_meet_as_on_two_nodes, 2, "127.0.0.1", timeout_s=120)
        except ranks.RankError as error:
            failure = str(error)
        finally:
            stranger.kill()
    if failure:
        assert "a process outside this start wrote" in failure
    else:
        assert [one[0] for one in result] == [[0, 1], [0, 1]]
