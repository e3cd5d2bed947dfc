"""The host's time of a step: Python, autograd, and the launches of kernels.

A GPU works while the host prepares the next operations, so that a micro-step takes the longer of both. Counted and
measured with `python -m tests.benchmarks.host_cost`; a test compares the counts.
"""

from __future__ import annotations

from dataclasses import dataclass

LAUNCH_US = 3.0  # of one kernel by the CUDA driver: an estimate, since the measurement has no GPU
OTHER_LAYERS = 3  # embeddings, heads and losses take about as long as this number of layers


@dataclass(frozen=True)
class HostWork:
    """What the host does for one encoder layer."""

    operations: int  # kernels that it launches
    python_ms: float  # without the launches; one virtual core of an AMD EPYC, torch 2.13, Python 3.11

    @property
    def seconds(self) -> float:
        """Time of one layer."""
        return self.python_ms / 1e3 + self.operations * LAUNCH_US / 1e6


# By ZeRO stage: a forward with its backward, and a layer's part of the optimizer step. Stages 2 and 3 are DeepSpeed's,
# which works on one parameter at a time; at stage 3 its Python hooks gather and release weights.
MICRO_STEP = {0: HostWork(25, 0.50), 1: HostWork(25, 0.50), 2: HostWork(64, 1.05), 3: HostWork(52, 2.50)}
STEP = {0: HostWork(0, 0.12), 1: HostWork(0, 0.08), 2: HostWork(180, 0.36), 3: HostWork(24, 0.35)}


def host_s(layers: int, stage: int) -> tuple[float, float]:
    """Return the host's seconds of a micro-step and of an optimizer step, at a CPU speed of 1."""
    return (layers + OTHER_LAYERS) * MICRO_STEP[stage].seconds, (layers + OTHER_LAYERS) * STEP[stage].seconds
