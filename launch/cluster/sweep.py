"""`bertrain submit --sweep KEY=A,B,C`: runs that differ in a few keys, each as a job of its own."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import product

from configs.errors import UserError

MOST_RUNS = 256
_PLACE = "--sweep"


def swept_settings(sweeps: Sequence[str], name: str) -> Iterator[list[str]]:
    """Yield the settings of each run, for all combinations of the sweeps' values.

    A sweep is `section.key=value,value,…`. The runs' names begin with `name` and state their values:
    `bert-learning_rate-1e-4`. Raises `UserError` for anything else, for keys of the data set, which the runs share, and
    for more than `MOST_RUNS` runs.
    """
    choices = [_choices(sweep) for sweep in sweeps]
    for number, chosen in enumerate(product(*choices)):
        if number == MOST_RUNS:
            raise UserError(f"more than {MOST_RUNS} runs", place=_PLACE, fix="give fewer values")
        parts = [f"{setting.partition('=')[0].rpartition('.')[2]}-{setting.partition('=')[2]}" for setting in chosen]
        yield [*chosen, "name=" + re.sub(r"[^A-Za-z0-9._-]+", "-", "-".join([name, *parts]))]


def _choices(sweep: str) -> list[str]:
    key, _, values = sweep.partition("=")
    chosen = list(filter(None, (value.strip() for value in values.split(","))))
    if "." not in key or not chosen:
        raise UserError(f"{sweep!r} is no sweep", place=_PLACE, fix="write e.g. optimizer.learning_rate=1e-4,3e-4")
    if key.startswith("data."):
        fix = "prepare each data set with a recipe of its own, and submit that"
        raise UserError(f"{key}: the runs of a sweep share a data set", place=_PLACE, fix=fix)
    return [f"{key}={value}" for value in dict.fromkeys(chosen)]
