"""The training loop, readable from top to bottom.

A step takes the next rows of the global order, which are dealt to ranks and micro-batches. It sums the losses over all
of them, divided by the *global* counts of masked tokens and of rows, and makes one optimizer step. To resume, a
checkpoint is sufficient: the cursor determines the rows, and (seed, step, micro-step, rank) determines dropout.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, closing, nullcontext
from pathlib import Path

import torch
from pydantic import ValidationError

from configs.errors import UserError
from configs.files import explain_write_errors
from configs.recipe import resolved_toml
from configs.run_layout import CHECKPOINTS, METRICS, RECIPE, TENSORBOARD, step_of
from configs.schema import Recipe
from preprocessing.dataset import Manifest
from pretrain.checkpoint import (
    Cadence,
    Ownership,
    Saver,
    Superseded,
    TrainingState,
    changes_since,
    check_model,
    find_checkpoint,
    has_checkpoint,
    load_checkpoint,
    set_aside_after,
    take_records,
)
from pretrain.data import Loader, Step, keep_data, keep_recipe, open_data, with_range
from pretrain.engine import (
    Engine,
    LossSums,
    World,
    any_flag_and_first_values,
    batch_sizes,
    beat,
    early_end_warning,
    is_over,
    is_true_on_any_rank,
    last_step_at,
    learning_rate_at,
    learning_rate_jump,
    seed_everything,
    seed_for,
)
from pretrain.evaluation import EvaluationStopped, Evaluator
from pretrain.faults import Faults, TooManySkippedSteps, explain, fault_of
from pretrain.garbage import collected_between_steps
from pretrain.huggingface import load_pretrained
from pretrain.model import BertForPreTraining
from pretrain.stop import StopRequest
from pretrain.telemetry import (
    Evaluation,
    Fault,
    Histograms,
    MetricsLog,
    Profiler,
    StepMetrics,
    Stragglers,
    Throughput,
    describe_run,
    word_vectors,
    write_projector,
)

log = logging.getLogger(__name__)
STEPS_FOR_PACE = 4  # of a start, after which its speed is known well enough for a warning


class Trainer:
    """One rank of a run: `train` the run, or `evaluate` a checkpoint."""

    def __init__(
        self, run: Path, recipe: Recipe, world: World, stop: StopRequest, owner: Ownership | None = None
    ) -> None:
        self.run = run
        self.owner = owner or Ownership(run, 0)
        self.recipe = recipe
        self.world = world
        self.stop = stop
        self.steps_made = 0  # in this start
        self.step_began_s = 0.0  # training time at the start of the step
        self.data = open_data(self.recipe)
        self.recipe = self.data.settled(self.recipe)
        self.manifest = self.data.main.manifest
        self.objective = self.recipe.model.objective_of(self.manifest.objective)
        self.throughput = Throughput(self.recipe.model, self.manifest, world)
        self.profiler = Profiler(run, self.recipe.train.profile_steps, world)
        beat()
        train = self.recipe.train.model_copy(update={"zero_stage": self.recipe.train.stage_on(world.world_size)})
        self.engine = Engine(self._first_model(), self.recipe.optimizer, train, world)
        beat()
        self.evaluator = Evaluator(self.data.main, self.recipe, self.engine)
        self.loader = self._loader()
        self.histograms = Histograms(self.engine, train.histogram_every_steps)
        self.stragglers = Stragglers(world.device, train.zero_stage)
        self.faults = Faults(self.recipe.train.max_skipped_steps)
        keep = self.recipe.checkpoint
        self.saver = Saver(self.engine, self.owner, keep.keep, keep.keep_every_steps)
        self.cadence = Cadence(keep, world.world_size)
        self._is_save_overdue = False  # rank 0's answer, equal on all ranks
        self.saved_step = -1  # of the newest checkpoint of this start
        self.step_limit_s = math.inf  # the first step belongs to the start: it compiles

    def train(self, resume: str) -> bool:
        """Train to the last step or the end of the budget, evaluate, and save.

        Returns False if training was stopped on request, with a checkpoint.
        """
        state = self._restore(resume)
        if self.world.rank == 0:
            keep_recipe(self.run, self.recipe)
            keep_data(self.run, self.data.main)
        while True:
            try:
                with self.throughput.sensors.errors_named():
                    is_finished = self._train_from(state)
            except TooManySkippedSteps as cause:
                state = self._roll_back(cause)
            else:
                if is_finished:
                    self._write_word_vectors()
                return is_finished

    def _train_from(self, state: TrainingState) -> bool:
        steps = self.loader.steps(state.cursor, self._batch_sizes(state), state.skipped)
        with self._open_metrics(state) as metrics_log, closing(steps), collected_between_steps() as collect:
            self._greet(metrics_log, state)
            if not self._make_up_evaluation(state, metrics_log):
                return False
            self.throughput.start(state.time_s)
            self.step_began_s = state.time_s
            for step in steps:
                self.throughput.rows_arrived()
                with self.profiler.step(state.step + 1, self.throughput):
                    state, metrics = self._train_step(state, step)
                stop, time_s = self._agree(metrics.time_s)
                state = self._timed(state, time_s, step)
                if metrics_log:
                    metrics_log.write_step(metrics)
                    for line in self.profiler.news():
                        metrics_log.say(line)
                self._write_histograms(state, metrics_log)
                self.faults.note(state.step, step, lost=metrics.skipped and metrics.fault is not Fault.LOSS_SCALE_FELL)
                stopping = stop and not self._is_over(state)
                is_last = stopping or self._is_over(state)
                if is_last:
                    self._expect(self._save(state, metrics_log), state)
                elif self._is_save_due(state):
                    self._begin_save(state, metrics_log, in_background=self.recipe.checkpoint.in_background)
                self._complete_save(metrics_log, wait=False)
                # The save of the step is written meanwhile. A stop request breaks the evaluation off.
                if not stopping and not self._evaluate_when_due(state, metrics_log):
                    self._complete_save(metrics_log, wait=True)
                    self._expect(self.saved_step == state.step or self._save(state, metrics_log), state)
                    return False
                self.step_limit_s = self.recipe.cluster.step_timeout_s
                collect(self.steps_made)
                if is_last:
                    return not stopping
        return True

    def _timed(self, state: TrainingState, time_s: float, step: Step) -> TrainingState:
        """Return the state after a step with the training time, and warn of a budget that ends before the warmup."""
        self.steps_made += 1
        slow = {"slow_s": state.slow_s + time_s - self.step_began_s, "slow_rows": state.slow_rows + step.rows}
        state = state.model_copy(update={"time_s": time_s} | (slow if self.steps_made == 1 else {}))
        self.step_began_s = time_s
        ends_early = self.steps_made < STEPS_FOR_PACE and self._is_over(state)
        is_due = ends_early or self.steps_made == STEPS_FOR_PACE
        if is_due and self.recipe.train.budget_min and self.world.rank == 0:
            warning = early_end_warning(state.step if ends_early else self._last_step(state), self.recipe.optimizer)
            if warning:
                log.warning(warning)
        return state

    def _last_step(self, state: TrainingState) -> float:
        return last_step_at(state.step, state.time_s, self.recipe.train, state.slow_s, state.slow_rows)

    def _learning_rate(self, state: TrainingState) -> float:
        """Return the rate of the next step. Under a budget, whose end is estimated, it never rises after the warmup."""
        last_step, optimizer = self._last_step(state), self.recipe.optimizer
        rate = learning_rate_at(state.step + 1, optimizer, last_step)
        is_estimated = self.recipe.train.budget_min and state.step >= optimizer.warmup_of(last_step)
        return min(rate, state.learning_rate or rate) if is_estimated else rate

    def _agree(self, time_s: float) -> tuple[bool, float]:
        """Return, equal on all ranks, whether one of them was asked to stop, and rank 0's training time.

        Raises `Superseded` on all ranks before they commit anything if a newer start owns the run.
        """
        ours = (time_s, self.owner.superseded_by(), float(self.cadence.is_due()))
        stop, (time_s, newer, overdue) = any_flag_and_first_values(bool(self.stop), *ours)
        self._is_save_overdue = bool(overdue)
        if newer:
            raise Superseded(int(newer))
        return stop, time_s

    def evaluate(self, place: Path) -> Evaluation:
        """Evaluate the checkpoint `place`, or a run's newest valid one, on the held-out rows.

        A run without a checkpoint that starts from a pretrained model is evaluated as that model.
        """
        folder = find_checkpoint(place)
        if folder is None and (place != self.run or not self.recipe.train.initialise_from):
            fix = f"train the run first: `bertrain train {self.run}`"
            raise UserError("no checkpoint yet", place=str(place), fix=fix)
        step = load_checkpoint(folder, self.engine).step if folder else 0
        evaluation = self.evaluator.evaluate(step, self.stop.__bool__)
        if evaluation is None:
            fix = "prepare it with a larger data.held_out_fraction"
            raise UserError("the data set has no held-out rows", place=self.data.main.place, fix=fix)
        if not evaluation.is_finite:
            fix = "evaluate an earlier checkpoint, or train again with a lower optimizer.learning_rate"
            raise UserError(
                "the held-out loss is not finite: the model has diverged", place=str(folder or place), fix=fix
            )
        return evaluation

    def _train_step(self, state: TrainingState, step: Step) -> tuple[TrainingState, StepMetrics]:
        number = state.step + 1
        sums, spoiled = LossSums(self.world.device, self.objective), False
        for micro_step, host_batch in enumerate(step.batches):
            beat(self.step_limit_s)
            torch.manual_seed(seed_for(self.recipe.train.seed, number, micro_step, self.world.rank))
            with self.stragglers.own_time():
                outputs = self.engine.forward(host_batch.to(self.world.device))
            mlm_loss, nsp_loss, *_ = outputs
            loss = mlm_loss / step.masked_tokens + nsp_loss / step.rows
            sums.add(outputs)
            is_last = micro_step == len(step.batches) - 1
            if is_last and self.recipe.train.skip_loss_spikes:
                spoiled = state.losses.is_spike(sums.over_all_ranks(step.masked_tokens, step.rows).loss)
            self.engine.backward(loss, last=is_last)
        self.histograms.begin(number)
        sums.send()  # before the update, so that reading the sums does not wait for it
        learning_rate = self._learning_rate(state)
        result = self.engine.skip_step() if spoiled else self.engine.step(learning_rate)
        means = sums.over_all_ranks(step.masked_tokens, step.rows)
        fault = fault_of(result, means.loss, state.losses, spoiled=spoiled)
        if fault:
            explain(number, step, fault, sums, self.loader, state.losses)
        slow = self.stragglers.step_ended(self.throughput.data_wait_s)
        metrics = self.throughput.step_metrics(state, step, means, result, learning_rate, fault, slow)
        next_state = state.model_copy(
            update={
                "step": number,
                "cursor": step.cursor + step.rows,  # the loader can have skipped some
                "skipped_steps": metrics.skipped_steps,
                "losses": state.losses if result.skipped else state.losses.after(means.loss),
                "samples": metrics.samples,
                "tokens": metrics.tokens,
                "time_s": metrics.time_s,
                "learning_rate": learning_rate,
            }
        )
        return next_state, metrics

    def _first_model(self) -> BertForPreTraining:
        """Return the model at step 0, or, if there is a checkpoint, a model to load it into."""
        model = fresh_model(self.recipe, self.manifest)
        source = self.recipe.train.initialise_from
        if source and not has_checkpoint(self.run):
            vocabulary = self.data.main.vocabulary()
            tiles = self.recipe.train.initialise_by == "tiling"
            load_pretrained(Path(source)).initialise(model, self.recipe.model, vocabulary, tiles=tiles)
        return model

    def _restore(self, resume: str) -> TrainingState:
        """Return the state to resume from: the newest checkpoint's, a given checkpoint's, or a fresh one."""
        folder = None if resume == "never" else find_checkpoint(self.run if resume == "auto" else Path(resume))
        is_explicit = resume not in ("auto", "never")
        if folder:
            return self._go_back_to(folder, records=is_explicit)
        if is_explicit:
            fix = "give the folder of a run or of one of its checkpoints"
            raise UserError("no checkpoint found", place=resume, fix=fix)
        return self._fresh_state()

    def _go_back_to(self, folder: Path, *, records: bool) -> TrainingState:
        """Load a checkpoint. Set later ones of this run aside, so that they are neither resumed from nor deleted.

        A checkpoint of another run is saved here, so that later starts resume from it and not from this run's earlier
        ones.
        """
        state = self._load(folder)
        is_own = folder.resolve().parent == (self.run / CHECKPOINTS).resolve()
        if self.world.rank == 0:
            set_aside_after(self.run, state.step if is_own else state.step - 1, records=records)
            if not is_own:
                take_records(self.run, folder)
        if not is_own:
            self._save(state, None)
        return state

    def _fresh_state(self) -> TrainingState:
        return TrainingState(step=0, cursor=0, dataset=self.data.digest, recipe=self.recipe.model_dump(mode="json"))

    def _load(self, folder: Path) -> TrainingState:
        state = load_checkpoint(folder, self.engine)
        check_model(state, self.recipe.model, self.run / RECIPE)
        if state.dataset != self.data.digest:
            cause = (
                f"the checkpoint was trained on data set {state.dataset[:12]}, but this one is {self.data.digest[:12]}"
            )
            places = ", ".join(dataset.place for dataset in self.data.mixed)
            raise UserError(cause, place=places, fix="use the data set that the run started with")
        self._compare_schedules(state)
        changes = changes_since(state, self.recipe.optimizer)
        return state.model_copy(update={"recipe": self.recipe.model_dump(mode="json"), "changes": changes})

    def _compare_schedules(self, state: TrainingState) -> None:
        """Warn if the next step's learning rate differs from that by the recipe with which the checkpoint was made."""
        try:
            before = Recipe.model_validate(state.recipe)
        except ValidationError:  # of an earlier version, whose values are now out of range
            return
        times = (state.time_s, state.slow_s, state.slow_rows)
        rates = [
            learning_rate_at(
                state.step + 1, recipe.optimizer, last_step_at(state.step, times[0], recipe.train, *times[1:])
            )
            for recipe in (before, self.recipe)
        ]
        warning = learning_rate_jump(state.step, *rates) if state.recipe else None
        if warning and self.world.rank == 0:
            log.warning(warning)

    def _roll_back(self, cause: TooManySkippedSteps) -> TrainingState:
        """Return the newest checkpoint's state, set to skip the rows of the skipped steps."""
        self._complete_save(None, wait=True)
        folder = self.faults.roll_back(cause, find_checkpoint(self.run))
        state = self._go_back_to(folder, records=False)
        if self.world.rank == 0:
            log.error(
                "%s: rolling back to %s and skipping rows %d to %d", cause, folder, cause.rows[0], cause.rows[1] - 1
            )
        return state.model_copy(update={"skipped": with_range(state.skipped, cause.rows)})

    def _loader(self) -> Loader:
        train = self.recipe.train
        return Loader(
            self.data.mixed,
            self.data.weights,
            seed=train.seed,
            shuffle_window_rows=train.shuffle_window_rows,
            rank=self.world.rank,
            world_size=self.world.world_size,
            micro_batch_size=train.micro_batch_size,
            micro_batch_tokens=train.micro_batch_tokens,
            predicts_next=self.recipe.model.is_left_to_right,
            pad_tokens_to=train.pad_tokens_to,
        )

    def _open_metrics(self, state: TrainingState) -> AbstractContextManager[MetricsLog | None]:
        if self.world.rank:
            return nullcontext()
        try:
            with explain_write_errors(self.run):
                return MetricsLog(
                    self.run,
                    self.recipe.train,
                    resumed_step=state.step,
                    time_s=state.time_s,
                    recipe_toml=resolved_toml(self.recipe),
                )
        except OSError as error:  # e.g. a folder or a pipe of this name
            place = error.filename or str(self.run / METRICS)
            raise UserError(f"cannot open: {error.strerror}", place=place, fix="move it away") from error

    def _greet(self, metrics_log: MetricsLog | None, state: TrainingState) -> None:
        if metrics_log:
            for line in describe_run(self.recipe, self.data, self.world, state):
                metrics_log.say(line)

    def _batch_sizes(self, state: TrainingState) -> Iterator[int]:
        return iter(()) if self._is_over(state) else batch_sizes(state.step, self.recipe.train)

    def _is_over(self, state: TrainingState) -> bool:
        return is_over(state.step, state.time_s, self.recipe.train)

    def _evaluate_when_due(self, state: TrainingState, metrics_log: MetricsLog | None) -> bool:
        """Evaluate the step if it is due. Returns False if a stop request broke the evaluation off."""
        every = self.recipe.train.evaluate_every_steps
        if not self._is_over(state) and not (every and state.step % every == 0):
            return True

        def is_stop_requested() -> bool:
            self._complete_save(metrics_log, wait=False)  # an evaluation can take longer than the save
            return bool(self.stop)

        began = time.perf_counter()
        try:
            with self.throughput.pause():
                evaluation = self.evaluator.evaluate(state.step, is_stop_requested)
        except EvaluationStopped:
            return False
        if metrics_log and evaluation:
            metrics_log.write_evaluation(evaluation, time.perf_counter() - began)
            with self.throughput.pause():
                metrics_log.write_predictions(self.evaluator.predictions(), state.step)
        return True

    def _write_histograms(self, state: TrainingState, metrics_log: MetricsLog | None) -> None:
        with self.throughput.pause():
            histograms = self.histograms.of_step()
            if metrics_log and histograms:
                metrics_log.write_histograms(histograms, state.step)

    def _write_word_vectors(self) -> None:
        """Write the vectors of the vocabulary for TensorBoard's projector."""
        vectors = word_vectors(self.engine, self.manifest.statistics.token_counts)
        if self.world.rank == 0:
            write_projector(self.run / TENSORBOARD, vectors, lambda: self.data.main.vocabulary().pieces)

    def _make_up_evaluation(self, state: TrainingState, metrics_log: MetricsLog | None) -> bool:
        """Evaluate the resumed step if it is due and the last start ended between its save and its evaluation."""
        is_lacking = is_true_on_any_rank(metrics_log is not None and metrics_log.lacks_evaluation)
        return not is_lacking or self._evaluate_when_due(state, metrics_log)

    def _is_save_due(self, state: TrainingState) -> bool:
        """Save on schedule, but not during a series of lost steps, whose cause may be the weights."""
        on_schedule = state.step % self.recipe.checkpoint.every_steps == 0 or self._is_save_overdue
        return on_schedule and not self.faults.in_a_row

    def _save(self, state: TrainingState, metrics_log: MetricsLog | None) -> bool:
        """Save a checkpoint, and wait until it is complete. Returns False if that fails."""
        self._begin_save(state, metrics_log, in_background=False)
        return self._complete_save(metrics_log, wait=True)

    def _begin_save(self, state: TrainingState, metrics_log: MetricsLog | None, *, in_background: bool) -> None:
        """Begin to save a checkpoint, after the one before it; log an error if its records, always first, fail."""
        self._complete_save(metrics_log, wait=True)
        beat()
        with self.throughput.save():
            self.cadence.save_begins()
            if is_true_on_any_rank(metrics_log is not None and not metrics_log.flush()):
                if metrics_log:
                    log.error("the checkpoint of step %d was NOT saved: its records could not be written", state.step)
                return
            self.saver.begin(state, in_background=in_background)
        beat()

    def _complete_save(self, metrics_log: MetricsLog | None, *, wait: bool) -> bool:
        """Commit the pending save, if there is one and, unless `wait`, it is written. Returns whether it did."""
        if not self.saver.is_saving():
            return False
        with self.throughput.save():
            folder = self.saver.complete(wait=wait)
        if not self.saver.is_saving():
            beat()
            self.throughput.save_completed()
            self.cadence.save_ended(self.throughput.last_save_s)
        if folder:
            self.saved_step = step_of(folder.name) or 0
        if metrics_log and folder:
            lost = (
                f"{self.throughput.last_save_s:.2f} s, {self.throughput.save_pct:.2g} % of the time since the last save"
            )
            metrics_log.say(f"saved {CHECKPOINTS}/{folder.name} in {lost}")
        return folder is not None

    def _expect(self, saved: bool, state: TrainingState) -> None:
        if not saved:
            fix = "free disk space, or see the log; the same command resumes from the last checkpoint"
            raise UserError(f"step {state.step} could not be saved, and training ended", place=str(self.run), fix=fix)


def fresh_model(recipe: Recipe, manifest: Manifest) -> BertForPreTraining:
    """Return a model with random weights, equal on every rank."""
    seed_everything(recipe.train.seed)
    objective = recipe.model.objective_of(manifest.objective)
    model = BertForPreTraining(recipe.model, manifest.vocabulary.size, objective)
    model.bert.checkpoint_activations = recipe.train.activation_checkpointing
    model.bert.backend = recipe.train.kernels
    if recipe.model.decoder_bias_init == "unigram":
        model.set_decoder_bias(torch.tensor(manifest.statistics.token_counts))
    return model
