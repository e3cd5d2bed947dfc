"""Filler rows: the shapes that they make, and that they change neither loss nor gradients."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
import torch
from hypothesis import given, strategies as st
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from configs.schema import ModelConfig
from pretrain.model.batch import NO_ID, Batch, padded
from pretrain.model.padding import Padding
from pretrain.model.pretraining import BertForPreTraining
from tests.pretrain.batches import random_batch

VOCABULARY, CLS, SEP = 50, 2, 3
aten = torch.ops.aten


class InOrder(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch has no types
    """Adds the terms of products and sums one after another, in fp32.

    A library adds them in an order that depends on their number, so that more terms, even zeros, change the last bit.
    """

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if function in (aten.mm.default, aten.bmm.default):
            return product(*args)
        if function is aten.mm.out:
            return kwargs["out"].copy_(product(*args))
        if function in (aten.addmm.default, aten.baddbmm.default):
            added, left, right = args
            return added * kwargs.get("beta", 1) + product(left, right) * kwargs.get("alpha", 1)
        if function is aten.sum.default:
            return total(args[0].flatten())
        if function is aten.sum.dim_IntList and args[1] == [0]:
            return total(args[0]).to(kwargs.get("dtype") or args[0].dtype)
        return function(*args, **kwargs)


def product(left: Tensor, right: Tensor) -> Tensor:
    result = left.new_zeros(*left.shape[:-1], right.shape[-1], dtype=torch.float32)
    for place in range(left.shape[-1]):
        result += left[..., place, None].float() * right[..., place, None, :].float()
    return result.to(left.dtype)


def total(terms: Tensor) -> Tensor:
    result = torch.zeros_like(terms[0], dtype=torch.promote_types(terms.dtype, torch.float32))
    for term in terms:
        result += term
    return result.to(terms.dtype)


@given(tokens=st.integers(2, 3_000), share=st.floats(0, 0.3), multiple=st.integers(1, 600), longest=st.integers(2, 300))
def test_padded_sizes_are_multiples_and_leave_room_for_filler(
    tokens: int, share: float, multiple: int, longest: int
) -> None:
    padding, masked = Padding(multiple, longest), int(share * tokens)
    all_tokens, all_masked = padding.sizes(tokens, masked)
    assert all_tokens % multiple == all_masked % padding.masked_multiple == 0
    filler = all_tokens - tokens
    assert padding.rows <= filler <= padding.rows * max(longest // 2, 2)
    assert 0 <= all_masked - masked <= filler - padding.rows
    if multiple == 1:
        assert (all_tokens, all_masked) == (tokens, masked)


@pytest.mark.parametrize("multiple", [16, 64, 256])
def test_filler_rows_follow_the_own_rows_and_have_no_labels(multiple: int) -> None:
    batch, padding = random_batch(1, rows=6), Padding(multiple, 24)
    filled = padded(batch, padding, CLS, SEP)
    own, own_masked = len(batch.input_ids), len(batch.masked_ids)
    for name in ("input_ids", "token_type_ids", "position_ids"):
        assert torch.equal(getattr(filled, name)[:own], getattr(batch, name))
        assert len(getattr(filled, name)) % multiple == 0
    assert torch.equal(filled.masked_positions[:own_masked], batch.masked_positions)
    assert torch.equal(filled.masked_ids[:own_masked], batch.masked_ids)
    assert torch.equal(filled.next_sentence_label, batch.next_sentence_label)
    assert len(filled) == len(batch)
    assert (filled.masked_ids[own_masked:] == NO_ID).all()
    offsets = filled.offsets.tolist()
    assert offsets[: len(batch) + 1] == batch.offsets.tolist()
    assert offsets[-1] == len(filled.input_ids)
    assert len(offsets) == len(batch) + 1 + padding.rows
    for begin, end in pairwise(offsets[len(batch) :]):
        assert 1 <= end - begin <= 12
        assert filled.input_ids[begin:end].tolist() == [CLS] + [SEP] * (end - begin - 1)
        assert filled.position_ids[begin:end].tolist() == list(range(end - begin))
    places = filled.masked_positions[own_masked:].tolist()
    assert len(set(places)) == len(places)
    assert not set(places) & set(offsets)


def test_nothing_is_added_by_default() -> None:
    batch = random_batch(1, rows=3)
    assert padded(batch, Padding(), CLS, SEP) is batch


def model_of(form: str, dtype: torch.dtype) -> BertForPreTraining:
    torch.manual_seed(0)
    shape = {
        "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24,
        "max_position_embeddings": 32, "hidden_dropout_prob": 0.1, "attention_probs_dropout_prob": 0.1,
    }  # fmt: skip
    forms: dict[str, dict[str, Any]] = {
        "modernbert": {"architecture": "modernbert", "local_attention": 8},
        "left_to_right": {"attention": "left_to_right"},
    }
    config = ModelConfig.model_validate(shape | forms.get(form, {"norm": form}))
    return BertForPreTraining(config, VOCABULARY, "none" if config.is_modern or config.is_left_to_right else "nsp").to(
        dtype
    )


def losses_and_gradients(model: BertForPreTraining, batch: Batch) -> list[Tensor]:
    model.zero_grad()
    torch.manual_seed(5)  # of dropout
    with InOrder():  # type: ignore[no-untyped-call]  # torch has no types
        outputs = model(batch)
        (outputs[0] / 7 + outputs[1] / 3).backward()
    gradients = [parameter.grad for parameter in model.parameters()]
    return [*outputs, *(gradient for gradient in gradients if gradient is not None)]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("form", ["post", "pre", "modernbert", "left_to_right"])
def test_loss_and_gradients_are_the_same_to_the_bit(form: str, dtype: torch.dtype) -> None:
    model, batch = model_of(form, dtype), random_batch(3, rows=5)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        plain = losses_and_gradients(model, batch)
        assert len(plain) == 4 + len(list(model.parameters()))
        for multiple in (16, 64):
            filled = losses_and_gradients(model, padded(batch, Padding(multiple, 24), CLS, SEP))
            assert [torch.equal(one, other) for one, other in zip(plain, filled, strict=True)] == [True] * len(plain)
    finally:
        torch.set_num_threads(threads)
