"""Weights & Biases and MLflow beside TensorBoard: `train.trackers` names them, their own settings come from their own
environment variables (WANDB_PROJECT, WANDB_MODE, MLFLOW_TRACKING_URI, MLFLOW_EXPERIMENT_NAME and so on).

A start of a run continues what earlier starts tracked: `trackers.json` in the run folder holds the ids.
"""

from __future__ import annotations

import json
import logging
import os
import uuid
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from configs.errors import UserError
from configs.files import atomic_write_text, read_bounded
from configs.machine import require_package

log = logging.getLogger(__name__)
IDS, PROJECT = "trackers.json", "bertrain"
# A server that does not answer must not hold up training: MLflow's defaults are 120 s and 7 retries.
_MOST_S_AT_END = 120.0
_PATIENCE = {"MLFLOW_HTTP_REQUEST_TIMEOUT": "10", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2"}


class _Service(Protocol):
    """A service that shows curves."""

    def scalars(self, values: Mapping[str, float], step: int) -> None: ...

    def close(self, *, failed: bool) -> None: ...


class Trackers:
    """The services that a recipe names. One that fails during training is left out from then on, with an error."""

    def __init__(self, names: Sequence[str], run: Path, settings: Mapping[str, Any]) -> None:
        """Connect to the services. Raises `UserError` if a package is missing or a service cannot be reached."""
        ids = _ids(run, names)
        self._services = {name: _connected(name, run, ids[name], settings) for name in names}

    def scalars(self, values: Mapping[str, float], step: int) -> None:
        """Send the values of one step, by TensorBoard's tags."""
        self._attempt(lambda service: service.scalars(values, step))

    def close(self, *, failed: bool) -> None:
        """Send what is left, and whether the training ended with an error."""
        self._attempt(lambda service: service.close(failed=failed))

    def _attempt(self, action: Callable[[_Service], None]) -> None:
        for name, service in list(self._services.items()):
            try:
                action(service)
            except Exception as error:  # noqa: BLE001 - of any kind: a tracker must not end the training
                log.error("%s: %s; the steps from here on are in the run folder only", name, error)
                del self._services[name]


class _WeightsAndBiases:
    def __init__(self, run: Path, identity: str, settings: Mapping[str, Any]) -> None:
        import wandb

        self._run = wandb.init(
            project=os.environ.get("WANDB_PROJECT", PROJECT),
            name=run.name,
            id=identity,
            dir=run,
            resume="allow",
            config=dict(settings),
            settings=wandb.Settings(finish_timeout=_MOST_S_AT_END),
        )
        self._run.define_metric("*", step_metric="step")  # its own steps only grow, but a start can go back

    def scalars(self, values: Mapping[str, float], step: int) -> None:
        self._run.log({"step": step, **values})

    def close(self, *, failed: bool) -> None:
        import wandb

        self._run.finish(exit_code=int(failed))
        wandb.teardown()  # a run that is continued at once in this process, after a rollback, would lose its steps


class _MLflow:
    def __init__(self, run: Path, identity: str, settings: Mapping[str, Any]) -> None:
        for name, value in _PATIENCE.items():
            os.environ.setdefault(name, value)
        import mlflow

        self._mlflow = mlflow
        mlflow.set_experiment(os.environ.get("MLFLOW_EXPERIMENT_NAME", PROJECT))
        tag = "bertrain.run"
        found = mlflow.search_runs(filter_string=f"tags.`{tag}` = '{identity}'", output_format="list")
        if found:
            mlflow.start_run(run_id=found[0].info.run_id)
        else:
            mlflow.start_run(run_name=run.name, tags={tag: identity})
            mlflow.log_params({name: str(value)[:500] for name, value in settings.items()})

    def scalars(self, values: Mapping[str, float], step: int) -> None:
        self._mlflow.log_metrics(dict(values), step=step, synchronous=False)

    def close(self, *, failed: bool) -> None:
        self._mlflow.end_run("FAILED" if failed else "FINISHED")


_SERVICES: dict[str, Callable[[Path, str, Mapping[str, Any]], _Service]] = {
    "wandb": _WeightsAndBiases,
    "mlflow": _MLflow,
}


def _connected(name: str, run: Path, identity: str, settings: Mapping[str, Any]) -> _Service:
    require_package(name)
    try:
        return _SERVICES[name](run, identity, settings)
    except Exception as error:
        fix = f"see the message of {name}; to train without it, remove it from train.trackers"
        raise UserError(f"{name} cannot be started: {error}", place="train.trackers", fix=fix) from error


def _ids(run: Path, names: Sequence[str]) -> dict[str, str]:
    """Return each service's id of the run; new ones are written to `trackers.json`."""
    path = run / IDS
    try:
        known = json.loads(read_bounded(path))
    except (OSError, ValueError, RecursionError):  # missing or damaged: the services show a new run
        known = {}
    if not isinstance(known, dict):
        known = {}
    ids = {name: known[name] if _is_id(known.get(name)) else uuid.uuid4().hex for name in names}
    if names and ids.items() - known.items():
        atomic_write_text(path, json.dumps(known | ids) + "\n")
    return ids


def _is_id(value: object) -> bool:
    return isinstance(value, str) and len(value) == 32 and value.isalnum() and value.isascii()
