"""What the failure of a pipeline on another engine means. Of a worker's exception, only the text is passed on."""

from __future__ import annotations

import re

from configs.errors import UserError
from preprocessing.execution.engines.engine import BeamEngine

_USER_ERROR = re.compile(r"\bUserError: (.+)")
_NO_MODULE = re.compile(r"No module named '?([\w.]+)")
_NO_WORKER = re.compile(r"didn't get control connection|StartWorker|No client connected|worker.* not connect", re.I)
_GRPC_DETAIL = re.compile(r'details = "([^"\n]+)"')


def explained(failure: BaseException, engine: BeamEngine) -> UserError:
    """Return the error to show for a pipeline that failed on the engine."""
    text = str(failure).strip()
    if isinstance(failure, UserError):
        return failure
    if found := _USER_ERROR.search(text):
        return UserError(found[1])
    if found := _NO_MODULE.search(text):
        cause = f"a worker of the engine cannot import {found[1]}: its Python is another one than this"
        return UserError(cause, place=engine.runner, fix=_worker_fix(engine))
    if engine.pool_command and _NO_WORKER.search(text):
        cause = f"no worker could be started at {engine.pool_address}"
        return UserError(cause, place=engine.runner, fix=_worker_fix(engine))
    fix = "check the runner's log and options; the same command resumes the work"
    return UserError(f"the runner failed: {_cause(text) or type(failure).__name__}", place=engine.runner, fix=fix)


def _worker_fix(engine: BeamEngine) -> str:
    if engine.pool_command:
        return f"Stop the worker pool, and start this one on each node: {engine.pool_command}"
    return "install bertrain, with the same extras, in the environment that the engine's workers run in"


def _cause(text: str) -> str:
    """Return the line of an engine's message that says what went wrong: the last one of a traceback, else the first."""
    if found := _GRPC_DETAIL.search(text):
        return found[1]
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return (lines[-1] if "Traceback (most recent call last)" in text else lines[0]) if lines else ""
