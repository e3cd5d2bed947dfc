"""The peak of the bytes that PyTorch allocates in a training step, on a CPU."""

from __future__ import annotations

import gc
from typing import Any

import torch
from torch._C._profiler import _EventType
from torch.profiler import ProfilerActivity, profile

from configs.recipe import load_recipe
from configs.schema import Recipe
from pretrain.engine.engine import Engine
from pretrain.model.batch import Batch
from pretrain.model.pretraining import BertForPreTraining

ROWS, LENGTH, MASKED, VOCABULARY = 8, 128, 20, 2048


def recipe_of(precision: str, optimizer: str, stage: int, recomputes: bool) -> Recipe:
    fields = [
        f"data.max_seq_length={LENGTH}", f"data.max_predictions_per_seq={MASKED}", "model.hidden_size=128",
        "model.num_hidden_layers=6", "model.num_attention_heads=2", "model.intermediate_size=512",
        f"model.max_position_embeddings={LENGTH}", "model.hidden_dropout_prob=0.1",
        "model.attention_probs_dropout_prob=0.1", f"train.precision={precision}", f"train.zero_stage={stage}",
        f"optimizer.name={optimizer}", f"train.activation_checkpointing={str(recomputes).lower()}",
    ]  # fmt: skip
    return load_recipe("demo", fields)


def peak_bytes(recipe: Recipe, world: Any) -> int:
    """Return the peak of allocated bytes during two steps with two micro-steps each."""
    gc.collect()  # objects of an earlier engine, freed during the measurement, would distort it
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True, acc_events=True) as profiler:
        model = BertForPreTraining(recipe.model, VOCABULARY, "nsp")
        model.bert.checkpoint_activations = recipe.train.activation_checkpointing
        engine = Engine(model, recipe.optimizer, recipe.train, world)
        del model
        for _ in range(2):
            for last in (False, True):
                mlm_loss, nsp_loss, *_ = engine.forward(full_rows())
                engine.backward((mlm_loss + nsp_loss) * 1e-6, last=last)
            engine.step(1e-4)
    return peak_of(profiler.profiler.kineto_results.experimental_event_tree())


def peak_of(events: list[Any]) -> int:
    """Return the peak, tracked by address: frees by gloo's threads only show when the address is reused."""
    changes, found = [], list(events)
    while found:
        event = found.pop()
        found += event.children
        if event.tag == _EventType.Allocation:
            changes.append((event.start_time_ns, event.extra_fields.ptr, event.extra_fields.alloc_size))
    live: dict[int, int] = {}
    total = peak = 0
    for _, address, size in sorted(changes):
        total -= live.pop(address, 0)
        if size > 0:
            live[address] = size
            total += size
        peak = max(peak, total)
    return peak


def full_rows() -> Batch:
    return Batch(
        input_ids=torch.randint(5, VOCABULARY, (ROWS * LENGTH,)),
        token_type_ids=torch.zeros(ROWS * LENGTH, dtype=torch.long),
        position_ids=torch.arange(LENGTH).repeat(ROWS),
        offsets=torch.arange(0, ROWS * LENGTH + 1, LENGTH, dtype=torch.int32),
        max_length=LENGTH,
        masked_positions=(torch.arange(ROWS)[:, None] * LENGTH + torch.arange(MASKED)).view(-1),
        masked_ids=torch.randint(5, VOCABULARY, (ROWS * MASKED,)),
        next_sentence_label=torch.zeros(ROWS, dtype=torch.long),
    )
