"""Checks of one machine. Each returns a `Finding`, with a fix if something is wrong."""

from __future__ import annotations

import ctypes
import importlib.metadata
import os
import platform
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import psutil

import configs
from configs.machine import install_command, install_packages, lock, usable_memory_bytes
from configs.schema import ClusterConfig
from configs.units import GIB
from launch.doctor.finding import ERROR, OK, WARNING, Finding
from launch.ranks import this_machine

PROBE_BYTES = 64 << 20
FREE_GIB, WRITE_MB_S, SHARED_GIB = 20.0, 50.0, 1.0  # lower values give a warning
SKEW_S = 5.0  # allowed difference between this machine's clock and the file system's


def python() -> Finding:
    """Report the Python interpreter."""
    return Finding("Python", OK, f"{platform.python_version()} at {sys.executable}")


def packages() -> Finding:
    """Compare installed versions with those that constraints.txt pins."""
    different, missing = [], []
    for name, tested in pinned_versions().items():
        try:
            installed = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            missing.append(name)
            continue
        if installed.partition("+")[0] != tested:
            different.append((f"{name} {installed} (tested: {tested})", name))
    if "torch" in missing:
        return Finding(
            "packages",
            WARNING,
            "torch is not installed: this machine can prepare data and submit jobs, but not train",
            install_command("train"),
        )
    if different:
        return Finding(
            "packages",
            WARNING,
            ", ".join(found for found, _ in different),
            install_packages(name for _, name in different),
        )
    return Finding("packages", OK, "the tested versions")


def pinned_versions() -> dict[str, str]:
    """Return name and version of each pin in configs/constraints.txt."""
    assert configs.__file__ is not None
    lines = (Path(configs.__file__).parent / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = (line.split("==", 1) for line in lines if "==" in line and not line.startswith("#"))
    return {name.strip(): version.split()[0] for name, version in pins}


def gpus(cluster: ClusterConfig) -> Finding:
    """Compare this machine's GPUs with those that the recipe asks for, and report the driver's CUDA version."""
    count, asked = this_machine().gpus, _gpus_asked(cluster)
    found = f"{count}, driver for CUDA {_cuda_version()}" if count else "none"
    if not count and cluster.device == "cuda":
        return Finding("GPUs", ERROR, found, "check the driver (nvidia-smi), or set cluster.device=cpu")
    if count < asked:
        fix = f"check the driver (nvidia-smi), or set cluster.gpus_per_node={count} cluster.ranks_per_node={count}"
        if not count:
            fix = "check the driver (nvidia-smi), use --to slurm for the nodes of a job, or set cluster.device=cpu"
        return Finding("GPUs", WARNING, f"{found}, but the recipe asks for {asked} per node", fix)
    return Finding("GPUs", OK, found if count else "none: training runs on the CPU")


def _gpus_asked(cluster: ClusterConfig) -> int:
    """Return the GPUs that the recipe asks for on a node; several ranks may share none."""
    if cluster.device == "cpu":
        return 0
    return cluster.gpus_per_node or (cluster.ranks_per_node if this_machine().gpus else 0)


def _cuda_version() -> str:
    version = ctypes.c_int()
    ctypes.CDLL("libcuda.so.1").cuDriverGetVersion(ctypes.byref(version))
    return f"{version.value // 1000}.{version.value % 1000 // 10}"


def compiler() -> Finding:
    """Look for a C++ compiler, with which DeepSpeed builds some operations at run time."""
    found = shutil.which("c++") or shutil.which("g++")
    if found is None:
        return Finding(
            "compiler", WARNING, "none; DeepSpeed cannot build some of its operations", "apt-get install g++"
        )
    return Finding("compiler", OK, found)


def memory() -> Finding:
    """Report the memory and the cores that this process may use."""
    gib = usable_memory_bytes() / GIB
    return Finding("memory", OK, f"{gib:,.3g} GiB, {this_machine().cores} cores")


def shared_memory() -> Finding:
    """Check /dev/shm, which NCCL and gloo use between ranks of one machine. The default in containers is too small."""
    gib = psutil.disk_usage("/dev/shm").total / GIB  # noqa: S108 (looked at, not written to)
    if gib < SHARED_GIB:
        return Finding("shared memory", WARNING, f"{gib:.1f} GiB", "start the container with --shm-size=8g")
    return Finding("shared memory", OK, f"{gib:,.0f} GiB")


def disk(folder: Path) -> Finding:
    """Measure free space and write speed with a temporary file."""
    existing = _existing(folder)
    free_gib = shutil.disk_usage(existing).free / GIB
    try:
        with _probe(existing) as probe:
            began = time.perf_counter()
            with probe.open("wb") as stream:
                stream.write(os.urandom(1 << 20) * (PROBE_BYTES >> 20))
                stream.flush()
                os.fsync(stream.fileno())
            speed_mb_s = PROBE_BYTES / 1e6 / (time.perf_counter() - began)
    except OSError as error:
        return Finding("disk", ERROR, f"cannot write to {existing}: {error.strerror}", "choose another folder: runs=…")
    measured = f"{free_gib:,.0f} GiB free, {speed_mb_s:,.0f} MB/s written"
    if free_gib < FREE_GIB:
        return Finding(
            "disk", WARNING, str(existing), "free some space: a checkpoint takes 12 bytes per parameter", measured
        )
    if speed_mb_s < WRITE_MB_S:
        return Finding("disk", WARNING, str(existing), "choose a faster file system, or save less often", measured)
    return Finding("disk", OK, str(existing), "", measured)


def locks(folders: Sequence[Path]) -> Finding:
    """Try a lock in each folder that will be used. Without locks, a second command there gets no refusal."""
    without = []
    for folder in dict.fromkeys(_existing(folder) for folder in folders):
        try:
            with _probe(folder) as probe, probe.open("w", encoding="utf-8") as stream:
                if not lock(stream):
                    without.append(str(folder))
        except OSError:
            continue  # reported as a disk that cannot be written
    if without:
        found = f"none in {', '.join(without)}: a second command there is not refused, but takes the run over"
        return Finding("locks", WARNING, found, "mount Lustre with -o flock, or NFS with a lock daemon")
    return Finding("locks", OK, "in all folders that will be used")


def clock(folder: Path) -> Finding:
    """Compare this machine's clock with the file system's, which on a cluster is another machine's."""
    try:
        with _probe(_existing(folder)) as probe:
            probe.touch()
            ahead_s = time.time() - probe.stat().st_mtime
    except OSError:
        return Finding("clock", WARNING, "not compared: the folder is not writable", "choose a writable folder: runs=…")
    if abs(ahead_s) > SKEW_S:
        direction = "ahead of" if ahead_s > 0 else "behind"
        found = f"{abs(ahead_s):,.0f} s {direction} the file system's"
        return Finding("clock", WARNING, found, "start chrony or ntpd")
    return Finding("clock", OK, "matches the file system's")


def program(name: str, argv: list[str], *, needed: str = "") -> Finding:
    """Report a launcher's version. A missing one is an error only if it is `needed`, which says how to install it.

    One that fails is a warning only then, too: Slurm's client can be installed without a cluster.
    """
    if shutil.which(argv[0]) is None:
        return Finding(name, ERROR if needed else OK, "none", needed)
    done = subprocess.run(argv, capture_output=True, text=True, timeout=30, check=False)
    if done.returncode:
        said = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1].removeprefix(f"{argv[0]}: ")
        found = f"not in use: `{shlex.join(argv)}` fails: {said[:100]}"
        return Finding(name, WARNING, found, f"run: {shlex.join(argv)}") if needed else Finding(name, OK, found)
    return Finding(name, OK, (done.stdout.strip().splitlines() or ["installed"])[0])


def _existing(folder: Path) -> Path:
    return next(part for part in (folder.absolute(), *folder.absolute().parents) if part.is_dir())


@contextmanager
def _probe(folder: Path) -> Iterator[Path]:
    """Yield the path of a temporary file, which is removed at the end."""
    file = folder / f".bertrain-doctor-{os.getpid()}-{platform.node()}"
    try:
        yield file
    finally:
        file.unlink(missing_ok=True)
