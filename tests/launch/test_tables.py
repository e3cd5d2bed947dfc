"""Tables on a screen of 80 columns: nothing is cut, and those of numbers of a large corpus or cluster fit."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
from rich.console import Console
from rich.table import Table

from configs.recipe import load_recipe
from launch.display.inspection import totals_table
from launch.display.planning import goodput_table, memory_table, preparation_table, scaling_table
from launch.doctor.doctor import findings_table
from launch.doctor.finding import WARNING, Finding
from launch.terminal import plain_table
from pretrain.cost import HARDWARE, Cost
from tests.pretrain.synthetic import write_dataset
from tests.structure import ROOT


def on_80_columns(table: Table) -> str:
    table.title = None  # a sentence, which the terminal folds
    screen = Console(width=80, record=True, soft_wrap=True, file=open(os.devnull, "w"))  # noqa: SIM115 - closed with the process
    screen.print(table)
    return "\n".join(line.rstrip() for line in screen.export_text().splitlines())


def largest_plan() -> Cost:
    return Cost(load_recipe("megatron_3.9b"), HARDWARE["h100"], 30_522)


@pytest.mark.parametrize("name", ["memory", "scaling", "goodput", "preparation"])
def test_the_plan_of_a_large_run_fits(name: str) -> None:
    cost = largest_plan()
    costs = [cost.step(ranks) for ranks in (1, 64, 1024)]
    table = {
        "memory": lambda: memory_table(cost, 1024),
        "scaling": lambda: scaling_table(costs, cost),
        "goodput": lambda: goodput_table(cost, 100_000),
        "preparation": lambda: preparation_table(40, "wikipedia", 0.01),
    }[name]()
    cells = [str(cell) for column in table.columns for cell in column.cells]
    told = on_80_columns(table)
    assert max(map(len, told.splitlines())) <= 80
    assert [cell for cell in cells if cell not in told] == []


def test_the_totals_of_a_large_data_set_fit(tmp_path: Path) -> None:
    manifest = write_dataset(tmp_path / "dataset", [[5]])
    shard = manifest.shards[0].model_copy(
        update={
            "split": "held_out", "pass_number": 39, "rows": 999_999_999, "tokens": 99_999_999_999,
            "masked_tokens": 9_999_999_999, "bytes": 999_999_999_999,
        }
    )  # fmt: skip
    told = on_80_columns(totals_table(manifest.model_copy(update={"shards": [shard]})))
    assert max(map(len, told.splitlines())) <= 80
    last = told.splitlines()[-1]
    assert re.split(r" +", last)[:5] == ["held_out", "39", "1", "999,999,999", "99,999,999,999"]


def test_findings_are_folded_and_never_cut() -> None:
    place = "/scratch/" + "a_folder_with_a_long_name/" * 6
    told = on_80_columns(findings_table([Finding("disk", WARNING, place, "choose another folder: runs=…")]))
    assert max(map(len, told.splitlines())) <= 80
    assert place in re.sub(r"\s|disk|warning|fix|choose|another|folder:|runs=…", "", told.replace("\n", " "))


def test_a_word_that_is_wider_than_its_column_is_folded() -> None:
    table = plain_table("name", "score", justify="right")
    table.add_row("n" * 100, "0.5")
    told = on_80_columns(table)
    assert "…" not in told
    assert told.count("n") == 101


def test_each_table_is_a_plain_one() -> None:
    made = re.compile(r"(?<![\w.])Table\(")
    sources = [file for file in (ROOT / "launch").rglob("*.py") if "rich" in file.read_text()]
    assert [file.name for file in sources if made.search(file.read_text())] == ["terminal.py"]
