from __future__ import annotations

import io
import math
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console
from typer.testing import CliRunner

from configs.errors import UserError
from configs.recipe import load_recipe
from configs.schema import DataConfig
from launch.cli import app
from launch.display.planning import efficiency, find_hardware, goodput_table, memory_table, preparation_table, show_plan
from preprocessing.documents.formats import FORMATS
from pretrain.cost import HARDWARE, Cost

RECIPE = load_recipe("demo", ["train.global_batch_size=4096", "train.steps=1000", "train.zero_stage=2"])


@pytest.fixture
def screen() -> Console:
    return Console(width=160, record=True, file=io.StringIO())


def test_the_plan_shows_memory_scaling_and_preparation(screen: Console, tmp_path: Path) -> None:
    show_plan(screen, RECIPE, HARDWARE["h100"], 64, 24.0, tmp_path / "scaling.png")
    shown = screen.export_text()
    memory, _, rest = shown.partition("\nScaling")
    scaling, _, rest = rest.partition("\nGoodput at 0.000474 failures per GPU and day")
    goodput, _, text = rest.partition("\nPreparation: 5 pass(es) over wikipedia")
    assert first_words(goodput)[-4:] == ["8", "64", "512", "4,096"]
    assert first_words(memory)[-4:] == ["0", "1", "2", "3"]
    assert "2 (recipe)" in memory
    assert first_words(scaling)[-11:] == [f"{2**power:,}" for power in range(11)]
    assert first_words(text)[-6:-1] == ["1", "10", "100", "1,000", "10,000"]
    assert (tmp_path / "scaling.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("name", FORMATS)
def test_plan_supports_every_corpus_format(screen: Console, name: str) -> None:
    recipe = RECIPE.model_copy(
        update={"data": DataConfig.model_validate({"corpora": [{"paths": ["corpus"], "format": name}]})}
    )
    show_plan(screen, recipe, HARDWARE["h100"], 8, 24.0, None)
    assert f"over {name}, {FORMATS[name].text_mb_s:g} MB/s per core" in " ".join(screen.export_text().split())


def test_memory_of_one_rank_is_that_of_its_stage(screen: Console) -> None:
    for changes, stage in ((), "0 (one rank)"), (("train.zero_stage=0",), "0 (recipe)"):
        recipe = load_recipe("demo", list(changes))
        screen.print(memory_table(Cost(recipe, HARDWARE["h100"], 4096), 1))
        *_, title, row = screen.export_text().splitlines()
        assert (title.split()[0], row.strip().startswith(stage)) == ("ZeRO", True)


def first_words(text: str) -> list[str]:
    return [line.split()[0] for line in text.splitlines() if line.strip()]


def test_given_bandwidths_replace_those_of_the_profile() -> None:
    assert find_hardware("a100", node_gb_s=None) == HARDWARE["a100"]
    slow = find_hardware("a100", node_gb_s=10.0, network_gb_s=1.0, peak_flops=None)
    assert (slow.node_gb_s, slow.network_gb_s) == (10.0, 1.0)
    fast_steps, slow_steps = (list(Cost(RECIPE, one, 4096).scaling()) for one in (HARDWARE["a100"], slow))
    assert efficiency(slow_steps[4], slow_steps[0]) < efficiency(fast_steps[4], fast_steps[0]) < 1


def test_workers_for_a_requested_time(screen: Console) -> None:
    screen.print(preparation_table(1, "text", 2.0))
    row = next(line for line in screen.export_text().splitlines() if "1,000 GB" in line)
    core_hours = 1e6 * (1 / 17 + 1 / 85) / 3600
    assert row.split()[2] == f"{core_hours:,.1f}"
    assert row.split()[-1] == str(math.ceil(core_hours / 2))


def test_a_hang_lasts_as_long_as_a_step_may(screen: Console) -> None:
    limits = ("cluster.step_timeout_s=77", "cluster.collective_timeout_s=99")
    screen.print(goodput_table(Cost(load_recipe("demo", limits), HARDWARE["h100"], 4096), 8))
    assert "a hang of 77 s" in " ".join(screen.export_text().split())


def test_unknown_hardware_is_refused_with_known_names() -> None:
    with pytest.raises(UserError, match=r"no profile 'b300'.*Choose one of b200, h200, .*, rtx4090, cpu"):
        find_hardware("b300")


@pytest.mark.parametrize(
    ("name", "profile"),
    [("H100", "h100"), ("A100-40", "a100-40"), ("RTX 4090", "rtx4090"), ("rtx_5090", "rtx5090"), ("L40s", "l40s")],
)
def test_hardware_is_found_by_its_name_in_any_form(name: str, profile: str) -> None:
    assert find_hardware(name) == HARDWARE[profile]


def test_help_names_every_profile() -> None:
    shown = CliRunner().invoke(app, ["plan", "--help"], env={"COLUMNS": "200"}).output
    assert [name for name in HARDWARE if f"{name}," not in shown and f"{name}." not in shown] == []


def test_the_plan_states_what_it_assumes(screen: Console) -> None:
    large = load_recipe("large_phase1")
    show_plan(screen, large, find_hardware("h100", cpu_speed=1.5), 64, 24.0, None)
    shown = " ".join(screen.export_text().split())
    assert "matrix products reach 55% of the peak; a CPU core of 1.5 times the speed" in shown
    assert "the last layer skips 2.5%" in shown
    base = Cost(load_recipe("base_phase1"), HARDWARE["h100"], 30_522).row
    assert base.unread_flops / base.flops == pytest.approx(0.049, abs=5e-4)


def test_plan_works_without_torch() -> None:
    program = "import sys; sys.modules['torch'] = None; from launch.cli import app; app(['plan', 'large_phase1'])"
    planned = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert planned.returncode == 0, planned.stderr
    assert "336,226,108 parameters" in planned.stdout
