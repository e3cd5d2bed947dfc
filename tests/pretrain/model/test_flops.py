from __future__ import annotations

from typing import Literal

import pytest
import torch

from configs.schema import ModelConfig, Objective
from pretrain.model.flops import bert_parameters, mfu, peak_flops, row_flops, training_flops
from pretrain.model.pretraining import BertForPreTraining

BASE = ModelConfig()
LARGE = ModelConfig(hidden_size=1024, num_hidden_layers=24, num_attention_heads=16, intermediate_size=4096)
VOCABULARY = 30_522
WITH_AND_WITHOUT_SENTENCES: tuple[Objective, Objective] = ("sop", "none")


def test_published_sizes() -> None:
    assert bert_parameters(BASE, VOCABULARY, "nsp") == 110_106_428
    assert bert_parameters(LARGE, VOCABULARY, "nsp") == 336_226_108


@pytest.mark.parametrize("objective", ["nsp", "sop", "none"])
@pytest.mark.parametrize(("layers", "norm"), [(1, "post"), (3, "post"), (3, "pre")])
def test_formula_equals_parameter_count(layers: int, norm: Literal["post", "pre"], objective: Objective) -> None:
    config = ModelConfig(
        norm=norm,
        hidden_size=24,
        num_hidden_layers=layers,
        num_attention_heads=3,
        intermediate_size=41,
        max_position_embeddings=19,
        type_vocab_size=layers,
    )
    model = BertForPreTraining(config, 57, objective)
    assert sum(parameter.numel() for parameter in model.parameters()) == bert_parameters(config, 57, objective)


@pytest.mark.parametrize(
    ("config", "length", "masked_tokens", "gigaflops"),
    [(BASE, 128, 20, 69.9), (BASE, 512, 80, 301.4), (LARGE, 128, 20, 240.6), (LARGE, 512, 80, 1020.5)],
)
def test_published_flops_of_a_row(config: ModelConfig, length: int, masked_tokens: int, gigaflops: float) -> None:
    flops = row_flops(config, VOCABULARY, "nsp", length=length, masked_tokens=masked_tokens)
    assert flops / 1e9 == pytest.approx(gigaflops, abs=0.06)


MODERN = {"architecture": "modernbert", "hidden_size": 24, "num_attention_heads": 3, "intermediate_size": 41}


@pytest.mark.parametrize("layers", [1, 5])
@pytest.mark.parametrize("decoder_bias", [True, False])
def test_formula_equals_parameter_count_of_modernbert(layers: int, decoder_bias: bool) -> None:
    config = ModelConfig.model_validate(MODERN | {"num_hidden_layers": layers, "decoder_bias": decoder_bias})
    model = BertForPreTraining(config, 57, "none")
    assert sum(parameter.numel() for parameter in model.parameters()) == bert_parameters(config, 57, "none")


def test_published_sizes_of_modernbert() -> None:
    base = {"architecture": "modernbert", "num_hidden_layers": 22, "intermediate_size": 1152}
    large = {"hidden_size": 1024, "num_hidden_layers": 28, "num_attention_heads": 16, "intermediate_size": 2624}
    sizes = [bert_parameters(ModelConfig.model_validate(base | more), 50_368, "none") for more in ({}, large)]
    assert [round(size / 1e6) for size in sizes] == [
        150,
        396,
    ]  # of ModernBertForMaskedLM: 149 M and 395 M, and the head


@pytest.mark.parametrize("attention", ["bidirectional", "left_to_right"])
@pytest.mark.parametrize("every", [1, 2, 3])
def test_flops_of_modernbert_count_the_pairs_in_the_window(every: int, attention: str) -> None:
    fields = {"num_hidden_layers": 5, "local_attention": 6, "global_attention_every_n_layers": every}
    config = ModelConfig.model_validate(MODERN | fields | {"attention": attention})
    lengths, masked = [1, 3, 4, 20], 7
    pairs = 0
    for layer in range(5):
        before, after = (3, 3) if layer % every else (99, 99)
        if attention == "left_to_right":  # the token itself is one of the half window
            before, after = (2 if layer % every else 99), 0
        pairs += sum(-before <= j - i <= after for length in lengths for i in range(length) for j in range(length))
    products = sum(lengths) * 5 * (4 * 24 * 24 + 3 * 24 * 41)
    expected = 6 * (products + 2 * 24 * pairs + masked * 24 * (24 + 57))
    assert training_flops(config, 57, "none", lengths=lengths, masked_tokens=masked) == expected


def test_flops_of_ragged_rows_use_true_lengths() -> None:
    lengths, masked = [9, 40, 128], [1, 6, 19]
    apart = sum(
        row_flops(BASE, VOCABULARY, "nsp", length=length, masked_tokens=count)
        for length, count in zip(lengths, masked, strict=True)
    )
    together = training_flops(
        BASE,
        VOCABULARY,
        "nsp",
        lengths=lengths,
        masked_tokens=sum(masked),
    )
    assert together == apart


def test_objective_none_saves_the_pooler_and_its_head() -> None:
    both, alone = (
        row_flops(BASE, VOCABULARY, objective, length=128, masked_tokens=20) for objective in WITH_AND_WITHOUT_SENTENCES
    )
    assert both - alone == 6 * 768 * (768 + 2)


def test_mfu_is_relative_to_the_peak() -> None:
    assert mfu(494.5e12, 989e12) == 0.5
    assert mfu(1e12, peak_flops(torch.device("cpu"))) is None
