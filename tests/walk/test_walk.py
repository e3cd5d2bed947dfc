"""Run what the documentation prints, as printed. See elsewhere.py for the few commands that run elsewhere."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from configs.tasks import load_any
from tests.walk.elsewhere import ENGINE, MARKS, NETWORK, RUN_BY, SCHEDULER
from tests.walk.printed import PAGES, ROOT, Printed, blocks, commands, examples, unfenced
from tests.walk.world import Ended, make_helpers_folder, make_readers_folder, run

INSTALLS = ("python3 -m venv", "pip install")

# Commands that train or need torch for long; the others take a second or two each.
SLOW = re.compile(
    r"runs/(news|first)|\b(train|evaluate|finetune|predict|embed|senses|fill|import|export|tensorboard|submit)\b"
)
QUICK = ("--dry-run", "bertrain plan", "bertrain export runs/demo", "bertrain embed", "bertrain evaluate runs/demo$")


def bare(printed: Printed) -> str:
    """Return the command without the comment that follows it."""
    return re.split(r"\s+#\s", printed.text)[0].strip()


def to_run(found: list[Printed]) -> list[object]:
    """Return the commands to run as parameters of a test, the slow ones marked."""
    here = [one for one in found if bare(one) not in {*MARKS, *RUN_BY} and not bare(one).startswith(INSTALLS)]
    return [pytest.param(one, id=bare(one), marks=[pytest.mark.slow] if is_slow(bare(one)) else []) for one in here]


def is_slow(command: str) -> bool:
    return bool(SLOW.search(command)) and not any(re.search(text, command) for text in QUICK)


PRINTED = [one for page in PAGES for one in commands(page)]
IN_README = [one for one in PRINTED if one.place == "README.md"]
OTHERS = [*(one for one in PRINTED if one.place != "README.md"), *examples()]
ELSEWHERE = list({bare(one): one for one in OTHERS}.values())  # each once


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("reader")
    make_readers_folder(folder)
    return folder


@pytest.fixture(scope="module")
def helped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("helped")
    make_helpers_folder(folder)
    return folder


def check(ended: Ended) -> None:
    """A command that was stopped saved (75) or had nothing to save (130); any other is done."""
    assert ended.code in ((75, 130, 0) if ended.stopped else (0,)), ended.output
    assert "Traceback" not in ended.output


@pytest.mark.parametrize("printed", to_run(IN_README))
def test_the_readme(printed: Printed, reader: Path) -> None:
    """The README's commands in their order, from a folder with nothing but text."""
    ended = run(reader, printed.text)
    if printed.text.startswith("torchrun"):  # its agent ends with 1 and a traceback of its own after any signal
        assert ended.stopped
        assert "saved checkpoints/step_" in ended.output
        return
    check(ended)
    if printed.text.startswith("bertrain train"):
        assert ended.code == 75  # saved
        assert list(reader.glob("runs/news/checkpoints/step_*"))


@pytest.mark.parametrize("printed", to_run(ELSEWHERE))
def test_pages_and_help(printed: Printed, helped: Path) -> None:
    if bare(printed) == "bertrain stop runs/demo":  # nothing runs
        ended = run(helped, printed.text)
        assert (ended.code, "is not running" in ended.output) == (2, True)
        return
    check(run(helped, printed.text))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_recipes_are_valid(page: Path, tmp_path: Path) -> None:
    for number, block in enumerate(blocks(page, "toml")):
        file = tmp_path / f"{number}.toml"
        file.write_text(block, encoding="utf-8")
        assert tomllib.loads(block)
        load_any(file)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_commands_are_in_fenced_blocks(page: Path) -> None:
    assert unfenced(page) == []


def test_marks_are_few_and_each_is_printed() -> None:
    printed = {bare(one) for one in (*IN_README, *ELSEWHERE)}
    assert len(MARKS) <= 15
    assert MARKS.keys() | RUN_BY.keys() <= printed
    assert {reason for reason, _ in MARKS.values()} <= {NETWORK, ENGINE, SCHEDULER}


@pytest.mark.parametrize(("file", "line"), RUN_BY.values(), ids=list(RUN_BY))
def test_scripts_run_what_the_walk_leaves_to_them(file: str, line: str) -> None:
    assert line in (ROOT / file).read_text(encoding="utf-8")


def test_the_readme_makes_a_model_in_three_commands() -> None:
    lines = [bare(one) for one in IN_README]
    first = lines.index("bertrain init corpora/news -o news.toml")
    assert lines[first + 1 : first + 3] == ["bertrain prepare news.toml", "bertrain train news.toml"]
