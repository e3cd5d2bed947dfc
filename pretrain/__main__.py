"""One rank of a run: `python -m pretrain RUN [--resume auto|never|PATH] [--evaluate [--set KEY=VALUE] [--output DIR]]`.

Started by `bertrain train`, torchrun, or a cluster's launcher, which set RANK, WORLD_SIZE and the other variables.
The exit codes are defined in configs/exit_codes.py.
"""

from __future__ import annotations

import argparse
import json
import logging
import signal
import sys
import traceback
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from configs.errors import UserError
from configs.exit_codes import DONE, FAILED, STOPPED, USER_ERROR, ended_by
from configs.files import atomic_write_text, explain_write_errors
from configs.machine import end_at_once, missing_packages_explained, never_fail_to_encode
from configs.run_layout import EVALUATION, RECIPE
from pretrain.checkpoint import Ownership, Superseded, claim_start, set_aside
from pretrain.engine import beat, show_stacks_when_asked, watch
from pretrain.stop import StopRequest

if TYPE_CHECKING:
    from pretrain.trainer import Trainer


def main(arguments: list[str] | None = None) -> int:
    """Parse the arguments, join the other ranks, train or evaluate, and return the exit code."""
    never_fail_to_encode()
    show_stacks_when_asked()
    parser = argparse.ArgumentParser(prog="python -m pretrain", description=__doc__)
    parser.add_argument("run", type=Path, help="folder of the run, which contains recipe.toml")
    parser.add_argument("--resume", default="auto", help="auto, never, or a checkpoint's folder")
    parser.add_argument("--start", type=int, help="number of this start; rank 0 takes the next one if absent")
    parser.add_argument("--evaluate", action="store_true", help="evaluate the checkpoint instead of training")
    parser.add_argument("--set", action="append", default=[], help="setting of the evaluation, section.key=value")
    parser.add_argument("--output", type=Path, help="folder of the evaluation's record; the run's if absent")
    parsed = parser.parse_args(arguments)
    logging.basicConfig(format="%(asctime)s %(levelname)s %(name)s: %(message)s", level=logging.WARNING)
    stop = StopRequest()  # before the slow imports, so that an earlier stop request is not lost
    try:
        with missing_packages_explained():
            return _run_rank(parsed, stop)
    except UserError as error:
        sys.stderr.write(f"error: {error}\n")
        return USER_ERROR
    except Superseded as error:
        sys.stderr.write(f"error: {error}\n")
        return FAILED
    except Exception as error:  # noqa: BLE001 - whatever it is
        # Printed before anything else: leaving the process group could wait for ranks that are inside a collective.
        traceback.print_exception(error)
        return FAILED


def _run_rank(parsed: argparse.Namespace, stop: StopRequest) -> int:
    from configs.recipe import load_recipe, recipe_of_run
    from pretrain.engine import gather, join_process_group, leave_process_group
    from pretrain.evaluation import EvaluationStopped
    from pretrain.out_of_memory import explain_out_of_memory, is_out_of_memory
    from pretrain.trainer import Trainer

    recipe = recipe_of_run(parsed.run, parsed.set) if parsed.evaluate else load_recipe(parsed.run / RECIPE)
    watch(recipe.cluster.collective_timeout_s)
    world = join_process_group(recipe.cluster, parsed.run)
    beat()
    owner = Ownership(parsed.run, 0)
    if world.rank == 0 and not parsed.evaluate:
        owner = _take_over(parsed, stop)
    gather(None)  # a barrier: no rank reads the run earlier
    try:
        trainer = Trainer(parsed.run, recipe, world, stop, owner)
        is_done = _evaluate(trainer, parsed) if parsed.evaluate else trainer.train(parsed.resume)
    except EvaluationStopped:
        return ended_by(stop.signal or signal.SIGTERM)
    except (RuntimeError, MemoryError) as error:
        if is_out_of_memory(error):
            sys.stderr.write(f"error: {explain_out_of_memory(recipe, world)}\n")
        raise
    leave_process_group()  # only now: after an error it could wait for ranks that are inside a collective
    return DONE if is_done else STOPPED


def _evaluate(trainer: Trainer, parsed: argparse.Namespace) -> bool:
    from pretrain.telemetry import evaluation_line, fold

    evaluation = trainer.evaluate(trainer.run if parsed.resume == "auto" else Path(parsed.resume))
    if trainer.world.rank == 0:
        record = {name: value for name, value in asdict(evaluation).items() if value != {}}
        folder = parsed.output or trainer.run
        try:
            with explain_write_errors(folder):
                atomic_write_text(folder / EVALUATION, json.dumps(record, indent=1) + "\n")
        finally:
            sys.stdout.write(f"{fold(evaluation_line(evaluation))}\n")
    return True


def _take_over(parsed: argparse.Namespace, stop: StopRequest) -> Ownership:
    """Make the run this start's: rank 0 of an earlier start can complete no checkpoint from now on."""
    from pretrain.checkpoint import remove_unfinished

    owner = Ownership(parsed.run, parsed.start or claim_start(parsed.run))
    owner.check()
    stop.read_file_of(parsed.run, owner.number)
    remove_unfinished(parsed.run)
    if parsed.resume == "never":
        set_aside(parsed.run)
    return owner


if __name__ == "__main__":
    # All results are on disk. An orderly shutdown of torch and DeepSpeed takes seconds, which is too long after Ctrl-C,
    # and gloo's threads sometimes abort it.
    end_at_once(main())
