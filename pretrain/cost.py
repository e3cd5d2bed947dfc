"""What a recipe costs before it runs: memory of a rank, communication, time of a step, and the data set's preparation.

Memory of weights and optimizer is what the engine was measured to hold, at every stage and precision on 1 and 2
ranks; that of activations is what autograd was measured to keep; together they are within 10 % of the most that
PyTorch was seen to allocate in a step on a CPU.
Time is a roofline: matrix products at `MATMUL_SHARE` of the peak, then
reading and writing the activations, the optimizer's states, and communication, one after the other: for many ranks an
upper bound, since some of it overlaps. Rows are taken to be full unless their mean length is known. Beside published
BERT-large figures on one GPU, by systems that stored the attention scores:

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
from pretrain.engine import BUCKET_ELEMENTS, KEPT_PARAMETERS, PREFETCHED_PARAMETERS, rows_of_all_steps
from pretrain.kernels import LOGITS_BYTES
from pretrain.model import FORWARD_AND_BACKWARD, PEAK_FLOPS, bert_parameters, row_flops

MATMUL_SHARE = 0.55  # of the peak, which BERT's matrix products reach
RECOMPUTED = 4 / 3  # forward, forward again and backward, beside forward and backward
PASSES_OVER_ACTIVATIONS = 3  # written once, read in the forward and in the backward
OPTIMIZER_BYTES = 28  # a weight: fp32 gradient, master and both moments read, all but the gradient written
MOST_ROWS = 1 << 20  # that are tried as a micro-batch
RESERVED_SHARE = 0.1  # of a device's memory, for its context and what the allocator cannot fill

# Preparation, English, 128 tokens, one core at some 3 GHz: measured on 64 MB of Wikipedia. How fast text is read and
# cut into word pieces depends on the corpus's format and stands there (`FORMATS` in preprocessing.documents).
PASS_MB_S = 85.0  # pairs and masks of one pass, per MB of text
SHARD_BYTES = 0.69  # bytes of shards a byte of text and pass


@dataclass(frozen=True)
class Hardware:
    """One device, and what connects it with others. Bandwidths are a device's own, in one direction."""

    name: str
    peak_flops: float  # 16-bit matrix products, dense
    memory_gib: float
    memory_gb_s: float
    node_gb_s: float  # to the others of its node
    network_gb_s: float  # to other nodes
    per_node: int = 8


HARDWARE = {
    profile.name: profile
    for profile in (
        Hardware("h200", PEAK_FLOPS["H200"], 131.0, 4800.0, 450.0, 50.0),
        Hardware("h100", PEAK_FLOPS["H100"], 74.5, 3350.0, 450.0, 50.0),
        Hardware("a100", PEAK_FLOPS["A100"], 74.5, 2039.0, 300.0, 25.0),
        Hardware("v100", PEAK_FLOPS["V100"], 32.0, 900.0, 150.0, 12.5),
        Hardware("cpu", 0.1e12, 8.0, 10.0, 2.0, 1.0, per_node=2),  # a core or two with 16-bit instructions
    )
}


@dataclass(frozen=True)
class Memory:
    """GiB on each rank at the worst moment of a step."""

    states_gib: float  # weights, gradients, optimizer
    activations_gib: float

    @property
    def total_gib(self) -> float:
        """Both."""
        return self.states_gib + self.activations_gib


@dataclass(frozen=True)
class StepCost:
    """One optimizer step on `ranks` ranks, seconds and bytes a rank."""

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
        """Computing, then communicating."""
        return self.compute_s + self.communication_s


@dataclass(frozen=True)
class PreparationCost:
    """Making a data set."""

    text_gb: float
    core_hours: float
    shards_gb: float

    def workers_for(self, hours: float) -> int:
        """Cores that finish in this time: the cost is linear."""
        return math.ceil(self.core_hours / hours)


class Cost:
    """The cost of a recipe's step on one kind of device.

    `mean_length`: tokens a row, where the data set is known; a row is full otherwise.
    """

    def __init__(
        self, recipe: Recipe, hardware: Hardware, vocabulary_size: int, mean_length: float | None = None
    ) -> None:
        self.recipe, self.hardware, self.vocabulary_size = recipe, hardware, vocabulary_size
        self.element_bytes = 4 if recipe.train.precision == "fp32" else 2
        self.is_fused = hardware.name != "cpu"  # pretrain.kernels.fused
        # Attention that forgets its scores: 16 bits, from Ampere on.
        self.is_flash = self.is_fused and self.element_bytes == 2 and hardware.name != "v100"
        self.length = round(mean_length or recipe.data.max_seq_length)
        self.masked_tokens = min(
            recipe.data.max_predictions_per_seq, max(1, round(recipe.data.masked_lm_prob * self.length))
        )
        sizes = (recipe.model, vocabulary_size, recipe.data.objective)
        self.parameters = bert_parameters(*sizes)
        self.row_flops = row_flops(*sizes, length=self.length, masked_tokens=self.masked_tokens)

    def memory(self, ranks: int, micro_batch_size: int, zero_stage: int | None = None) -> Memory:
        """What a rank needs, at the recipe's ZeRO stage or another (Rajbhandari et al. 2020, figure 1)."""
        stage = self.recipe.train.zero_stage if zero_stage is None else zero_stage
        states = self.parameters * self.state_bytes(stage, ranks)
        if stage == 3 and ranks > 1:  # beside its shards: weights that the forward has gathered, and what they come in
            gathered = min(self.parameters, KEPT_PARAMETERS) + min(self.parameters, PREFETCHED_PARAMETERS)
            states += self.element_bytes * gathered
        return Memory(states / GIB, self.activation_bytes(micro_batch_size) / GIB)

    def state_bytes(self, stage: int, ranks: int) -> float:
        """Bytes a weight on each rank: the weight, fp32 gradient, master and two moments, buffers of reductions."""
        weight = self.element_bytes
        buffer = weight * min(1.0, BUCKET_ELEMENTS / self.parameters)
        if self.recipe.train.offload_optimizer and self.hardware.name != "cpu":
            # Gradients leave as they come (Ren et al. 2021, section 4.1). As published: not measured here.
            return weight / (ranks if stage == 3 else 1) + buffer
        if stage == 0:
            return 18.0 if weight == 2 else 16.0  # in fp32 the weights are their own master
        if stage == 1 and weight == 4:
            return 8 + 12 / ranks + buffer  # gradients stay whole
        if stage == 1:
            return 2 + 16 / ranks + (2 if ranks > 1 else 0)  # bf16 gradients stay whole, fp32 ones are sharded
        if stage == 2:
            return weight + 16 / ranks + buffer * (2 if ranks > 1 else 1)  # one is filled while the other travels
        return (weight + 16) / ranks + buffer

    def activation_bytes(self, rows: int) -> float:
        """What is kept of a number of rows until their backward, and the masked-LM head's part, at its worst moment.

        The head makes the decoder's gradient in the forward; it stays until the embedding's joins it. Beside it are, in
        the forward, a chunk of logits, and in the backward the gradient again, multiplied by that of the loss. Under
        activation checkpointing each layer keeps what it takes in, and one layer at a time has all it makes.
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
        """All that passes through memory for one row: what its forward makes for its backward, and fp32 logits."""
        logits = 12 * self.masked_tokens * self.vocabulary_size
        return self._layers_bytes + self._embedding_bytes + logits

    @property
    def _embedding_bytes(self) -> float:
        """The ids; and, unless they are computed again, the fp32 sum and the dropout's mask."""
        dropped = self.element_bytes if self.recipe.model.hidden_dropout_prob else 0
        return self.length * (32 + (0 if self.is_fused else (4 + dropped) * self.recipe.model.hidden_size))

    @property
    def _layers_bytes(self) -> float:
        """What all layers make for one row's backward; the last one's output is read at a few tokens."""
        read_share = (self.masked_tokens + 1) / self.length
        return (self.recipe.model.num_hidden_layers - 1) * self._layer_bytes() + self._layer_bytes(read_share)

    def _layer_bytes(self, read_share: float = 1.0) -> float:
        """What one layer makes for one row's backward, if that share of its output is read.

        Of the hidden width: queries, keys and values, and them again where attention pads them; what attention gives,
        and what each of two LayerNorms takes in, in fp32 without fused kernels, and gives; without these two masks of
        dropout too. Of the inner width: what GELU takes and gives.
        """
        model, size = self.recipe.model, self.element_bytes
        dropped = 2 * size if model.hidden_dropout_prob else 0
        attention = size * (4 if self.is_flash else 7)
        norms = 4 * size if self.is_fused else 2 * size + 8 + dropped
        read = model.hidden_size * norms + 2 * size * model.intermediate_size
        layer = model.hidden_size * attention + read_share * read
        if not self.is_flash:  # softmax of the scores, padded; with dropout its mask, and what is left
            scores = size * (3 if model.attention_probs_dropout_prob else 1)
            layer += scores * model.num_attention_heads * self.recipe.data.max_seq_length
        return self.length * layer

    def largest_micro_batch(self, ranks: int, zero_stage: int | None = None) -> int:
        """Most rows that fit on a rank beside the states; 0 when these alone do not."""
        free_gib = self.hardware.memory_gib * (1 - RESERVED_SHARE)
        sizes = range(1, MOST_ROWS)
        return bisect_right(sizes, free_gib, key=lambda rows: self.memory(ranks, rows, zero_stage).total_gib)

    def training_s(self, ranks: int) -> float:
        """All steps, those of a growing batch with its mean; at most the recipe's budget."""
        train = self.recipe.train
        growing = min(train.batch_growth_steps, train.steps)
        seconds = (train.steps - growing) * self.step(ranks).step_s
        if growing:
            mean_rows = (rows_of_all_steps(train) - (train.steps - growing) * train.global_batch_size) // growing
            seconds += growing * self.step(ranks, mean_rows).step_s
        return min(seconds, 60 * train.budget_min or math.inf)

    def step(self, ranks: int, global_batch_size: int | None = None) -> StepCost:
        """A step with the recipe's global batch or another, in the recipe's micro-batches."""
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
        """Forward and backward of one full row on one device."""
        anew = RECOMPUTED if self.recipe.train.activation_checkpointing else 1.0
        products_s = anew * (self.row_flops - self._unread_flops) / (self.hardware.peak_flops * MATMUL_SHARE)
        return products_s + PASSES_OVER_ACTIVATIONS * self._computed_bytes / (self.hardware.memory_gb_s * 1e9)

    @property
    def _unread_flops(self) -> int:
        """What the last layer does not compute, for the tokens of a row that are neither masked nor its first."""
        model, unread = self.recipe.model, self.length - self.masked_tokens - 1
        return FORWARD_AND_BACKWARD * 2 * unread * model.hidden_size * (model.hidden_size + 2 * model.intermediate_size)

    def communication_bytes(self, ranks: int, accumulation: int) -> float:
        """What a rank sends in a step, by ring algorithms (Rajbhandari et al. 2020, section 7).

        DeepSpeed calls other ones than the paper: at stages 1 and 2 it reduces gradients on all ranks instead of only
        on their owners; at stage 3 it keeps gathered weights for the backward, as long as they are not too many.
        """
        weights = self.parameters * self.element_bytes * (ranks - 1) / ranks  # sent once around
        gradients = {
            0: 2 * 4 * self.parameters * (ranks - 1) / ranks,  # all-reduced in fp32
            1: 2 * weights,
            2: 2 * weights * accumulation,  # after each micro-step
            3: weights * accumulation,  # to their owners
        }
        gathers = {
            0: 0,
            1: 1,  # of weights, after the step
            2: 1,
            3: accumulation * (1 if self.parameters <= KEPT_PARAMETERS else 2),  # or for each forward, and backward
        }
        stage = self.recipe.train.zero_stage
        return gradients[stage] + gathers[stage] * weights

    def scaling(self, most_ranks: int = 1024) -> Iterator[StepCost]:
        """1, 2, 4 … ranks, as far as each has a row."""
        ranks = 1
        while ranks <= min(most_ranks, self.recipe.train.global_batch_size):
            yield self.step(ranks)
            ranks *= 2

    def _sending_s(self, ranks: int, communicated: float) -> float:
        """Collectives in two levels, as NCCL's: within the nodes, and between them by all devices' links at once.

        A rank sends (n-1)/n of a tensor within its node of n ranks, and 1/n of the tensor's (N-1)/N to the N-1 others.
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
    """Making the data set of so much text; linear in all of it. `text_mb_s`: before the passes, a core."""
    core_s = text_gb * 1e3 * (1 / text_mb_s + passes / PASS_MB_S)
    return PreparationCost(text_gb, core_s / 3600, text_gb * passes * SHARD_BYTES)
