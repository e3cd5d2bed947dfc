from __future__ import annotations

import pytest
import torch
from torch import Tensor

from configs.schema import ModelConfig
from pretrain.model.pretraining import BertForPreTraining
from pretrain.model.tiling import source_layer, tiled_index, tiled_weights

SMALL = {"hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 6}
LARGE = {"hidden_size": 16, "num_hidden_layers": 5, "num_attention_heads": 4, "intermediate_size": 11}


def config_of(architecture: str, sizes: dict[str, int]) -> ModelConfig:
    return ModelConfig.model_validate({"architecture": architecture, "max_position_embeddings": 12} | sizes)


def weights_of(config: ModelConfig, objective: str) -> dict[str, Tensor]:
    torch.manual_seed(1)
    model = BertForPreTraining(config, 20, objective)  # type: ignore[arg-type]  # a parameter of the test
    return {name: torch.randn(weight.shape) for name, weight in model.named_parameters()}


def tile(row: list[int], larger: int) -> list[int]:
    """The rule as published, place by place: the axis in the middle, its end before it, its beginning after it."""
    before = (larger - len(row)) // 2
    left = [row[-1 - place % len(row)] for place in range(before)][::-1]
    right = [row[place % len(row)] for place in range(larger - before - len(row))]
    return [*left, *row, *right]


@pytest.mark.parametrize(("size", "larger"), [(1, 1), (3, 3), (3, 4), (3, 5), (4, 16), (768, 1024), (1152, 2624)])
def test_an_axis_is_tiled_from_its_middle(size: int, larger: int) -> None:
    assert tiled_index(size, larger).tolist() == tile(list(range(size)), larger)


def test_heads_stay_whole() -> None:
    assert tiled_index(8, 12, 4).tolist() == [0, 1, 2, 3, 4, 5, 6, 7, 0, 1, 2, 3]
    assert tiled_index(768, 1024, 64).tolist() == tiled_index(768, 1024).tolist()  # base to large, as published


def test_layers_are_those_of_the_published_model() -> None:
    layers = [source_layer(layer, 22, 28) for layer in range(28)]
    assert layers == [round(layer * 22 / 28) for layer in range(28)]
    assert layers[:6] == [0, 1, 2, 2, 3, 4]
    assert set(layers) == set(range(22))
    assert [source_layer(layer, 1, 3) for layer in range(3)] == [0, 0, 0]


@pytest.mark.parametrize(("architecture", "objective"), [("bert", "nsp"), ("modernbert", "none")])
def test_the_larger_model_takes_all_weights(architecture: str, objective: str) -> None:
    small, large = config_of(architecture, SMALL), config_of(architecture, LARGE)
    weights = weights_of(small, objective)
    tiled, expected = tiled_weights(weights, small, large), weights_of(large, objective)
    assert {name: tensor.shape for name, tensor in tiled.items()} == {
        name: tensor.shape for name, tensor in expected.items()
    }
    if architecture == "modernbert":  # layer 1 starts as layer 0, which has no norm before its attention
        assert source_layer(1, 2, 5) == 0
        assert torch.equal(tiled["bert.encoder.1.attention_norm.weight"], torch.ones(16))
        assert "bert.encoder.0.attention_norm.weight" not in tiled


def test_each_part_of_a_weight_is_tiled_on_its_own() -> None:
    small, large = config_of("modernbert", SMALL), config_of("modernbert", LARGE)
    weights = weights_of(small, "none")
    tiled = tiled_weights(weights, small, large)
    hidden, feed = tile(list(range(8)), 16), tile(list(range(6)), 11)
    source = f"bert.encoder.{source_layer(4, 2, 5)}"
    qkv, tiled_qkv = weights[f"{source}.attention.qkv.weight"], tiled["bert.encoder.4.attention.qkv.weight"]
    for part in range(3):
        expected = qkv[8 * part : 8 * part + 8][tile(list(range(8)), 16)][:, hidden]
        assert torch.equal(tiled_qkv[16 * part : 16 * part + 16], expected)
    gate, tiled_gate = weights[f"{source}.feed_in.weight"], tiled["bert.encoder.4.feed_in.weight"]
    for half in range(2):
        assert torch.equal(tiled_gate[11 * half : 11 * half + 11], gate[6 * half : 6 * half + 6][feed][:, hidden])
    assert torch.equal(tiled["bert.encoder.4.feed_out.weight"], weights[f"{source}.feed_out.weight"][hidden][:, feed])
    word = weights["bert.embeddings.word.weight"]
    assert torch.equal(tiled["bert.embeddings.word.weight"], word[:, hidden])
    assert torch.equal(tiled["masked_lm.decoder.bias"], weights["masked_lm.decoder.bias"])
    assert torch.equal(tiled["bert.norm.weight"], weights["bert.norm.weight"][hidden])


@pytest.mark.parametrize("architecture", ["bert", "modernbert"])
def test_a_model_of_the_same_size_keeps_its_weights(architecture: str) -> None:
    config = config_of(architecture, SMALL)
    weights = weights_of(config, "none")
    same = tiled_weights(weights, config, config)
    assert same.keys() == weights.keys()
    assert all(torch.equal(same[name], weight) for name, weight in weights.items())
