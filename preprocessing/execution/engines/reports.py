"""The errors of workers on their way to the driver: through the run's folder, because Beam passes on text at most."""

from __future__ import annotations

import json
import traceback
from collections.abc import Iterator
from contextlib import contextmanager

from configs.errors import UserError
from preprocessing.documents import StoppedError
from preprocessing.storage import Store

_REPORT = "error.json"
_TRIAL = "trial"

_unreported: list[UserError] = []  # by steps inside this process, if the disk was full


@contextmanager
def reported(work: Store) -> Iterator[None]:
    """Write an exception of the block to a file for the driver."""
    try:
        yield
    except StoppedError:
        raise
    except Exception as error:
        is_users = isinstance(error, UserError)
        report = vars(error) if is_users else {"traceback": traceback.format_exc()}
        try:
            work.note(_REPORT, json.dumps(report))
        except (OSError, UserError) as full:
            _unreported.extend(each for each in (error, full) if isinstance(each, UserError))
        raise


def forget_reports(work: Store) -> None:
    """Remove what an earlier pipeline reported."""
    work.remove(_REPORT)
    _unreported.clear()


def raise_reported(work: Store) -> None:
    """Raise the error that a worker reported, if there is one."""
    content = work.read(_REPORT)
    if content is None:
        return
    report = json.loads(content)
    work.remove(_REPORT)
    if "cause" in report:
        raise UserError(**report)
    raise RuntimeError(f"preparation failed in a worker\n{report['traceback']}")


def raise_unreported(work: Store) -> None:
    """Raise the error of a step that left no report, or what prevented the report, such as a full disk."""
    if _unreported:
        raise _unreported[0]
    work.note(_TRIAL, " " * 4_096)
    work.remove(_TRIAL)
