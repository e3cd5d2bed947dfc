"""Estimate a recipe's cost before it runs: memory per rank, communication, time per step, and preparation.

The memory of weights and optimizer follows measurements of the engine at every stage and precision on 1 and 2 ranks;
the memory of activations follows measurements of what autograd keeps. Together they are within 10 % of the peak that
PyTorch allocates in a step on a CPU.

Time is a roofline model: matrix products at `MATMUL_SHARE` of the peak, then reads and writes of the activations, the
optimizer states, and communication, one after the other. With many ranks it is an upper bound, because some of these
overlap. Rows are assumed to be full unless their mean length is known. Compared with published BERT-large figures on
one GPU, from systems that stored the attention scores:

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
from preprocessing.dataset import core_seconds, shard_bytes
from pretrain.engine import BUCKET_ELEMENTS, KEPT_PARAMETERS, PREFETCHED_PARAMETERS, rows_of_all_steps
from pretrain.kernels import LOGITS_BYTES
from pretrain.model import FORWARD_AND_BACKWARD, PEAK_FLOPS, bert_parameters, row_flops

MATMUL_SHARE = 0.55  # share of the peak that BERT's matrix products reach
RECOMPUTED = 4 / 3  # two forwards and a backward, relative to one forward and a backward
PASSES_OVER_ACTIVATIONS = 3  # written once, read in the forward and in the backward
OPTIMIZER_BYTES = 28  # per weight: fp32 gradient, master and both moments are read, all but the gradient written
MOST_ROWS = 1 << 20  # largest micro-batch to try
RESERVED_SHARE = 0.1  # share of a device's memory for its context and for fragmentation

# Preparation of English text, 128 tokens, one core at about 3 GHz: measured on 64 MB of Wikipedia. The speed of reading
# and tokenising depends on the corpus format (`FORMATS` in preprocessing.documents).


@dataclass(frozen=True)
class Hardware:
    """One device and its interconnects. Bandwidths are per device and in one direction."""

    name: str
    peak_flops: float  # 16-bit matrix products, dense
    memory_gib: float
    memory_gb_s: float
    node_gb_s: float  # to other devices of the node
    network_gb_s: float  # to other nodes
    per_node: int = 8


HARDWARE = {
    profile.name: profile
    for profile in (
        Hardware("h200", PEAK_FLOPS["H200"], 131.0, 4800.0, 450.0, 50.0),
        Hardware("h100", PEAK_FLOPS["H100"], 74.5, 3350.0, 450.0, 50.0),
        Hardware("a100", PEAK_FLOPS["A100"], 74.5, 2039.0, 300.0, 25.0),
        Hardware("v100", PEAK_FLOPS["V100"], 32.0, 900.0, 150.0, 12.5),
        Hardware("cpu", 0.1e12, 8.0, 10.0, 2.0, 1.0, per_node=2),  # one or two cores with 16-bit instructions
    )
}


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
    compute_s: float
    communication_gb: float
    communication_s: float
    rows_per_s: float  # all ranks together

    @property
    def step_s(self) -> float:
        """Seconds of computation plus communication."""
        return self.compute_s + self.communication_s


@dataclass(frozen=True)
class PreparationCost:
    """The cost of preparing a data set."""

    text_gb: float
    core_hours: float
    shards_gb: float

    def workers_for(self, hours: float) -> int:
        """Return the number of cores that finish in this time; the cost is linear."""
        return math.ceil(self.core_hours / hours)


class Cost:
    """The cost of a recipe on one kind of device.

    `mean_length` is the mean number of tokens per row, if the data set is known; otherwise rows are full.
    """

    def __init__(
        self, recipe: Recipe, hardware: Hardware, vocabulary_size: int, mean_length: float | None = None
    ) -> None:
        self.recipe, self.hardware, self.vocabulary_size = recipe, hardware, vocabulary_size
        self.element_bytes = 4 if recipe.train.precision == "fp32" else 2
        self.is_fused = hardware.name != "cpu"  # pretrain.kernels.fused
        # Flash attention, which does not store its scores: 16 bits, from Ampere on.
        self.is_flash = self.is_fused and self.element_bytes == 2 and hardware.name != "v100"
        self.length = round(mean_length or recipe.data.max_seq_length)
        self.masked_tokens = min(
            recipe.data.max_predictions_per_seq, max(1, round(recipe.data.masked_lm_prob * self.length))
        )
        sizes = (recipe.model, vocabulary_size, recipe.data.objective)
        self.parameters = bert_parameters(*sizes)
        self.row_flops = row_flops(*sizes, length=self.length, masked_tokens=self.masked_tokens)

    def memory(self, ranks: int, micro_batch_size: int, zero_stage: int | None = None) -> Memory:
        """Return a rank's memory at the recipe's ZeRO stage or another (Rajbhandari et al. 2020, figure 1)."""
        stage = self.recipe.train.zero_stage if zero_stage is None else zero_stage
        states = self.parameters * self.state_bytes(stage, ranks)
        if stage == 3 and ranks > 1:  # in addition to its shards: gathered weights, and the prefetch buffer
            gathered = min(self.parameters, KEPT_PARAMETERS) + min(self.parameters, PREFETCHED_PARAMETERS)
            states += self.element_bytes * gathered
        activations = self.activation_bytes(micro_batch_size)
        if stage == 1:  # once the activations are freed, a buffer in which gradients are summed
            activations = max(activations, 4 * min(self.parameters, BUCKET_ELEMENTS))
        return Memory(states / GIB, activations / GIB)

    def state_bytes(self, stage: int, ranks: int) -> float:
        """Return the bytes per weight on each rank: weight, fp32 gradient, master, two moments, reduction buffers."""
        weight = self.element_bytes
        buffer = weight * min(1.0, BUCKET_ELEMENTS / self.parameters)
        if self.recipe.train.offload_optimizer and self.hardware.name != "cpu":
            # Gradients move to the host once computed (Ren et al. 2021, section 4.1). As published, not measured.
            return weight / (ranks if stage == 3 else 1) + buffer
        if stage == 0:
            return 18.0 if weight == 2 else 16.0  # in fp32 the weights are their own masters
        if stage == 1 and self.recipe.train.precision == "fp16":
            return 2 + 16 / ranks + (2 if ranks > 1 else 0)  # fp32 gradients are sharded, fp16 gradients are not
        if stage == 1:  # gradients are not sharded; fp32 weights are their own masters
            return weight + 4 + (12 if weight == 2 else 8) / ranks
        if stage == 2:
            return weight + 16 / ranks + buffer * (2 if ranks > 1 else 1)  # one is filled while the other is sent
        return (weight + 16) / ranks + self._reduced_bytes * min(1.0, BUCKET_ELEMENTS / self.parameters)

    @property
    def _reduced_bytes(self) -> int:
        """Bytes of a gradient's element while it is summed over ranks."""
        return 4 if self.recipe.train.gradient_reduction == "fp32" else 2

    def activation_bytes(self, rows: int) -> float:
        """Return the peak bytes of the activations of a micro-batch, including the masked-LM head.

        The head computes the decoder's gradient in the forward, and keeps it until the embedding's gradient is added.
        In addition, the forward holds a chunk of logits, and the backward holds the gradient again, scaled by that of
        the loss. With activation checkpointing, each layer keeps its input, and one layer at a time keeps everything.
        """
        model, size = self.recipe.model, self.element_bytes
        if not rows:
            return 0.0
        decoder = size * self.vocabulary_size * model.hidden_size
        head = max(decoder, min(rows * size * self.masked_tokens * self.vocabulary_size, LOGITS_BYTES))
        if not self.recipe.train.activation_checkpointing:
            return decoder + head + rows * (self._layers_bytes + self._embedding_bytes)
        inputs = self.length * model.num_hidden_layers * size * model.hidden_size
        return decoder + rows * (inputs + self._embedding_bytes) + max(head, rows * self._layer_bytes())

    @property
    def _computed_bytes(self) -> float:
        """Bytes that one row reads and writes: activations kept for the backward, and fp32 logits."""
        logits = 12 * self.masked_tokens * self.vocabulary_size
        return self._layers_bytes + self._embedding_bytes + logits

    @property
    def _embedding_bytes(self) -> float:
        """Bytes per row of the ids and, unless they are recomputed, of the fp32 sum and the dropout mask."""
        dropped = self.element_bytes if self.recipe.model.hidden_dropout_prob else 0
        return self.length * (32 + (0 if self.is_fused else (4 + dropped) * self.recipe.model.hidden_size))

    @property
    def _layers_bytes(self) -> float:
        """Bytes that all layers keep for one row's backward; only a few tokens of the last layer's output are read."""
        read_share = (self.masked_tokens + 1) / self.length
        return (self.recipe.model.num_hidden_layers - 1) * self._layer_bytes() + self._layer_bytes(read_share)

    def _layer_bytes(self, read_share: float = 1.0) -> float:
        """Return the bytes that one layer keeps for one row's backward if `read_share` of its output is read.

        Tensors of the hidden width: queries, keys and values, twice if attention pads them; the attention output; input
        and output of each of the two LayerNorms; without fused kernels, the inputs are fp32 and two dropout masks are
        kept. Tensors of the intermediate width: input and output of GELU.
        """
        model, size = self.recipe.model, self.element_bytes
        dropped = 2 * size if model.hidden_dropout_prob else 0
        attention = size * (4 if self.is_flash else 7)
        norms = 4 * size if self.is_fused else 2 * size + 8 + dropped
        read = model.hidden_size * norms + 2 * size * model.intermediate_size
        layer = model.hidden_size * attention + read_share * read
        if not self.is_flash:  # the padded softmax; with dropout, also its mask and its result
            scores = size * (3 if model.attention_probs_dropout_prob else 1)
            layer += scores * model.num_attention_heads * self.recipe.data.max_seq_length
        return self.length * layer

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
        micro_batch = min(self.recipe.train.micro_batch_size, rows)
        accumulation = math.ceil(rows / micro_batch)
        communicated = self.communication_bytes(ranks, accumulation)
        compute_s = rows * self.row_s + self._optimizer_s(ranks)
        communication_s = self._sending_s(ranks, communicated)
        return StepCost(
            ranks=ranks,
            micro_batch_size=micro_batch,
            accumulation=accumulation,
            memory=self.memory(ranks, micro_batch, self.recipe.train.stage_on(ranks)),
            compute_s=compute_s,
            communication_gb=communicated / 1e9,
            communication_s=communication_s,
            rows_per_s=global_batch_size / (compute_s + communication_s),
        )

    @property
    def row_s(self) -> float:
        """Seconds of the forward and backward of one row on one device."""
        recomputation = RECOMPUTED if self.recipe.train.activation_checkpointing else 1.0
        products_s = recomputation * (self.row_flops - self._unread_flops) / (self.hardware.peak_flops * MATMUL_SHARE)
        return products_s + PASSES_OVER_ACTIVATIONS * self._computed_bytes / (self.hardware.memory_gb_s * 1e9)

    @property
    def _unread_flops(self) -> int:
        """FLOPs per row that the last layer saves for tokens that are neither masked nor the row's first."""
        model, unread = self.recipe.model, self.length - self.masked_tokens - 1
        return FORWARD_AND_BACKWARD * 2 * unread * model.hidden_size * (model.hidden_size + 2 * model.intermediate_size)

    def communication_bytes(self, ranks: int, accumulation: int) -> float:
        """Return the bytes that a rank sends in a step, with ring algorithms (Rajbhandari et al. 2020, section 7).

        DeepSpeed's collectives differ from the paper's: at stage 2 it reduces
        gradients on all ranks instead of only on their owners; at stage 3 it keeps gathered weights for the backward,
        up to `KEPT_PARAMETERS`.
        """
        once = self.parameters * (ranks - 1) / ranks  # elements that a rank sends when all go around the ring once
        weights, sums = once * self.element_bytes, once * self._reduced_bytes
        gradients = {
            0: 2 * sums,  # all-reduced
            1: sums,  # to their owners
            2: 2 * sums * accumulation,  # after each micro-step
            3: sums * accumulation,  # to their owners
        }
        gathers = {
            0: 0,
            1: 1,  # of weights, after the step
            2: 1,
            3: accumulation * (1 if self.parameters <= KEPT_PARAMETERS else 2),  # for each forward, or also backward
        }
        stage = self.recipe.train.zero_stage
        return gradients[stage] + gathers[stage] * weights

    def scaling(self, most_ranks: int = 1024) -> Iterator[StepCost]:
        """Yield the step's cost on 1, 2, 4 … ranks, while each rank has at least one row."""
        ranks = 1
        while ranks <= min(most_ranks, self.recipe.train.global_batch_size):
            yield self.step(ranks)
            ranks *= 2

    def _sending_s(self, ranks: int, communicated: float) -> float:
        """Return the seconds of collectives on two levels, like NCCL's: within nodes, then between them on all links.

        A rank sends (n-1)/n of a tensor within its node of n ranks, and (N-1)/N of 1/n of it to the N-1 other nodes.
        """
        if ranks == 1:
            return 0.0
        in_node = min(ranks, self.hardware.per_node)
        tensor_bytes = communicated * ranks / (ranks - 1)
        within_bytes = tensor_bytes * (in_node - 1) / in_node
        between_bytes = communicated - within_bytes
        return within_bytes / (self.hardware.node_gb_s * 1e9) + between_bytes / (self.hardware.network_gb_s * 1e9)

    def _optimizer_s(self, ranks: int) -> float:
        owned = self.parameters / (ranks if self.recipe.train.zero_stage else 1)
        return owned * OPTIMIZER_BYTES / (self.hardware.memory_gb_s * 1e9)


def preparation(text_gb: float, passes: int, text_mb_s: float) -> PreparationCost:
    """Return the cost of preparing `text_gb` of text. `text_mb_s`: speed of a core before the passes, in MB/s."""
    core_s = core_seconds(text_gb * 1e3, passes, text_mb_s)
    return PreparationCost(text_gb, core_s / 3600, shard_bytes(text_gb, passes))
