"""The keys of `[model]`, `[optimizer]`, `[train]` and `[checkpoint]`: what each one changes in a training."""

from __future__ import annotations

from typing import Any

from tests.integration.schema_walk.observing import Seen
from tests.integration.schema_walk.row import Row


def shape(seen: Seen, name: str) -> tuple[int, ...]:
    sizes: tuple[int, ...] = seen["weights"][name][0]
    return sizes


def steps(seen: Seen) -> int:
    return len(seen["rows"])


def rows_of_a_pass(seen: Seen) -> int:
    return sum(shard.rows for shard in seen.manifest.select("train", 0))


def saved(seen: Seen) -> list[int]:
    return [int(name.removeprefix("step_")) for name in seen["checkpoints"]]


def same_start(a: Seen, b: Seen, key: str = "losses") -> bool:
    """Return whether the first step is the same, and a later one is not."""
    return bool(a[key][0] == b[key][0] and a[key][-1] != b[key][-1])


def evaluated(seen: Seen) -> list[int]:
    return [step for step, _ in seen["evaluations"]]


POSITIONS = "bert.embeddings.position.weight"
WEIGHTS = {"weights", "losses"}
LEARNED = {"rates", "losses"}
MODERN: dict[str, Any] = {
    "data.objective": "none",
    "model.architecture": "modernbert",
    "model.num_hidden_layers": 2,
    "model.local_attention": 8,
}
MODEL = [
    Row("model.hidden_size", 32, WEIGHTS, lambda a, b: shape(b, POSITIONS)[1] == 32),
    Row("model.num_hidden_layers", 2, WEIGHTS | {"forwards"}, lambda a, b: len(b["weights"]) > len(a["weights"])),
    Row("model.num_attention_heads", 4, {"losses"}, lambda a, b: a["losses"][0] != b["losses"][0]),
    Row("model.intermediate_size", 64, WEIGHTS, lambda a, b: (64, 16) in [size for size, _ in b["weights"].values()]),
    Row("model.max_position_embeddings", 64, WEIGHTS, lambda a, b: shape(b, POSITIONS)[0] == 64),
    Row("model.hidden_dropout_prob", 0.5, {"losses"}, lambda a, b: True),
    Row("model.attention_probs_dropout_prob", 0.5, {"losses"}, lambda a, b: True),
    Row("model.initializer_range", 0.2, WEIGHTS, lambda a, b: shape(a, POSITIONS) == shape(b, POSITIONS)),
    Row("model.layer_norm_eps", 0.1, {"losses"}, lambda a, b: True),
    Row("model.norm", "pre", WEIGHTS, lambda a, b: b["weights"].keys() != a["weights"].keys()),
    Row(
        "model.architecture",
        "modernbert",
        WEIGHTS,
        lambda a, b: POSITIONS in a["weights"] and POSITIONS not in b["weights"],
        {"data.objective": "none"},
        frozenset({"forwards"}),
    ),
    Row("model.global_attention_every_n_layers", 1, {"losses"}, lambda a, b: a["losses"][0] != b["losses"][0], MODERN),
    Row("model.local_attention", 4, {"losses"}, lambda a, b: a["losses"][0] != b["losses"][0], MODERN),
    Row("model.global_rotary_base", 10.0, {"losses"}, lambda a, b: a["losses"][0] != b["losses"][0], MODERN),
    Row("model.local_rotary_base", 10.0, {"losses"}, lambda a, b: a["losses"][0] != b["losses"][0], MODERN),
    Row(
        "model.decoder_bias",
        False,
        WEIGHTS,
        lambda a, b: a["weights"].keys() - b["weights"].keys() == {"masked_lm.decoder.bias"},
        MODERN,
    ),
    Row(
        "model.attention",
        "left_to_right",
        WEIGHTS,
        lambda a, b: not any("pooler" in name or "next_sentence" in name for name in b["weights"]),
        may=frozenset({"forwards"}),
    ),
    Row("model.hidden_act", "gelu_new", {"losses"}, lambda a, b: a["losses"][0] != b["losses"][0]),
    Row("model.type_vocab_size", 3, WEIGHTS, lambda a, b: shape(b, "bert.embeddings.token_type.weight")[0] == 3),
    Row("model.decoder_bias_init", "unigram", WEIGHTS, lambda a, b: b["losses"][0] < a["losses"][0]),
]
OPTIMIZER = [
    Row("optimizer.name", "lamb", {"losses"}, lambda a, b: same_start(a, b)),
    Row("optimizer.learning_rate", 2e-2, LEARNED, lambda a, b: max(b["rates"]) == 2e-2),
    Row("optimizer.beta1", 0.5, {"losses"}, same_start),
    Row("optimizer.beta2", 0.5, {"losses"}, same_start),
    Row("optimizer.eps", 0.1, {"losses"}, same_start),
    Row("optimizer.weight_decay", 1.0, {"losses"}, same_start),
    Row("optimizer.gradient_clipping", 0.01, {"losses"}, same_start),
    Row("optimizer.warmup_steps", 4, LEARNED, lambda a, b: b["rates"].index(max(b["rates"])) == 3),
    Row("optimizer.warmup_share", 0.5, LEARNED, lambda a, b: b["rates"].index(max(b["rates"])) == 2),
    Row("optimizer.minimum_learning_rate", 5e-3, LEARNED, lambda a, b: b["rates"][-1] >= 5e-3 > a["rates"][-1]),
    Row("optimizer.decay", "constant", LEARNED, lambda a, b: b["rates"][1:] == [1e-2] * 5),
    Row(
        "optimizer.decay_power",
        2.0,
        LEARNED,
        lambda a, b: b["rates"][3] < a["rates"][3],
        {"optimizer.decay": "polynomial"},
    ),
    Row("optimizer.decay_steps", 2, LEARNED, lambda a, b: b["rates"][1:4] == [1e-2] * 3 > b["rates"][4:]),
    Row(
        "optimizer.decay_from_step",
        4,
        LEARNED,
        lambda a, b: b["rates"][:4] == a["rates"][:2] * 1 + b["rates"][2:4],
        {"optimizer.decay_from_step": 2, "optimizer.decay_from_rate": 1e-2},
    ),
    Row(
        "optimizer.decay_from_rate",
        5e-3,
        LEARNED,
        lambda a, b: max(b["rates"][2:]) <= 5e-3,
        {"optimizer.decay_from_step": 2, "optimizer.decay_from_rate": 1e-2},
    ),
]
LONGER = {"rows", "rates", "losses", "forwards", "said", "checkpoints", "evaluations"}
GROWING: dict[str, Any] = {"train.batch_growth_steps": 4, "train.first_global_batch_size": 4}
MIXED = {"rows", "losses"}
MIXTURE: dict[str, Any] = {
    "train.mixture": [{"dataset": "{folder}/plain", "weight": 1.0}, {"dataset": "{folder}/mixed", "weight": 1.0}]
}
TRAIN = [
    Row("train.steps", 8, LONGER | {"shape"}, lambda a, b: steps(b) == 8 and saved(b)[-1] == 8),
    Row("train.epochs", 0.5, LONGER | {"shape"}, lambda a, b: steps(b) == round(rows_of_a_pass(b) / 2 / 8)),
    Row("train.tokens", 800, LONGER | {"shape"}, lambda a, b: 0.7 < b.records[-1]["tokens"] / 800 < 1.3),
    Row("train.budget_min", 1e-9, LONGER | {"shape"}, lambda a, b: steps(b) == 1),
    Row(
        "train.global_batch_size",
        16,
        {"rows", "losses", "forwards", "shape"},
        lambda a, b: b.records[0]["samples"] == 16,
    ),
    Row(
        "train.first_global_batch_size",
        2,
        {"rows", "losses", "forwards", "shape"},
        lambda a, b: b.records[0]["samples"] == 2,
        GROWING,
    ),
    Row(
        "train.batch_growth_steps",
        2,
        {"rows", "losses", "shape"},
        lambda a, b: a.records[-1]["samples"] < b.records[-1]["samples"],
        GROWING,
    ),
    Row(
        "train.global_batch_tokens",
        600,
        {"rows", "losses", "forwards", "shape"},
        lambda a, b: b.records[0]["samples"] > 8 and 0.7 < b.records[0]["tokens"] / 600 < 1.3,
    ),
    Row(
        "train.micro_batch_tokens",
        48,
        {"losses", "forwards", "shape"},
        lambda a, b: a["rows"] == b["rows"],
    ),
    Row("train.micro_batch_size", 8, {"losses", "forwards", "shape"}, lambda a, b: a["rows"] == b["rows"]),
    Row(
        "train.pad_tokens_to",
        64,
        {"padded"},
        lambda a, b: b.records[0]["padding_pct"] > 0 and a["rows"] == b["rows"],
        may=frozenset({"losses"}),
    ),
    Row(
        "train.node_partition",
        True,
        {"gathers"},  # what that does is in tests/distributed/test_node_partition.py
        lambda a, b: b["gathers"] == "within nodes",
        {"train.zero_stage": 3},
    ),
    Row("train.activation_checkpointing", True, {"forwards"}, lambda a, b: a["losses"] == b["losses"]),
    Row("train.precision", "bf16", {"losses", "shape"}, lambda a, b: a["losses"][0] != b["losses"][0]),
    Row("train.kernels", "triton", {"refusal"}, lambda a, b: "TRITON_INTERPRET" in b["refusal"]),
    Row("train.seed", 7, {"weights", "rows", "losses"}, lambda a, b: a["rates"] == b["rates"]),
    Row(
        "train.initialise_from", "{folder}/earlier", WEIGHTS - {"weights"}, lambda a, b: b["losses"][0] < a["losses"][0]
    ),
    Row(
        "train.initialise_by",
        "copying",
        {"refusal"},
        lambda a, b: "train.initialise_by=tiling" in b["refusal"],
        {
            "train.initialise_from": "{folder}/earlier",
            "train.initialise_by": "tiling",
            "model.hidden_size": 32,
            "model.num_attention_heads": 4,
        },
    ),
    Row("train.shuffle_window_rows", 4, {"rows", "losses"}, lambda a, b: True),
    Row("train.mixture.0.dataset", "{folder}/mixed", MIXED, lambda a, b: a["evaluations"] == b["evaluations"], MIXTURE),
    Row("train.mixture.0.weight", 9.0, MIXED, lambda a, b: a["evaluations"] == b["evaluations"], MIXTURE),
    Row("train.stage_in", "{folder}/staged", {"staged"}, lambda a, b: b["staged"] and not a["staged"]),
    Row(
        "train.stage_gib",
        2e-6,
        {"refusal"},
        lambda a, b: "stage_gib" in b["refusal"],
        {"train.stage_in": "{folder}/small"},
    ),
    Row("train.profile_steps", [3], {"traces"}, lambda a, b: b["traces"] == ["step_00000003.pt.trace.json.gz"]),
    Row("train.histogram_every_steps", 4, {"histograms"}, lambda a, b: b["histograms"] == [4] and not a["histograms"]),
    Row("train.trackers", ["mlflow"], {"tracked"}, lambda a, b: "loss/mlm" in b["tracked"] and not a["tracked"]),
    Row("train.log_every_steps", 3, {"said"}, lambda a, b: b["said"] == [1, 3, 6]),
    Row(
        "train.evaluate_every_steps",
        2,
        {"evaluations", "forwards"},
        lambda a, b: evaluated(b) == [2, 4, 6] and evaluated(a) == [6],
    ),
    Row("train.evaluate_rows", 4, {"evaluations", "forwards"}, lambda a, b: b["evaluations"] == [(6, 4)]),
    Row(
        "train.max_skipped_steps",
        2,
        {"refusal"},
        lambda a, b: a["skipped"] == [3, 4] and "2 steps in a row were skipped" in b["refusal"],
        {"name": "nan-3-4"},
    ),
    Row(
        "train.skip_loss_spikes",
        True,
        {"skipped", "losses", "checkpoints"},
        lambda a, b: b["skipped"] == [38] and not a["skipped"],
        {"name": "huge-38-38", "train.steps": 40},
    ),
]
CHECKPOINT = [
    Row("checkpoint.every_steps", 3, {"checkpoints"}, lambda a, b: saved(b) == [3, 6] and saved(a) == [4, 6]),
    Row("checkpoint.keep", 3, {"checkpoints"}, lambda a, b: saved(b) == [2, 4, 6]),
    Row("checkpoint.keep_every_steps", 2, {"checkpoints"}, lambda a, b: saved(b) == [2, 4, 6]),
    Row(
        "checkpoint.every_minutes",
        1.0,
        {"checkpoints"},
        lambda a, b: len(saved(b)) > len(saved(a)) == 1,
        {"checkpoint.every_steps": 100, "checkpoint.keep": 9},
    ),
    Row(
        "checkpoint.failures_per_gpu_day",
        1e3,
        {"checkpoints"},
        lambda a, b: len(saved(b)) > len(saved(a)) == 1,
        {"checkpoint.every_steps": 100, "checkpoint.keep": 9, "checkpoint.every_minutes": "auto"},
    ),
    Row(
        "checkpoint.in_background", False, {"in_background"}, lambda a, b: a["in_background"] and not b["in_background"]
    ),
]
ROWS = [*MODEL, *OPTIMIZER, *TRAIN, *CHECKPOINT]
