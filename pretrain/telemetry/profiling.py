"""Write torch.profiler traces of selected steps on rank 0: RUN/profile/step_NNNNNNNN.pt.trace.json.gz.

TensorBoard with the plugin torch-tb-profiler shows the folder; https://ui.perfetto.dev shows a file in the browser.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch.profiler import ProfilerActivity

from configs.run_layout import PROFILE
from pretrain.engine import World
from pretrain.telemetry.throughput import Throughput


class Profiler:
    """Traces the requested steps; has no cost in other steps."""

    def __init__(self, run: Path, steps: Collection[int], world: World) -> None:
        self._folder = run / PROFILE
        self._steps = frozenset(steps) if world.rank == 0 else frozenset()
        self._news: list[str] = []
        self._activities = [ProfilerActivity.CPU]
        if world.device.type == "cuda":
            self._activities.append(ProfilerActivity.CUDA)

    def news(self) -> list[str]:
        """Return what was written since the last call, and how to open it."""
        news, self._news = self._news, []
        return news

    @contextmanager
    def step(self, number: int, throughput: Throughput) -> Iterator[None]:
        """Trace the block if the step was requested. Writing the trace does not count as training time."""
        if number not in self._steps:
            yield
            return
        with torch.profiler.profile(activities=self._activities, record_shapes=True) as profile:
            yield
        with throughput.pause():
            self._folder.mkdir(exist_ok=True)
            trace = self._folder / f"step_{number:08d}.pt.trace.json.gz"
            profile.export_chrome_trace(str(trace))
            self._news.append(f"wrote the trace {trace}; to read it, open it at https://ui.perfetto.dev")
