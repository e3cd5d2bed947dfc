"""Estimate a recipe's cost before it runs: memory per rank, communication, and time per step.

The memory of weights and optimizer follows measurements of the engine at every stage and precision; the memory of
activations follows measurements of what autograd keeps. Together they are within 5 % of the peak that PyTorch allocates
in a step, on 1 to 8 ranks (`python -m tests.benchmarks.plan --counts`).

Time is a roofline model: matrix products at `MATMUL_SHARE` of the peak, then reads and writes of the activations, the
optimizer states, and communication, one after the other. With many ranks it is an upper bound, because some of these
overlap. A GPU waits for the host where its work is shorter than the host's. Rows are assumed to be full unless their
mean length is known. Compared with published BERT-large figures on one GPU, from systems that stored the attention
scores:

    V100, 272 rows/s at 128 tokens: 11 % too slow      52 rows/s at 512 tokens: 2 % too fast
    A100, 580 rows/s at 128 tokens:  3 % too fast      33 % of the peak at 512 tokens: 28 % too fast
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass

from configs.schema import Recipe
from configs.units import GIB
from pretrain.cost import traffic
from pretrain.cost.hardware import Hardware
from pretrain.cost.host import host_s
from pretrain.cost.row import RECOMPUTED, RowCost
from pretrain.engine import BUCKET_ELEMENTS, KEPT_PARAMETERS, PREFETCHED_PARAMETERS, rows_of_all_steps
from pretrain.model import Padding, bert_parameters

OPTIMIZER_BYTES = 28  # per weight: fp32 gradient, master and both moments are read, all but the gradient written
MOST_ROWS = 1 << 20  # largest micro-batch to try
RESERVED_SHARE = 0.1  # share of a device's memory for its context and for fragmentation


@dataclass(frozen=True)
class Memory:
    """Peak memory of each rank during a step, in GiB."""

    states_gib: float  # weights, gradients, optimizer
    activations_gib: float

    @property
    def total_gib(self) -> float:
        """States and activations together."""
        return self.states_gib + self.activations_gib


@dataclass(frozen=True)
class StepCost:
    """The cost of one optimizer step on `ranks` ranks; seconds and bytes are per rank."""

    ranks: int
    micro_batch_size: int
    accumulation: int
    memory: Memory
    compute_s: float  # of the device, including its waits for the host
    host_s: float  # of the host, which runs at the same time
    communication_gb: float
    communication_s: float
    rows_per_s: float  # all ranks together

    @property
    def step_s(self) -> float:
        """Seconds of computation plus communication."""
        return self.compute_s + self.communication_s


class Cost:
    """The cost of a recipe on one kind of device.

    `mean_length` is the mean number of tokens per row, if the data set is known; otherwise rows are full.
    """

    def __init__(
        self, recipe: Recipe, hardware: Hardware, vocabulary_size: int, mean_length: float | None = None
    ) -> None:
        self.row = RowCost(recipe, hardware, vocabulary_size, mean_length)
        self.recipe, self.hardware = recipe.with_batch_of(self.row.length), hardware
        self.padding = Padding(recipe.train.pad_tokens_to, recipe.data.max_seq_length)
        self.parameters = bert_parameters(recipe.model, vocabulary_size, recipe.objective)

    @property
    def micro_batch_size(self) -> int:
        """The rows of a micro-batch that the recipe's limits of rows and of tokens allow."""
        train = self.recipe.train
        most = max(1, train.micro_batch_tokens // self.row.length) if train.micro_batch_tokens else MOST_ROWS
        return min(train.micro_batch_size, most)

    def memory(self, ranks: int, micro_batch_size: int, zero_stage: int | None = None) -> Memory:
        """Return a rank's memory at the recipe's ZeRO stage or another (Rajbhandari et al. 2020, figure 1)."""
        stage = self.recipe.train.zero_stage if zero_stage is None else zero_stage
        states = self.parameters * self.state_bytes(stage, ranks)
        if stage == 3 and ranks > 1:  # in addition to its shards: gathered weights, and the prefetch buffer
            gathered = min(self.parameters, KEPT_PARAMETERS) + min(self.parameters, PREFETCHED_PARAMETERS)
            states += self.row.element_bytes * gathered
            if self.recipe.train.node_partition and 1 < self._node_ranks(ranks) < ranks:
                states += self.row.element_bytes * self.parameters / self._node_ranks(ranks)
        activations = self.row.activation_bytes(micro_batch_size * self._padded_share(micro_batch_size))
        if stage == 1:  # once the activations are freed, a buffer in which gradients are summed
            activations = max(activations, 4 * min(self.parameters, BUCKET_ELEMENTS))
        return Memory(states / GIB, activations / GIB)

    def state_bytes(self, stage: int, ranks: int) -> float:
        """Return the bytes per weight on each rank: weight, fp32 gradient, master, two moments, reduction buffers."""
        weight = self.row.element_bytes
        bucket = min(1.0, BUCKET_ELEMENTS / self.parameters)
        if self.recipe.train.offload_optimizer and not self.hardware.is_cpu:
            # Gradients move to the host once computed (Ren et al. 2021, section 4.1). As published, not measured.
            return weight / (ranks if stage == 3 else 1) + weight * bucket
        if stage == 0:
            return 18.0 if weight == 2 else 16.0  # in fp32 the weights are their own masters
        if stage == 1 and self.recipe.train.precision == "fp16":
            return 2 + 16 / ranks + (2 if ranks > 1 else 0)  # fp32 gradients are sharded, fp16 gradients are not
        if stage == 1:  # gradients are not sharded; fp32 weights are their own masters
            return weight + 4 + (12 if weight == 2 else 8) / ranks
        if stage == 2:
            return weight + 16 / ranks + weight * bucket * (2 if ranks > 1 else 1)  # one is filled, the other sent
        return (weight + 16) / ranks + traffic.reduced_bytes(self.recipe.train) * bucket

    def largest_micro_batch(self, ranks: int, zero_stage: int | None = None) -> int:
        """Return the largest micro-batch that fits on a rank next to the states; 0 if the states alone do not fit."""
        free_gib = self.hardware.memory_gib * (1 - RESERVED_SHARE)
        sizes = range(1, MOST_ROWS)
        return bisect_right(sizes, free_gib, key=lambda rows: self.memory(ranks, rows, zero_stage).total_gib)

    def training_s(self, ranks: int) -> float:
        """Return the seconds of all steps, at most the recipe's budget. A growing batch counts with its mean size."""
        train = self.recipe.train
        growing = min(train.batch_growth_steps, train.steps)
        seconds = (train.steps - growing) * self.step(ranks).step_s
        if growing:
            mean_rows = (rows_of_all_steps(train) - (train.steps - growing) * train.global_batch_size) // growing
            seconds += growing * self.step(ranks, mean_rows).step_s
        return min(seconds, 60 * train.budget_min or math.inf)

    def step(self, ranks: int, global_batch_size: int | None = None) -> StepCost:
        """Return the cost of a step with the recipe's global batch size or another."""
        global_batch_size = global_batch_size or self.recipe.train.global_batch_size
        rows = math.ceil(global_batch_size / ranks)
        micro_batch = min(self.micro_batch_size, rows)
        accumulation = math.ceil(rows / micro_batch)
        sent, sent_in_node = self.sent_bytes(ranks, accumulation), self.sent_in_node_bytes(ranks, accumulation)
        micro_host_s, step_host_s = self._host_s(ranks)
        micro_s = rows / accumulation * self._padded_share(micro_batch) * self.row.seconds
        update_s = self._optimizer_s(ranks)
        compute_s = accumulation * max(micro_s, micro_host_s) + max(update_s, step_host_s)
        communication_s = traffic.sending_s(self.hardware, ranks, sent) + sent_in_node / (self.hardware.node_gb_s * 1e9)
        return StepCost(
            ranks=ranks,
            micro_batch_size=micro_batch,
            accumulation=accumulation,
            memory=self.memory(ranks, micro_batch, self.recipe.train.stage_on(ranks)),
            compute_s=compute_s,
            host_s=accumulation * micro_host_s + step_host_s,
            communication_gb=(sent + sent_in_node) / 1e9,
            communication_s=communication_s,
            rows_per_s=global_batch_size / (compute_s + communication_s),
        )

    def sent_bytes(self, ranks: int, accumulation: int) -> float:
        """Return the bytes that a rank sends to all others in a step of `accumulation` micro-steps."""
        return traffic.sent_bytes(self.recipe.train, self.parameters, ranks, accumulation)

    def sent_in_node_bytes(self, ranks: int, accumulation: int) -> float:
        """Return the bytes that a rank sends in addition in collectives of its node."""
        return traffic.sent_in_node_bytes(self.recipe.train, self.parameters, self._node_ranks(ranks), accumulation)

    def mfu(self, step: StepCost) -> float:
        """Return the model FLOPs utilisation of a step. Its FLOPs include those that the last layer skips."""
        return step.rows_per_s / step.ranks * self.row.flops / self.hardware.peak_flops

    def scaling(self, most_ranks: int = 1024) -> Iterator[StepCost]:
        """Yield the step's cost on 1, 2, 4 … ranks, while each rank has at least one row."""
        ranks = 1
        while ranks <= min(most_ranks, self.recipe.train.global_batch_size):
            yield self.step(ranks)
            ranks *= 2

    def _node_ranks(self, ranks: int) -> int:
        """Return the number of ranks of a node, which divide its own partition of the weights."""
        return min(ranks, self.hardware.per_node)

    def _padded_share(self, rows: int) -> float:
        """Return the tokens of a padded micro-batch over those of its own rows."""
        tokens = rows * self.row.length
        return self.padding.sizes(tokens, rows * self.row.masked_tokens)[0] / tokens if tokens else 1.0

    def _optimizer_s(self, ranks: int) -> float:
        owned = self.parameters / (ranks if self.recipe.train.zero_stage else 1)
        return owned * OPTIMIZER_BYTES / (self.hardware.memory_gb_s * 1e9)

    def _host_s(self, ranks: int) -> tuple[float, float]:
        """Return the host's seconds of a micro-step and of an optimizer step; on a CPU, `row` includes them."""
        if self.hardware.is_cpu:
            return 0.0, 0.0
        train = self.recipe.train
        micro_s, step_s = host_s(self.recipe.model.num_hidden_layers, train.stage_on(ranks))
        recomputation = RECOMPUTED if train.activation_checkpointing else 1.0
        return recomputation * micro_s / self.hardware.cpu_speed, step_s / self.hardware.cpu_speed
