"""Measure the time, throughput and memory of training on one rank."""

from __future__ import annotations

import resource
import time
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from configs.schema import ModelConfig
from configs.units import GIB
from preprocessing.dataset import Manifest
from pretrain.checkpoint import TrainingState
from pretrain.data import Step
from pretrain.engine import LossMeans, StepResult, World
from pretrain.model import mfu, peak_flops, training_flops
from pretrain.telemetry.gpu_sensors import GpuReading, GpuSensors
from pretrain.telemetry.metrics import Fault, StepMetrics
from pretrain.telemetry.stragglers import SlowRank


class Throughput:
    """Times the steps of one rank. Evaluations and saves `pause` the clock: they are not training time."""

    def __init__(self, config: ModelConfig, manifest: Manifest, world: World) -> None:
        self.config = config
        self.vocabulary_size = manifest.vocabulary.size
        self.objective = config.objective_of(manifest.objective)
        self.world = world
        self.peak = peak_flops(world.device)
        self.sensors = GpuSensors(world)
        self.time_s = self._held_up_s = 0.0
        self.began = self.arrived = self.saved_at = 0.0
        self.save_s: float | None = None  # that saves have held up training since the last step
        self.last_save_s = 0.0  # that the last save has held up training
        self.save_pct = 0.0  # share of the last save in the time since the end of the previous save, or since the start

    def start(self, time_s: float) -> None:
        """Begin the first step, after `time_s` seconds of training in earlier starts."""
        self.time_s = time_s
        self.began = self.saved_at = time.perf_counter()

    def rows_arrived(self) -> None:
        """Record that the loader has delivered the step's rows."""
        self.arrived = time.perf_counter()

    @property
    def data_wait_s(self) -> float:
        """Seconds that the current step has waited for its rows."""
        return self.arrived - self.began

    @contextmanager
    def pause(self) -> Iterator[None]:
        """Exclude the block from the training time. Blocks may be nested."""
        paused, began = time.perf_counter(), self.began
        yield
        self.began = began + time.perf_counter() - paused

    @contextmanager
    def save(self) -> Iterator[None]:
        """Time a block that begins, awaits or completes a save; it is excluded from the training time."""
        began = time.perf_counter()
        with self.pause():
            yield
        held_up_s = time.perf_counter() - began
        self.save_s = (self.save_s or 0.0) + held_up_s
        self._held_up_s += held_up_s

    def save_completed(self) -> None:
        """Note the end of a save, which can have begun some steps ago."""
        now = time.perf_counter()
        self.last_save_s, self._held_up_s = self._held_up_s, 0.0
        self.save_pct = 100 * self.last_save_s / (now - self.saved_at)
        self.saved_at = now

    def step_metrics(
        self,
        state: TrainingState,
        step: Step,
        means: LossMeans,
        result: StepResult,
        learning_rate: float,
        fault: Fault | None,
        slow: SlowRank | None,
    ) -> StepMetrics:
        """Return the record of the step that has just ended, and begin the next step. Every rank calls it."""
        now = time.perf_counter()
        step_s = now - self.began
        data_wait_s = self.data_wait_s
        self.began = now
        self.time_s += step_s
        save_s, self.save_s = self.save_s, None
        gpu, slow_gpu = self.sensors.read(), self.sensors.of_rank(slow.rank) if slow else GpuReading()
        flops_per_s = self._flops(step) / step_s / self.world.world_size
        return StepMetrics(
            step=state.step + 1,
            samples=state.samples + (0 if result.skipped else step.rows),
            tokens=state.tokens + (0 if result.skipped else step.tokens),
            cursor=step.cursor,
            rows=step.rows_digest,
            loss=means.loss,
            mlm_loss=means.mlm_loss,
            nsp_loss=means.nsp_loss,
            mlm_accuracy=means.mlm_accuracy,
            nsp_accuracy=means.nsp_accuracy,
            learning_rate=learning_rate,
            grad_norm=result.grad_norm,
            loss_scale=result.loss_scale,
            samples_per_s=step.rows / step_s,
            tokens_per_s=step.tokens / step_s,
            tflops=flops_per_s / 1e12,
            mfu=mfu(flops_per_s, self.peak),
            padding_pct=step.padding_pct,
            imbalance_pct=step.imbalance_pct,
            data_wait_pct=100 * data_wait_s / step_s,
            memory_gib=peak_memory_gib(self.world.device),
            reserved_gib=torch.cuda.max_memory_reserved(self.world.device) / GIB if self._on_gpu else None,
            allocation_retries=allocation_retries(self.world.device) if self._on_gpu else None,
            gpu_clock_mhz=gpu.clock_mhz,
            gpu_temperature_c=gpu.temperature_c,
            gpu_xid=gpu.xid,
            time_s=self.time_s,
            save_s=save_s,
            skipped=result.skipped,
            fault=fault,
            skipped_steps=state.skipped_steps + result.skipped,
            passed_over_rows=sum(after - first for first, after in state.skipped if after <= step.cursor),
            slow_rank=slow.rank if slow else None,
            slow_rank_ratio=slow.ratio if slow else None,
            slow_rank_clock_mhz=slow_gpu.clock_mhz,
            slow_rank_temperature_c=slow_gpu.temperature_c,
        )

    @property
    def _on_gpu(self) -> bool:
        return self.world.device.type == "cuda"

    def _flops(self, step: Step) -> int:
        """Return the FLOPs of the complete global batch."""
        return training_flops(
            self.config,
            self.vocabulary_size,
            self.objective,
            lengths=step.lengths,
            masked_tokens=step.masked_tokens,
        )


def allocation_retries(device: torch.device) -> int:
    """Return how often torch freed its cached GPU memory, which waits for the device, to make an allocation succeed."""
    return int(torch.cuda.memory_stats(device).get("num_alloc_retries", 0))


def peak_memory_gib(device: torch.device) -> float:
    """Return this rank's peak memory in GiB: allocated on the GPU, or resident in RAM."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / GIB
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / GIB  # Linux counts KiB
