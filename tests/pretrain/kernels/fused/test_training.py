"""BERT and ModernBERT trained with the kernels and with their references, with dropout, has the same losses.

The masks are bitwise equal, so that the two differ by rounding only.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch

from configs.schema import ModelConfig
from pretrain.kernels.dispatch import Backend
from pretrain.model.pretraining import BertForPreTraining
from tests.pretrain.batches import random_batch
from tests.pretrain.kernels.near import DEVICE

ON_GPU = DEVICE.type == "cuda"
# No attention dropout on a GPU: flash attention draws its own mask.
BACKENDS: tuple[Backend, Backend] = ("triton", "reference")
SIZES: dict[str, Any] = {
    "hidden_size": 256 if ON_GPU else 16,
    "num_hidden_layers": 4 if ON_GPU else 1,
    "num_attention_heads": 4 if ON_GPU else 2,
    "intermediate_size": 1024 if ON_GPU else 32,
    "max_position_embeddings": 128 if ON_GPU else 16,
    "attention_probs_dropout_prob": 0.0 if ON_GPU else 0.1,
}
MODERN: dict[str, Any] = {
    "architecture": "modernbert",
    "num_hidden_layers": 4 if ON_GPU else 2,
    "local_attention": 32 if ON_GPU else 6,
    "layer_norm_eps": 1e-5,
}
ROWS = 16 if ON_GPU else 3
VOCABULARY = 1000 if ON_GPU else 50


def losses(backend: Backend, dtype: torch.dtype, steps: int, changes: dict[str, Any]) -> list[float]:
    """Return the losses of AdamW steps on fp32 master weights, as in training, always on the same batch."""
    torch.manual_seed(0)
    config = ModelConfig.model_validate(SIZES | changes)
    model = BertForPreTraining(config, VOCABULARY, "none" if config.is_modern else "nsp").to(DEVICE)
    model.bert.backend = backend
    masters = [parameter.detach().clone() for parameter in model.parameters()]
    model.to(dtype)
    optimizer = torch.optim.AdamW(masters, lr=1e-3, fused=True)
    batch = random_batch(1, ROWS, vocabulary_size=VOCABULARY, max_seq_length=SIZES["max_position_embeddings"]).to(
        DEVICE
    )
    history = []
    for step in range(steps):
        torch.manual_seed(step)
        mlm_loss, nsp_loss, *_ = model(batch)
        loss = mlm_loss / len(batch.masked_ids) + nsp_loss / len(batch)
        loss.backward()
        for master, parameter in zip(masters, model.parameters(), strict=True):
            assert parameter.grad is not None
            master.grad, parameter.grad = parameter.grad.to(master.dtype), None
        optimizer.step()
        with torch.no_grad():
            for master, parameter in zip(masters, model.parameters(), strict=True):
                parameter.copy_(master)
        history.append(float(loss.detach()))
    return history


@pytest.mark.parametrize("steps", [2, pytest.param(20, marks=pytest.mark.slow)])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.bfloat16, 1e-3)])
@pytest.mark.parametrize("changes", [{}, MODERN], ids=["bert", "modernbert"])
def test_losses_match_between_kernels_and_references(
    changes: dict[str, Any], dtype: torch.dtype, tolerance: float, steps: int
) -> None:
    fused, plain = (losses(backend, dtype, steps, changes) for backend in BACKENDS)
    assert fused == pytest.approx(plain, rel=tolerance)
    assert plain[-1] < plain[0]
