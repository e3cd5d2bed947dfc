from __future__ import annotations

from pathlib import Path

import pytest

from configs.errors import UserError
from launch.cluster.cluster_rank import make_caches, rank_command
from launch.ranks.rank_address import RankAddress

PLACE = RankAddress(rank=5, local_rank=1, world_size=8, local_world_size=4, address="127.0.0.1", port=20_000)


@pytest.fixture(autouse=True)
def node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The temporary folder of a node in job 7."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    return tmp_path


def test_environment_has_address_caches_and_trace_file() -> None:
    command = rank_command(Path("/runs/demo"), 3, PLACE, Path("/scratch/caches"))
    assert command.argv[1:] == ("-P", "-m", "pretrain", "/runs/demo", "--resume", "auto", "--start", "3")
    assert command.log == Path("/runs/demo/logs/rank_00005.log")
    assert command.env["RANK"] == "5"
    assert command.env["TRITON_CACHE_DIR"] == "/scratch/caches/triton"
    assert command.env["TORCHINDUCTOR_CACHE_DIR"] == "/scratch/caches/inductor"
    assert command.env["TORCH_EXTENSIONS_DIR"] == "/scratch/caches/extensions"
    assert command.env["TORCH_FR_DUMP_TEMP_FILE"] == "/runs/demo/logs/nccl_trace_rank_"


def test_the_ranks_of_a_start_share_private_caches_on_their_node(node: Path) -> None:
    first = make_caches(Path("/runs/demo"), 1)
    assert make_caches(Path("/runs/demo"), 1) == first
    assert first.parent == node
    assert first.stat().st_mode & 0o777 == 0o700


def test_the_next_start_gets_new_caches_and_removes_old_ones(node: Path) -> None:
    (make_caches(Path("/runs/demo"), 1) / "lock").touch()
    other = make_caches(Path("/runs/other"), 1)
    second = make_caches(Path("/runs/demo"), 2)
    assert sorted(node.iterdir()) == sorted([other, second])
    assert not list(second.iterdir())


@pytest.mark.parametrize("trap", ["symlink", "open"])
def test_a_folder_that_others_can_access_is_refused(node: Path, trap: str) -> None:
    caches = make_caches(Path("/runs/demo"), 1)
    caches.rmdir()
    if trap == "symlink":
        (node / "elsewhere").mkdir(mode=0o700)
        caches.symlink_to(node / "elsewhere")
    else:
        caches.mkdir()
        caches.chmod(0o755)
    with pytest.raises(UserError, match="another user created this folder"):
        make_caches(Path("/runs/demo"), 1)
