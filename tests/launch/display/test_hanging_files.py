"""A stop ends a preparation within seconds, also while a file system answers nothing."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from configs.recipe import write_recipe
from configs.schema import Recipe
from tests.preprocessing.corpora import make_documents, small_config, write_text

PATIENCE_S = 60  # what takes so long has hung, on the most loaded machine
MOST_S = 20  # 5 s are promised, on a machine that has a core to spare

# `hang:///a/b.txt` is the local file /a/b.txt, until one of its operations hangs as at a server that is gone.
PROGRAM = """
import os, sys, threading
import fsspec
from fsspec.implementations.local import LocalFileSystem

hanging = sys.argv.pop()

def role():
    # The driver, one of the threads that look at or hash the input, or a worker in this process.
    thread = threading.current_thread()
    is_pool = thread.name.startswith("ThreadPoolExecutor")
    return "driver" if thread is threading.main_thread() else "pool" if is_pool else "worker"

def reach(operation):
    if hanging == f"{role()} {operation}":
        print("hangs", flush=True)
        os.read(os.pipe()[0], 1)

class Hanging(LocalFileSystem):
    protocol = "hang"

    @classmethod
    def _strip_protocol(cls, path):
        return str(LocalFileSystem._strip_protocol(path.removeprefix("hang://")))

    def info(self, path, **options):
        reach("info")
        return super().info(path, **options)

    def _open(self, path, *arguments, **options):
        reach("open")
        return super()._open(path, *arguments, **options)

fsspec.register_implementation("hang", Hanging, clobber=True)
from launch.cli import main
main()
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("hanging", ["driver info", "pool info", "pool open", "worker open"])
def test_a_stop_does_not_wait_for_a_file_system(tmp_path: Path, hanging: str, number: signal.Signals) -> None:
    text = write_text(tmp_path / "text/a.txt", make_documents(60))
    corpora = [{"paths": [f"hang://{text}"], "format": "text"}]
    data = small_config(tmp_path / "dataset", corpora=corpora, workers=1, duplicates="none")
    write_recipe(Recipe(name="hanging", data=data), tmp_path / "recipe.toml")
    process = subprocess.Popen(
        [sys.executable, "-X", "faulthandler", "-c", PROGRAM, "prepare", str(tmp_path / "recipe.toml"), hanging],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        assert process.stdout is not None
        assert any(line == "hangs\n" for line in process.stdout)
        began_s = time.monotonic()
        process.send_signal(number)
        output = rest_of(process)
        seconds = time.monotonic() - began_s
    finally:
        process.kill()
    assert process.returncode == 128 + number, output
    assert f"stopped by {number.name}\n" in output
    assert seconds < MOST_S


def rest_of(process: subprocess.Popen[str]) -> str:
    """Return the output of a process that ends. If it hangs, fail with what each of its threads does."""
    try:
        return process.communicate(timeout=PATIENCE_S)[0]
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGABRT)
        return pytest.fail(f"code {process.wait(PATIENCE_S)}: {process.communicate(timeout=PATIENCE_S)[0]}")
