from __future__ import annotations

import dataclasses
from itertools import pairwise

import pytest
import torch

from configs.recipe import load_recipe
from configs.schema import Recipe
from configs.units import GIB
from pretrain.cost import HARDWARE, Cost, preparation
from pretrain.model.batch import Batch
from pretrain.model.pretraining import BertForPreTraining

LARGE = [
    "model.hidden_size=1024", "model.num_hidden_layers=24", "model.num_attention_heads=16",
    "model.intermediate_size=4096", "model.max_position_embeddings=512", "train.precision=bf16",
    "model.hidden_dropout_prob=0.1", "model.attention_probs_dropout_prob=0.1",
]  # fmt: skip


def large(length: int, *overrides: str) -> Recipe:
    predictions = {128: 20, 512: 80}[length]
    data = [f"data.max_seq_length={length}", f"data.max_predictions_per_seq={predictions}"]
    return load_recipe("demo", [*LARGE, *data, *overrides])


def cost(hardware: str, length: int, *overrides: str) -> Cost:
    return Cost(large(length, *overrides), HARDWARE[hardware], vocabulary_size=30_522)


@pytest.mark.parametrize(
    ("hardware", "length", "published_rows_s", "error"),
    [("v100", 128, 272, -0.11), ("v100", 512, 52, 0.02), ("a100", 128, 580, 0.03), ("a100", 512, 101, 0.28)],
)
def test_error_against_published_throughput_is_as_documented(
    hardware: str, length: int, published_rows_s: float, error: float
) -> None:
    planned = cost(hardware, length)
    planned.row.is_fused = planned.row.is_flash = False  # as those systems were
    planned.row.flops += planned.row.unread_flops  # they compute the whole last layer
    assert 1 / planned.row.seconds / published_rows_s - 1 == pytest.approx(error, abs=0.025)


@pytest.mark.parametrize(
    ("precision", "stage", "one_rank", "two_ranks"),
    [
        ("bf16", 0, 18, 18), ("bf16", 1, 18, 12), ("bf16", 2, 20, 14), ("bf16", 3, 22, 13),
        ("fp16", 1, 18, 12), ("fp32", 0, 16, 16), ("fp32", 1, 16, 12), ("fp32", 2, 24, 20), ("fp32", 3, 24, 14),
    ],
)  # fmt: skip
def test_bytes_per_weight_match_measurements(precision: str, stage: int, one_rank: float, two_ranks: float) -> None:
    planned = Cost(load_recipe("demo", [f"train.precision={precision}"]), HARDWARE["cpu"], vocabulary_size=4096)
    assert planned.state_bytes(stage, 1) == one_rank
    assert planned.state_bytes(stage, 2) == two_ranks


@pytest.mark.parametrize("precision", ["bf16", "fp32"])
@pytest.mark.parametrize("dropout", [0.0, 0.1])
@pytest.mark.parametrize(("hidden", "feed", "length"), [(64, 256, 128), (96, 192, 64)])
def test_activation_bytes_match_autograd(precision: str, dropout: float, hidden: int, feed: int, length: int) -> None:
    recipe = load_recipe(
        "demo",
        [
            f"data.max_seq_length={length}", "data.max_predictions_per_seq=1", f"model.hidden_size={hidden}",
            "model.num_hidden_layers=4", "model.num_attention_heads=2", f"model.intermediate_size={feed}",
            "model.max_position_embeddings=128", f"model.hidden_dropout_prob={dropout}",
            f"model.attention_probs_dropout_prob={dropout}", f"train.precision={precision}",
        ],
    )  # fmt: skip
    planned = Cost(recipe, HARDWARE["cpu"], vocabulary_size=100).row.activation_bytes(4)
    assert kept_by_autograd(recipe, rows=4) == pytest.approx(planned, rel=0.02)


@pytest.mark.parametrize("precision", ["bf16", "fp32"])
@pytest.mark.parametrize("dropout", [0.0, 0.1])
@pytest.mark.parametrize(("every", "window", "hidden", "feed"), [(1, 128, 64, 96), (3, 32, 96, 64), (3, 6, 64, 192)])
def test_activation_bytes_of_modernbert_match_autograd(
    precision: str, dropout: float, every: int, window: int, hidden: int, feed: int
) -> None:
    recipe = load_recipe(
        "demo",
        [
            "data.max_seq_length=96", "data.max_predictions_per_seq=1", f"model.hidden_size={hidden}",
            "model.num_hidden_layers=7", "model.num_attention_heads=2", f"model.intermediate_size={feed}",
            "model.max_position_embeddings=128", f"model.hidden_dropout_prob={dropout}", "data.objective=none",
            f"model.attention_probs_dropout_prob={dropout}", f"train.precision={precision}",
            "model.architecture=modernbert", f"model.local_attention={window}",
            f"model.global_attention_every_n_layers={every}",
        ],
    )  # fmt: skip
    planned = Cost(recipe, HARDWARE["cpu"], vocabulary_size=100).row.activation_bytes(4)
    assert kept_by_autograd(recipe, rows=4) == pytest.approx(planned, rel=0.03)


def kept_by_autograd(recipe: Recipe, rows: int) -> int:
    """Bytes that one forward saves for its backward, without weights."""
    length = recipe.data.max_seq_length
    precision = torch.bfloat16 if recipe.train.precision == "bf16" else None
    model = BertForPreTraining(recipe.model, 100, recipe.data.objective).to(precision)
    weights = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    saved: dict[int, torch.Tensor] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        saved[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    batch = Batch(
        input_ids=torch.ones(rows * length, dtype=torch.long),
        token_type_ids=torch.zeros(rows * length, dtype=torch.long),
        position_ids=torch.arange(length).repeat(rows),
        offsets=torch.arange(0, rows * length + 1, length, dtype=torch.int32),
        max_length=length,
        masked_positions=torch.arange(rows) * length + 1,
        masked_ids=torch.ones(rows, dtype=torch.long),
        next_sentence_label=torch.zeros(rows, dtype=torch.long),
    )
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        outputs = model(batch)
    assert outputs
    return sum(tensor.untyped_storage().nbytes() for place, tensor in saved.items() if place not in weights)


@pytest.mark.parametrize(("stage", "bytes_a_weight"), [(1, 2), (2, 2), (3, 0.5)])
def test_offload_keeps_weights_and_one_buffer_on_the_device(stage: int, bytes_a_weight: float) -> None:
    planned = cost("h100", 128, f"train.zero_stage={stage}", "train.offload_optimizer=true")
    buffer = 2 * 50e6 / planned.parameters
    assert planned.state_bytes(stage, 4) == pytest.approx(bytes_a_weight + buffer)
    on_cpu = cost("cpu", 128, f"train.zero_stage={stage}", "train.offload_optimizer=true")
    assert on_cpu.state_bytes(stage, 4) == cost("cpu", 128, f"train.zero_stage={stage}").state_bytes(stage, 4)


def test_stage_3_adds_gathered_weights() -> None:
    planned = cost("h100", 128, "train.zero_stage=3")
    assert planned.memory(1, 0).states_gib * GIB == pytest.approx(planned.parameters * planned.state_bytes(3, 1))
    gathered = 2 * (planned.parameters + 50_000_000)  # and the buffer of those that are on their way
    states = planned.parameters * planned.state_bytes(3, 4)
    assert planned.memory(4, 0).states_gib * GIB == pytest.approx(states + gathered)


def test_flash_attention_keeps_no_scores() -> None:
    """BERT-large, 512 tokens: 1024 wide, 4096 inside, 16 heads."""
    scores = 16 * 512 * 3  # with their dropout's mask, and what is left
    assert cost("h100", 512).row.layer_bytes() == 2 * 512 * (8 * 1024 + 2 * 4096)
    assert cost("v100", 512).row.layer_bytes() == 2 * 512 * (11 * 1024 + 2 * 4096 + scores)
    assert cost("h100", 512, "train.precision=fp32").row.layer_bytes() == 2 * cost("v100", 512).row.layer_bytes()


def test_last_layer_keeps_only_read_tokens() -> None:
    """77 of 512 tokens are masked; the first is read, too. Queries, keys, values and attention output are complete."""
    planned = cost("h100", 512)
    assert planned.row.layers_bytes - 23 * planned.row.layer_bytes() == pytest.approx(
        2 * (512 * 4 * 1024 + 78 * (4 * 1024 + 2 * 4096))
    )


def test_largest_micro_batch_fits_and_a_larger_one_does_not() -> None:
    planned = cost("h100", 128)
    rows = planned.largest_micro_batch(8)
    limit_gib = HARDWARE["h100"].memory_gib * 0.9
    assert planned.memory(8, rows).total_gib <= limit_gib < planned.memory(8, rows + 1).total_gib
    tiny = dataclasses.replace(HARDWARE["h100"], memory_gib=1.0)
    assert Cost(large(128), tiny, 30_522).largest_micro_batch(8) == 0


@pytest.mark.parametrize(("stage", "sent"), [(0, 8.0), (1, 4 + 2.0), (2, 8 * 3 + 2.0), (3, (4 + 2) * 3.0)])
def test_bytes_sent_per_weight_depend_on_the_stage(stage: int, sent: float) -> None:
    planned = cost("h100", 128, f"train.zero_stage={stage}")
    assert planned.sent_bytes(1, 3) == 0
    assert planned.sent_bytes(4, 3) == pytest.approx(sent * planned.parameters * 3 / 4)


def test_traffic_between_nodes_is_a_share_of_the_total() -> None:
    """Four nodes of eight: 7/8 of a tensor over the fast links, 3/4 of its eighth over the slow ones."""
    planned = cost("h100", 128, "train.zero_stage=1", "train.global_batch_size=4096")
    tensors_gb = 3 * planned.parameters * 2 / 1e9  # all-reduced and gathered, in bf16
    assert planned.step(8).communication_s == pytest.approx(tensors_gb * 7 / 8 / 450)
    assert planned.step(32).communication_s == pytest.approx(tensors_gb * (7 / 8 / 450 + 3 / 4 / 8 / 50))
    assert planned.step(32).communication_gb == pytest.approx(tensors_gb * 31 / 32)
    assert planned.step(1).communication_s == 0


def test_more_ranks_are_faster_but_less_efficient() -> None:
    batch = ["train.global_batch_size=65536", "train.micro_batch_size=64"]
    steps = list(cost("h100", 128, *batch).scaling())
    assert [step.ranks for step in steps] == [2**power for power in range(11)]
    rates = [step.rows_per_s / step.ranks for step in steps]
    assert all(before > after for before, after in pairwise(rates))
    assert all(before.step_s > after.step_s for before, after in pairwise(steps))
    assert (steps[3].micro_batch_size, steps[3].accumulation) == (64, 128)


def test_scaling_stops_before_a_rank_has_no_row() -> None:
    assert [step.ranks for step in cost("cpu", 128, "train.global_batch_size=6").scaling()] == [1, 2, 4]


def test_preparation_cost_is_linear() -> None:
    small, large_one = preparation(1, 10, 17.0), preparation(10_000, 10, 17.0)
    assert large_one.core_hours == pytest.approx(10_000 * small.core_hours)
    assert small.core_hours == pytest.approx((1000 / 17 + 10_000 / 85) / 3600)
    assert small.shards_gb == pytest.approx(6.9)
    assert large_one.workers_for(24) == 21
    assert GIB == 1024**3


def test_activation_checkpointing_adds_a_third_and_keeps_one_tensor_per_layer() -> None:
    plain, anew = cost("h100", 128), cost("h100", 128, "train.activation_checkpointing=true")
    assert anew.row.activation_bytes(64) < plain.row.activation_bytes(64) / 8
    products_s = (plain.row.flops - plain.row.unread_flops) / (989e12 * 0.55)
    assert anew.row.seconds - plain.row.seconds == pytest.approx(products_s / 3)
    assert anew.largest_micro_batch(8) > 8 * plain.largest_micro_batch(8)


def test_a_growing_batch_and_a_budget_shorten_the_training() -> None:
    batch = ["train.global_batch_size=4096", "train.steps=100", "optimizer.warmup_steps=0"]
    plain = cost("h100", 128, *batch)
    assert plain.training_s(8) == pytest.approx(100 * plain.step(8).step_s)
    grown = cost("h100", 128, *batch, "train.first_global_batch_size=1024", "train.batch_growth_steps=50")
    assert grown.training_s(8) == pytest.approx(50 * plain.step(8).step_s + 50 * plain.step(8, 2528).step_s)
    assert cost("h100", 128, *batch, "train.budget_min=0.01").training_s(8) == pytest.approx(0.6)


def test_shorter_rows_cost_less() -> None:
    full, ragged = (Cost(large(128), HARDWARE["h100"], 30_522, mean_length=length) for length in (None, 64.0))
    assert ragged.row.flops < full.row.flops / 2
    assert ragged.row.activation_bytes(64) == pytest.approx(full.row.activation_bytes(64) / 2, rel=0.1)
    grown = full.row.activation_bytes(1 << 14) - full.row.activation_bytes(1 << 13)
    assert grown == (1 << 13) * (full.row.layers_bytes + full.row.embedding_bytes)  # logits come in chunks


def test_filler_rows_take_memory_and_time_but_are_not_counted_as_rows() -> None:
    plain, padded = (cost("h100", 128, "train.micro_batch_size=64", f"train.pad_tokens_to={to}") for to in (1, 16384))
    assert padded.memory(8, 64).activations_gib > 1.5 * plain.memory(8, 64).activations_gib  # twice the tokens
    assert padded.step(8).compute_s > 1.5 * plain.step(8).compute_s
    assert padded.step(8).rows_per_s < plain.step(8).rows_per_s
    assert padded.memory(8, 64).states_gib == plain.memory(8, 64).states_gib


def test_partitions_in_nodes_take_memory_and_keep_gathers_off_the_network() -> None:
    rows = "train.global_batch_size=8192", "train.micro_batch_size=32"
    plain, in_nodes = (
        cost("h100", 128, "train.zero_stage=3", f"train.node_partition={on}", *rows) for on in ("false", "true")
    )
    more_gib = in_nodes.memory(64, 32).states_gib - plain.memory(64, 32).states_gib
    assert more_gib * GIB == pytest.approx(2 * plain.parameters / 8)
    steps = plain.step(64), in_nodes.step(64)
    assert [step.accumulation for step in steps] == [4, 4]
    once = 2 * plain.parameters
    assert plain.sent_bytes(64, 4) - in_nodes.sent_bytes(64, 4) == pytest.approx(3 * once * 63 / 64)
    assert in_nodes.sent_in_node_bytes(64, 4) == pytest.approx(3 * once * 7 / 8)
    assert plain.sent_in_node_bytes(64, 4) == 0
    assert steps[1].communication_s < steps[0].communication_s
