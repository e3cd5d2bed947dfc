"""Compile every kernel for an H100 on any machine, and print the compiler's figures as one JSON object.

    python -m tests.pretrain.kernels.hopper

The operations are called as in training, but a launch only compiles: no GPU is needed, and nothing is computed. This
finds what the interpreter cannot: code that Triton's compiler rejects, registers spilled to memory, and loads of less
than 16 bytes per thread.
"""

# mypy: disable-error-code="import-untyped, import-not-found"
# Triton ships no types.

from __future__ import annotations

import json
import re
import subprocess
import tempfile
from typing import Any

import torch
import triton
from torch import Tensor
from triton.backends.compiler import GPUTarget
from triton.runtime import driver
from triton.runtime.jit import JITFunction

from pretrain.kernels.attention import rotation_of
from pretrain.kernels.dropout import Dropout
from pretrain.kernels.fused import add_norm, embedding, geglu, gelu, lamb, masked_lm, residual_norm, rotary
from pretrain.kernels.lamb import LambState, LambStep, Segments

ROWS, HIDDEN, VOCABULARY = 64, 1024, 30_522  # BERT large
compiled: dict[str, Any] = {}


class AbsentGpu:
    """The part of a driver that compilation needs."""

    def get_current_target(self) -> GPUTarget:
        return GPUTarget("cuda", 90, 32)

    def get_current_device(self) -> int:
        return 0

    def get_current_stream(self, device: int) -> int:
        return 0


def compile_only() -> None:
    """Make every later launch compile its kernel and record it in `compiled`."""
    driver.set_active(AbsentGpu())
    run = JITFunction.run

    def warm_up(self: Any, *arguments: Any, grid: Any, warmup: bool, **options: Any) -> Any:
        kernel = run(self, *arguments, grid=grid, warmup=True, **options)
        flags = [name for name in ("DROPOUT", "GRADIENT", "ALIGNED") if options.get(name)]
        flags += [f"without {name}" for name in ("ADD", "NORM") if options.get(name) is False]
        module = self.fn.__module__.rpartition(".")[2]
        compiled[" ".join([f"{module}.{self.fn.__name__}", *flags])] = kernel
        return kernel

    JITFunction.run = warm_up


def launch_everything() -> None:
    """Call each operation, forward and backward, with the shapes and dtypes of training."""

    def weights(*shape: int) -> Tensor:
        return torch.zeros(shape, dtype=torch.bfloat16, requires_grad=True)

    rows, vector = weights(ROWS, HIDDEN), weights(HIDDEN)
    ids = torch.zeros(ROWS, dtype=torch.int64)
    tables = weights(VOCABULARY, HIDDEN), weights(512, HIDDEN), weights(2, HIDDEN)
    for dropout in (None, Dropout(0.1, torch.tensor(5), 3)):
        results = [
            embedding.embed(ids, ids, ids, *tables, vector, vector, 1e-12, dropout),
            embedding.embed_sum(ids, ids, ids, *tables, dropout),
            add_norm.add_norm(rows, vector, rows, vector, vector, 1e-12, dropout),
            add_norm.add(rows, vector, rows, dropout),
            add_norm.layer_norm(rows, vector, vector, 1e-12),
            *residual_norm.add_then_norm(rows, rows, vector, 1e-5, dropout),
            residual_norm.add(rows, rows, dropout),
            residual_norm.layer_norm(rows, vector, 1e-5),
        ]
        torch.autograd.backward(results, [torch.ones_like(result) for result in results])
    gelu.bias_gelu(weights(ROWS, 4 * HIDDEN), weights(4 * HIDDEN)).sum().backward()  # type: ignore[no-untyped-call]
    geglu.geglu(weights(ROWS, 2 * 2624)).sum().backward()  # type: ignore[no-untyped-call]
    qkv = weights(ROWS, 3, 16, HIDDEN // 16)
    rotary.rotate(qkv, rotation_of(ids, 10_000.0, HIDDEN // 16)).sum().backward()  # type: ignore[no-untyped-call]
    scores = torch.zeros(ROWS, VOCABULARY + 6, dtype=torch.bfloat16)[:, :VOCABULARY]
    for with_gradient in (False, True):
        masked_lm.cross_entropy(scores, weights(VOCABULARY).detach(), ids, with_gradient)
    masked_lm.scaled(scores, torch.ones(()))
    for offsets in ([0, 4096, 8192], [0, 4097, 8192]):
        state = LambState(*(torch.zeros(8192) for _ in range(3)))
        segments, step = Segments(offsets, torch.device("cpu")), LambStep(1, 0.01, 0.9, 0.999, 1e-6, 0.01)
        lamb.moments(state, state.master, segments, step)
        lamb.update(state, torch.ones(2), segments, step)


def figures(kernel: Any) -> dict[str, int]:
    """Return registers per thread, bytes spilled, and the widest load in bytes."""
    ptx: str = kernel.asm["ptx"]
    with tempfile.NamedTemporaryFile("w", suffix=".ptx") as source:
        source.write(ptx)
        source.flush()
        command = [triton.knobs.nvidia.ptxas.path, "-v", "--gpu-name=sm_90a", "-o", "/dev/null", source.name]
        log = subprocess.run(command, capture_output=True, text=True, check=True).stderr
    registers, spilled = re.search(r"Used (\d+) registers", log), re.search(r"(\d+) bytes spill stores", log)
    assert registers, log
    assert spilled, log
    loads = re.findall(r"ld\.global(?:\.\w+)*?(?:\.v(\d))?\.b(\d+)", ptx)
    widest = max(int(vector or 1) * int(bits) // 8 for vector, bits in loads)
    return {"registers": int(registers[1]), "spilled_bytes": int(spilled[1]), "widest_load_bytes": widest}


if __name__ == "__main__":
    compile_only()
    launch_everything()
    print(json.dumps({name: figures(kernel) for name, kernel in sorted(compiled.items())}))
