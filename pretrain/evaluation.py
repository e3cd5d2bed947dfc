"""Evaluate a model on the held-out split, and compare it with the token frequencies alone (the unigram loss)."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence

import torch
import torch.distributed

from configs.errors import UserError
from configs.schema import Recipe
from pretrain.data import Dataset, HeldOut, held_out_by_corpus
from pretrain.engine import Engine, LossSums, beat, is_true_on_any_rank
from pretrain.model import Batch, BertForPreTraining
from pretrain.telemetry import Evaluation, predictions_table

log = logging.getLogger(__name__)


class EvaluationStopped(Exception):  # noqa: N818 (a request, not an error)
    """Someone asked the run to stop during an evaluation, which was broken off on all ranks."""


class Evaluator:
    """Evaluates an engine's model on `evaluate_rows` held-out rows, by corpus. Every rank must call it."""

    def __init__(self, dataset: Dataset, recipe: Recipe, engine: Engine) -> None:
        self.engine = engine
        self.dataset = dataset
        self._first: Batch | None = None  # micro-batch of the last evaluation, on this rank
        self.objective = recipe.model.objective_of(dataset.manifest.objective)
        self.held_out = {
            corpus: HeldOut(
                dataset,
                shards,
                max_rows=rows,
                rank=engine.world.rank,
                world_size=engine.world.world_size,
                micro_batch_size=recipe.train.micro_batch_size,
                micro_batch_tokens=recipe.train.micro_batch_tokens,
                predicts_next=recipe.model.is_left_to_right,
            )
            for corpus, (shards, rows) in held_out_by_corpus(dataset.manifest, recipe.train.evaluate_rows).items()
            if rows
        }
        for part in self.held_out.values():
            for _ in part.check():  # at the start: damage must not show after the last step
                beat()
        counts = torch.tensor(dataset.manifest.statistics.token_counts, dtype=torch.float64) + 1.0  # add-one smoothing
        self.unigram = (counts / counts.sum()).log().to(engine.world.device)

    @torch.no_grad()
    def evaluate(self, step: int, is_stop_requested: Callable[[], bool]) -> Evaluation | None:
        """Evaluate the model after `step`; return None if the data set has no held-out rows. Deterministic.

        Raises `EvaluationStopped` on all ranks if a rank is asked to stop.
        """
        if not self.held_out:
            return None
        model = self.engine.module
        model.eval()
        try:
            parts = {corpus: self._evaluate(part, step, is_stop_requested) for corpus, part in self.held_out.items()}
        finally:
            model.train()
        return _over_all(parts)

    def predictions(self) -> str:
        """Return a table of predictions for the first held-out rows; empty at stage 3, where no rank has all weights.

        Any rank can call it alone, after `evaluate`.
        """
        model = self.engine.module
        if self._first is None or self.engine.zero_stage == 3:
            return ""
        assert isinstance(model, BertForPreTraining)
        model.eval()
        try:
            return predictions_table(model, self._first, self.dataset.vocabulary().pieces)
        except (UserError, OSError, RuntimeError) as error:  # no vocabulary to read, or no memory
            log.warning("no predictions are shown: %s", error)
            return ""
        finally:
            model.train()

    def _evaluate(self, held_out: HeldOut, step: int, is_stop_requested: Callable[[], bool]) -> Evaluation:
        device = self.engine.world.device
        sums, masked_tokens = LossSums(device, self.objective), 0
        unigram = torch.zeros((), dtype=torch.float64, device=device)
        for batches in held_out.steps():
            if is_true_on_any_rank(is_stop_requested()):
                raise EvaluationStopped
            masked_tokens += batches.masked_tokens
            for host_batch in batches.batches:
                beat()
                batch = host_batch.to(device)
                self._first = self._first or batch
                sums.add(self.engine.forward(batch))
                unigram -= self.unigram[batch.masked_ids].sum()
        means = sums.over_all_ranks(masked_tokens, held_out.rows)
        torch.distributed.all_reduce(unigram)
        return Evaluation(
            step=step,
            rows=held_out.rows,
            masked_tokens=masked_tokens,
            mlm_loss=means.mlm_loss,
            mlm_accuracy=means.mlm_accuracy,
            nsp_loss=means.nsp_loss,
            nsp_accuracy=means.nsp_accuracy,
            unigram_loss=unigram.item() / max(1, masked_tokens),
        )


def _over_all(parts: Mapping[int, Evaluation]) -> Evaluation:
    """Return the means over all corpora: of masked tokens, and of rows for the sentence objective."""
    first, *others = parts.values()
    if not others:
        return first
    masked = [part.masked_tokens for part in parts.values()]
    rows = [part.rows for part in parts.values()]

    def mean(name: str, weights: Sequence[int]) -> float:
        values = (getattr(part, name) * weight for part, weight in zip(parts.values(), weights, strict=True))
        return float(sum(values)) / max(1, sum(weights))

    has_nsp = first.nsp_loss is not None
    return Evaluation(
        step=first.step,
        rows=sum(rows),
        masked_tokens=sum(masked),
        mlm_loss=mean("mlm_loss", masked),
        mlm_accuracy=mean("mlm_accuracy", masked),
        nsp_loss=mean("nsp_loss", rows) if has_nsp else None,
        nsp_accuracy=mean("nsp_accuracy", rows) if has_nsp else None,
        unigram_loss=mean("unigram_loss", masked),
        by_corpus=dict(parts),
    )
