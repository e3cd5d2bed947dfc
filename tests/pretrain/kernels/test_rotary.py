from __future__ import annotations

import torch
from torch.nn import functional as F

from pretrain.kernels.attention import rotate, rotation_of
from pretrain.kernels.geglu import geglu
from tests.pretrain.kernels.near import random_tensors


def test_gradients_match_finite_differences() -> None:
    qkv, inner = (
        tensor.detach().cpu().requires_grad_() for tensor in random_tensors([(4, 3, 2, 6), (5, 8)], torch.float64, 3)
    )
    rotation = rotation_of(torch.tensor([0, 1, 900, 2]), 10_000.0, 6)
    assert torch.autograd.gradcheck(lambda some: rotate(some, rotation), (qkv,))
    assert torch.autograd.gradcheck(geglu, (inner,))


def test_each_plane_turns_by_its_angle() -> None:
    qkv = torch.zeros(2, 3, 1, 4, dtype=torch.float64)
    qkv[:, :, 0, 0] = qkv[:, :, 0, 1] = 1.0  # the first vector of plane 0 and of plane 1
    turned = rotate(qkv, rotation_of(torch.tensor([0, 5]), 100.0, 4))
    assert torch.equal(turned[0], qkv[0])
    angles = torch.tensor([5.0, 5.0 / 10.0], dtype=torch.float64)  # base ** -(0/4) and base ** -(2/4)
    expected = torch.cat([angles.cos(), angles.sin()])
    for part in (0, 1):
        torch.testing.assert_close(turned[1, part, 0], expected, rtol=0, atol=1e-6)
    assert torch.equal(turned[1, 2], qkv[1, 2])  # values


def test_scores_depend_on_the_distance_alone() -> None:
    (qkv,) = (tensor.detach().cpu() for tensor in random_tensors([(1, 3, 2, 8)], torch.float64, 4))
    many = qkv.expand(3, -1, -1, -1)
    turned = rotate(many.contiguous(), rotation_of(torch.tensor([3, 10, 17]), 10_000.0, 8))
    near, far = ((turned[a, 0] * turned[b, 1]).sum(-1) for a, b in ((0, 1), (1, 2)))
    torch.testing.assert_close(near, far, rtol=0, atol=1e-5)


def test_values_are_rounded_once_in_bf16() -> None:
    (qkv,) = (tensor.detach().cpu() for tensor in random_tensors([(6, 3, 2, 8)], torch.bfloat16, 4))
    rotation = rotation_of(torch.arange(6), 10_000.0, 8)
    assert torch.equal(rotate(qkv, rotation), rotate(qkv.float(), rotation).bfloat16())


def test_geglu_gates_the_first_half() -> None:
    (inner,) = (tensor.detach().cpu() for tensor in random_tensors([(5, 8)], torch.float64, 4))
    torch.testing.assert_close(geglu(inner), F.gelu(inner[:, :4]) * inner[:, 4:])
