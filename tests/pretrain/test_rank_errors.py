"""A rank's own error is printed once and ends its process at once, although other ranks may wait in a collective."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.pretrain.runs import some_model, write_run

# NCCL's destroy_process_group can wait for ranks that are inside a collective: here it waits longer than the test.
RANK = """
import os, sys, time
import torch, torch.distributed
from pretrain import trainer
from pretrain.__main__ import main

def fail(*_):
    raise {error}

torch.distributed.destroy_process_group = lambda *_: time.sleep(3600)
trainer.Trainer.train = fail
os._exit(main([sys.argv[1]]))
"""


def run_rank(folder: Path, error: str) -> subprocess.CompletedProcess[str]:
    run = write_run(folder, some_model(), held_out=8)
    command = [sys.executable, "-c", RANK.format(error=error), str(run)]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)


def test_traceback_is_printed_once_without_leaving_the_group(tmp_path: Path) -> None:
    done = run_rank(tmp_path, "ValueError('the first layer is broken')")
    assert done.returncode == 1
    assert done.stderr.count("Traceback") == done.stderr.count("ValueError: the first layer is broken") == 1


@pytest.mark.parametrize(
    "error", ["torch.OutOfMemoryError('CUDA out of memory.')", 'RuntimeError("can\'t allocate memory: 64 bytes")']
)
def test_out_of_memory_names_the_numbers_and_what_to_lower(tmp_path: Path, error: str) -> None:
    done = run_rank(tmp_path, error)
    assert done.returncode == 1
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert "rank 0 is out of memory with micro-batches of 32 rows; the plan expects 0.0 GiB for weights" in line
    assert "Halve train.micro_batch_size" in line
    assert "Traceback" in done.stderr


def test_an_evaluation_whose_record_cannot_be_written_is_shown(tmp_path: Path) -> None:
    run = write_run(tmp_path, some_model(), held_out=8)
    (tmp_path / "file").touch()
    argv = [sys.executable, "-m", "pretrain", str(run), "--evaluate", "--output", str(tmp_path / "file")]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 2
    assert "held-out at step 7: mlm loss" in done.stdout
    assert done.stderr.splitlines()[-1].startswith(f"error: {tmp_path / 'file'}: cannot write. ")
