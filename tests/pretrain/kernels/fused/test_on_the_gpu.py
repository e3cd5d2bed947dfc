"""Tests that need a GPU: flash attention, no synchronisation with the host, offsets beyond 2**31, a captured graph."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor

from pretrain.kernels import attention
from pretrain.kernels.attention import RowLayout
from pretrain.kernels.dispatch import Kernels, choose_kernels
from pretrain.kernels.dropout import Dropout
from pretrain.kernels.fused.add_norm import add_norm
from pretrain.kernels.fused.gelu import bias_gelu
from pretrain.kernels.lamb import LambState, LambStep, Segments, trust_ratio
from tests.pretrain.kernels.near import (
    DEVICE,
    assert_near,
    assert_same_gradients,
    leaf_copies,
    random_gradient,
    random_tensors,
)
from tests.pretrain.kernels.test_attention import layout_of, row_by_row

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
ROWS, WIDTH, WORDS = 256, 64, 1000


@pytest.fixture
def sync_debug_mode() -> Iterator[Callable[[str], None]]:
    yield torch.cuda.set_sync_debug_mode
    torch.cuda.set_sync_debug_mode("default")


def encoder(kernels: Kernels, weights: list[Tensor], ids: Tensor, layout: RowLayout, seed: Tensor) -> Tensor:
    """Run every operation of a forward pass once; return the loss sum."""
    word, square, decoder, vector, bias = weights
    hidden = kernels.embed(
        ids, ids % 7, ids % 2, word, word[:7], word[:2], vector, vector, 1e-12, Dropout(0.1, seed, 0)
    )
    qkv = torch.cat([hidden, hidden, hidden], dim=1).view(ROWS, 3, 1, WIDTH)
    mixed = kernels.attend(qkv, layout, Dropout(0.1, seed, 1)).view(ROWS, WIDTH)
    hidden = kernels.add_norm(mixed @ square, vector, hidden, vector, vector, 1e-12, Dropout(0.1, seed, 2))
    hidden = kernels.bias_gelu(hidden @ square, vector)
    masked = kernels.gather_rows(hidden, torch.arange(0, ROWS, 5, device=DEVICE))
    return kernels.masked_lm(masked, decoder, bias, ids[::5]).loss


def encoder_inputs() -> tuple[list[Tensor], Tensor, RowLayout, Tensor]:
    shapes: list[tuple[int, ...]] = [(WORDS, WIDTH), (WIDTH, WIDTH), (WORDS, WIDTH), (WIDTH,), (WORDS,)]
    ids = torch.randint(WORDS, (ROWS,), generator=torch.Generator().manual_seed(1)).to(DEVICE)
    layout = RowLayout(torch.tensor([0, 100, ROWS], dtype=torch.int32, device=DEVICE), ROWS, 156)
    return random_tensors(shapes, torch.bfloat16, 2), ids, layout, torch.tensor(5, device=DEVICE)


def test_operations_do_not_synchronise(sync_debug_mode: Callable[[str], None]) -> None:
    kernels = choose_kernels("cuda", "triton")
    weights, ids, layout, seed = encoder_inputs()
    state = LambState(*(torch.rand(5000, device=DEVICE) for _ in range(3)))
    segments, step = Segments([0, 10, 5000], DEVICE), LambStep(1, 0.01, 0.9, 0.999, 1e-6, 0.01)
    for mode in ("default", "error"):  # the first run compiles
        sync_debug_mode(mode)
        encoder(kernels, weights, ids, layout, seed).backward()  # type: ignore[no-untyped-call]
        seed.fill_(6)
        squares = kernels.lamb_moments(state, state.master, segments, step)
        kernels.lamb_update(state, trust_ratio(squares), segments, step)


def test_captured_graph_uses_the_seed_of_each_replay() -> None:
    seed = torch.tensor(5, device=DEVICE)
    graph = torch.cuda.CUDAGraph()
    ones = torch.ones(ROWS, WIDTH, device=DEVICE)
    vector = torch.ones(WIDTH, device=DEVICE)
    add_norm(ones, vector, ones, vector, vector, 1e-12, Dropout(0.5, seed, 1))  # compiles
    with torch.cuda.graph(graph), torch.no_grad():
        captured = add_norm(ones, vector, ones, vector, vector, 1e-12, Dropout(0.5, seed, 1))
    results = []
    for value in (8, 9, 8):
        seed.fill_(value)
        graph.replay()
        results.append(captured.clone())
        assert torch.equal(captured, add_norm(ones, vector, ones, vector, vector, 1e-12, Dropout(0.5, seed, 1)))
    assert torch.equal(results[0], results[2])
    assert not torch.equal(results[0], results[1])


def test_offsets_beyond_31_bits() -> None:
    width = 1024
    rows = (1 << 31) // width + 8
    free, _ = torch.cuda.mem_get_info()
    if free < 7 * rows * width * 2:
        pytest.skip("needs about 30 GiB of GPU memory")
    x = torch.zeros(rows, width, dtype=torch.bfloat16, device=DEVICE)
    x[-8:] = torch.randn(8, width, device=DEVICE)
    x.requires_grad_()
    tail = x.detach()[-8:].clone().requires_grad_()
    ones = torch.ones(width, dtype=torch.bfloat16, device=DEVICE)
    for result, expected in (
        (bias_gelu(x, ones), bias_gelu(tail, ones)),
        (add_norm(x, ones, x, ones, ones, 1e-12), add_norm(tail, ones, tail, ones, ones, 1e-12)),
    ):
        assert torch.equal(result[-8:], expected)
        (grad,) = torch.autograd.grad(result, [x], torch.ones_like(result))
        (expected_grad,) = torch.autograd.grad(expected, [tail], torch.ones_like(expected))
        assert torch.equal(grad[-8:], expected_grad)
        del result, grad


@pytest.mark.parametrize("is_causal", [False, True])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_flash_attention_matches_plain_attention(dtype: torch.dtype, is_causal: bool) -> None:
    lengths = [128, 1, 77, 128]
    (qkv,) = random_tensors([(sum(lengths), 3, 4, 64)], dtype, 5)
    (copy,) = leaf_copies([qkv])
    actual = attention.attend(qkv, layout_of(lengths, is_causal=is_causal))
    expected = row_by_row(copy, lengths, is_causal=is_causal)
    assert_near(actual, expected, dtype)
    gradient = random_gradient(expected, 5)
    torch.autograd.backward([actual, expected], [gradient.to(dtype), gradient])
    assert_same_gradients([qkv], [copy], dtype)


@pytest.mark.parametrize("is_causal", [False, True])
@pytest.mark.parametrize("reach", [1, 16, 64])
def test_flash_attention_with_a_window_matches_the_reference(reach: int, is_causal: bool) -> None:
    lengths = [300, 1, 77, 128]
    (qkv,) = random_tensors([(sum(lengths), 3, 4, 64)], torch.bfloat16, 5)
    (copy,) = leaf_copies([qkv])
    layout = layout_of(lengths, is_causal=is_causal)
    actual, expected = attention.attend_locally(qkv, layout, reach), attention.attend_in_window(copy, layout, reach)
    assert_near(actual, expected, torch.bfloat16)
    gradient = random_gradient(expected, 5)
    torch.autograd.backward([actual, expected], [gradient.to(torch.bfloat16), gradient])
    assert_same_gradients([qkv], [copy], torch.bfloat16)


def test_flash_attention_dropout_share_and_repeatability() -> None:
    layout = layout_of([512] * 4)
    qkv = torch.zeros(2048, 3, 4, 64, dtype=torch.bfloat16, device=DEVICE)
    qkv[:, 2] = 1.0  # each result is then the scaled kept share of 512 uniform attention weights
    dropout = Dropout(0.1, torch.tensor(11, device=DEVICE), 3)
    results = []
    for _ in range(2):
        torch.manual_seed(3)
        results.append(attention.attend(qkv, layout, dropout))
    assert torch.equal(*results)
    assert abs(float(results[0].double().mean()) - 1) < 0.005
    assert 0.005 < float(results[0].double().std()) < 0.03  # sqrt(0.1 / 0.9 / 512) is 0.0147, and bf16 adds a little
