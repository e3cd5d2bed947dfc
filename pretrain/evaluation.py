"""Evaluate a model on the held-out split, and compare it with the token frequencies alone (the unigram loss)."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.distributed

from configs.schema import TrainConfig
from pretrain.data import Dataset, HeldOut
from pretrain.engine import Engine, LossSums, beat, is_true_on_any_rank
from pretrain.telemetry import Evaluation


class EvaluationStopped(Exception):  # noqa: N818 (a request, not an error)
    """Someone asked the run to stop during an evaluation, which was broken off on all ranks."""


class Evaluator:
    """Evaluates an engine's model on the first `evaluate_rows` held-out rows. Every rank must call it."""

    def __init__(self, dataset: Dataset, train: TrainConfig, engine: Engine) -> None:
        self.engine = engine
        self.objective = dataset.manifest.objective
        self.held_out = HeldOut(
            dataset,
            max_rows=train.evaluate_rows,
            rank=engine.world.rank,
            world_size=engine.world.world_size,
            micro_batch_size=train.micro_batch_size,
        )
        for _ in self.held_out.check():  # at the start: damage must not show after the last step
            beat()
        counts = torch.tensor(dataset.manifest.statistics.token_counts, dtype=torch.float64) + 1.0  # add-one smoothing
        self.unigram = (counts / counts.sum()).log().to(engine.world.device)

    @torch.no_grad()
    def evaluate(self, step: int, is_stop_requested: Callable[[], bool]) -> Evaluation | None:
        """Evaluate the model after `step`; return None if the data set has no held-out rows. Deterministic.

        Raises `EvaluationStopped` on all ranks if a rank is asked to stop.
        """
        if not self.held_out.rows:
            return None
        device, model = self.engine.world.device, self.engine.module
        sums, masked_tokens = LossSums(device, self.objective), 0
        unigram = torch.zeros((), dtype=torch.float64, device=device)
        model.eval()
        for batches in self.held_out.steps():
            if is_true_on_any_rank(is_stop_requested()):
                model.train()
                raise EvaluationStopped
            masked_tokens += batches.masked_tokens
            for host_batch in batches.batches:
                beat()
                batch = host_batch.to(device)
                sums.add(self.engine.forward(batch))
                unigram -= self.unigram[batch.masked_ids].sum()
        model.train()
        means = sums.over_all_ranks(masked_tokens, self.held_out.rows)
        torch.distributed.all_reduce(unigram)
        return Evaluation(
            step=step,
            rows=self.held_out.rows,
            masked_tokens=masked_tokens,
            mlm_loss=means.mlm_loss,
            mlm_accuracy=means.mlm_accuracy,
            nsp_loss=means.nsp_loss,
            nsp_accuracy=means.nsp_accuracy,
            unigram_loss=unigram.item() / max(1, masked_tokens),
        )
