from __future__ import annotations

import pytest
import torch
from torch import Tensor

from configs.schema import ModelConfig, Objective
from pretrain.model.batch import Batch, filler_batch
from pretrain.model.pretraining import BertForPreTraining
from tests.pretrain.batches import random_batch, single_rows

VOCABULARY = 50


FORMS = [(norm, objective) for norm in ("post", "pre") for objective in ("nsp", "none")]


def small_model(dropout: float = 0.0, norm: str = "post", objective: Objective = "nsp") -> BertForPreTraining:
    torch.manual_seed(0)
    shape = {
        "hidden_size": 24,
        "num_hidden_layers": 2,
        "num_attention_heads": 3,
        "intermediate_size": 40,
        "max_position_embeddings": 32,
        "hidden_dropout_prob": dropout,
        "attention_probs_dropout_prob": dropout,
        "initializer_range": 0.2,
        "norm": norm,
    }
    return BertForPreTraining(ModelConfig.model_validate(shape), VOCABULARY, objective)


def both_logits(model: BertForPreTraining, batch: Batch) -> tuple[Tensor, Tensor]:
    mlm_logits, nsp_logits = model.logits(batch)
    assert nsp_logits is not None
    return mlm_logits, nsp_logits


def gradients(model: BertForPreTraining, loss: Tensor) -> dict[str, Tensor]:
    model.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]  # torch does not type it
    return {name: parameter.grad for name, parameter in model.named_parameters() if parameter.grad is not None}


@pytest.mark.parametrize("norm", ["post", "pre"])
def test_ragged_rows_are_independent(norm: str) -> None:
    model, batch = small_model(norm=norm), random_batch(1, rows=7)
    hidden_of_rows = torch.cat([model.bert(row)[0] for row in single_rows(batch)])
    logits_of_rows = [both_logits(model, row) for row in single_rows(batch)]
    torch.testing.assert_close(model.bert(batch)[0], hidden_of_rows, rtol=0, atol=2e-6)
    mlm_logits, nsp_logits = both_logits(model, batch)
    torch.testing.assert_close(mlm_logits, torch.cat([mlm for mlm, _ in logits_of_rows]), rtol=0, atol=5e-6)
    torch.testing.assert_close(nsp_logits, torch.cat([nsp for _, nsp in logits_of_rows]), rtol=0, atol=2e-6)


@pytest.mark.parametrize(("norm", "objective"), FORMS)
def test_losses_counts_and_gradients_are_sums_over_rows(norm: str, objective: Objective) -> None:
    model, batch = small_model(norm=norm, objective=objective), random_batch(2, rows=6)
    whole, rows = model(batch), [model(row) for row in single_rows(batch)]
    for place in range(4):
        torch.testing.assert_close(whole[place], sum(row[place] for row in rows), rtol=1e-6, atol=0)
    of_whole = gradients(model, whole[0] + whole[1])
    of_rows = gradients(model, sum((row[0] + row[1] for row in rows), torch.zeros(())))
    assert of_whole.keys() == dict(model.named_parameters()).keys()
    for name, gradient in of_whole.items():
        torch.testing.assert_close(gradient, of_rows[name], rtol=1e-4, atol=1e-5, msg=name)


def test_losses_are_fp32_cross_entropies_of_the_logits() -> None:
    model, batch = small_model().to(torch.bfloat16), random_batch(3, rows=5)
    mlm_logits, nsp_logits = both_logits(model, batch)
    mlm_loss, nsp_loss, mlm_correct, nsp_correct = model(batch)
    expected = -mlm_logits.float().log_softmax(-1)[torch.arange(len(batch.masked_ids)), batch.masked_ids].sum()
    torch.testing.assert_close(mlm_loss, expected, rtol=1e-6, atol=0)
    assert mlm_loss.dtype == nsp_loss.dtype == torch.float32
    assert int(mlm_correct) == sum(
        int(logits.argmax() == label) for logits, label in zip(mlm_logits, batch.masked_ids, strict=True)
    )
    assert int(nsp_correct) == int((nsp_logits.argmax(-1) == batch.next_sentence_label).sum())


@pytest.mark.parametrize(("norm", "objective"), FORMS)
def test_filler_row_gives_zero_losses_and_gradients(norm: str, objective: Objective) -> None:
    model = small_model(norm=norm, objective=objective)
    outputs = model(filler_batch(2, 3))
    assert [value.item() for value in outputs] == [0, 0, 0, 0]
    found = gradients(model, outputs[0] + outputs[1])
    assert found.keys() == dict(model.named_parameters()).keys()
    assert all(not gradient.any() for gradient in found.values())


def test_last_hidden_state_is_the_encoder_output() -> None:
    model, batch = small_model(), random_batch(4, rows=3)
    states = list(model.bert.hidden_states(batch))
    assert [tuple(state.shape) for state in states] == [(len(batch.input_ids), 24)] * 3
    assert torch.equal(states[-1], model.bert(batch)[0])


@pytest.mark.parametrize(("norm", "objective"), FORMS)
def test_selected_outputs_equal_those_of_the_full_forward(norm: str, objective: Objective) -> None:
    model, batch = small_model(norm=norm, objective=objective), random_batch(5, rows=6)
    places_M = batch.masked_positions
    whole_TH, pooled_BH = model.bert(batch)
    some_MH, pooled_again_BH = model.bert(batch, places_M)
    pairs = [(some_MH, whole_TH[places_M])]
    if pooled_BH is not None and pooled_again_BH is not None:
        pairs.append((pooled_again_BH, pooled_BH))
    assert len(pairs) == (2 if objective == "nsp" else 1)
    for found, expected in pairs:
        torch.testing.assert_close(found, expected, rtol=0, atol=2e-6)
    of_some, of_whole = (
        gradients(model, sum((part.sin().sum() for part in side), torch.zeros(()))) for side in zip(*pairs, strict=True)
    )
    for name, gradient in of_whole.items():
        torch.testing.assert_close(of_some[name], gradient, rtol=1e-4, atol=1e-5, msg=name)


def test_objective_none_has_no_next_sentence_part() -> None:
    alone, both = small_model(objective="none"), small_model()
    assert both.state_dict().keys() - alone.state_dict().keys() == {
        f"{module}.{kind}" for module in ("bert.pooler", "next_sentence") for kind in ("weight", "bias")
    }
    alone.load_state_dict(both.state_dict(), strict=False)
    batch = random_batch(4, rows=3)
    mlm_loss, nsp_loss, mlm_correct, nsp_correct = alone(batch)
    assert torch.equal(mlm_loss, both(batch)[0])
    assert torch.equal(mlm_correct, both(batch)[2])
    assert (nsp_loss.item(), nsp_correct.item()) == (0, 0)
    assert alone.logits(batch)[1] is None


def test_pre_norm_residual_path_has_no_layer_norm() -> None:
    model, batch = small_model(norm="pre"), random_batch(4, rows=3)
    for layer in model.bert.encoder:
        for name in ("attention.output", "feed_out"):
            torch.nn.init.zeros_(layer.get_submodule(name).get_parameter("weight"))
    states = list(model.bert.hidden_states(batch))
    assert torch.equal(states[1], states[0])  # layers whose output is zero change nothing
    torch.testing.assert_close(states[-1].mean(-1), torch.zeros(len(batch.input_ids)), rtol=0, atol=1e-6)
    torch.testing.assert_close(states[-1].var(-1, correction=0), torch.ones(len(batch.input_ids)))


def test_pre_norm_initialises_residual_layers_smaller() -> None:
    post, pre = small_model(), small_model(norm="pre")
    for name, weight in post.named_parameters():
        if weight.ndim == 2:
            divisor = 2.0 if name.endswith(("attention.output.weight", "feed_out.weight")) else 1.0  # √(2 · 2 layers)
            assert torch.equal(pre.get_parameter(name), weight / divisor), name


def test_dropout_follows_the_seed_and_is_off_in_evaluation() -> None:
    model, batch = small_model(dropout=0.3), random_batch(6, rows=4)

    def loss(seed: int) -> float:
        torch.manual_seed(seed)
        return float(model(batch)[0].detach())

    assert loss(1) == loss(1) != loss(2)
    model.eval()
    assert loss(1) == loss(2)


def test_initialisation_matches_the_published_code() -> None:
    model = small_model()
    for name, parameter in model.named_parameters():
        if parameter.ndim == 2:
            assert float(parameter.detach().abs().max()) <= 0.4, name
        elif "norm" in name and name.endswith("weight"):
            assert bool((parameter == 1).all()), name
        else:
            assert bool((parameter == 0).all()), name
    qkv = model.bert.encoder[0].get_submodule("attention.qkv").get_parameter("weight")
    assert float(qkv.detach().std()) == pytest.approx(
        0.8796 * 0.2, rel=0.05
    )  # truncation at 2 deviations reduces the standard deviation


def test_decoder_is_tied_to_the_word_embedding() -> None:
    model = small_model()
    assert model.masked_lm.decoder.weight is model.bert.embeddings.word.weight
    assert "masked_lm.decoder.weight" not in dict(model.named_parameters())


def test_decoder_bias_starts_at_the_unigram_distribution() -> None:
    model = small_model()
    counts = torch.arange(VOCABULARY)
    model.set_decoder_bias(counts)
    torch.testing.assert_close(model.masked_lm.decoder.bias.exp(), (counts + 1) / (counts + 1).sum())


def test_bf16_stays_near_fp32() -> None:
    model, batch = small_model(), random_batch(7, rows=6)
    exact = model(batch)
    exact_gradients = gradients(model, exact[0] + exact[1])
    half = model.to(torch.bfloat16)
    rough = half(batch)
    assert rough[0].item() == pytest.approx(exact[0].item(), rel=1e-2)
    for name, gradient in gradients(half, rough[0] + rough[1]).items():
        assert gradient.dtype == torch.bfloat16
        error = (gradient.float() - exact_gradients[name]).norm() / exact_gradients[name].norm().clamp(min=1e-3)
        assert float(error) < 0.1, name
