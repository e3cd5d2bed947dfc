"""A command is refused; the fix that its message prints is applied as printed; the same command passes.

Each case damages a copy of a small run's folder or gives a wrong argument. `fix` finds the part of the message to
apply: a setting or an option, which is added to the command (or takes the place of the same one), or a command in
backticks, which is run first.
"""

from __future__ import annotations

import json
import re
import shlex
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.integration.small import bertrain, write_small

pytestmark = pytest.mark.slow  # as all cases together

COMMAND = r"`bertrain ([^`]+)`"
ONE_RANK = "ranks_per_node = 1"
SHORT = {"-o": "--output"}


def nothing(folder: Path) -> None:
    pass


@dataclass(frozen=True)
class Case:
    """A command that is refused after `damage`, the words of its message, and the pattern of the fix to apply.

    `as_argument` is what the fix becomes in the command, with what the user fills in; without it, the fix is a command.
    """

    command: str
    says: str
    fix: str
    damage: Callable[[Path], object] = nothing
    as_argument: str = "{}"

    def __str__(self) -> str:
        return f"{self.command}-{self.fix}"


def edit(name: str, old: str, new: str) -> Callable[[Path], object]:
    """Return a damage that replaces text in a file."""

    def change(folder: Path) -> None:
        text = (folder / name).read_text()
        assert old in text
        (folder / name).write_text(text.replace(old, new, 1))

    return change


def write(name: str, text: str) -> Callable[[Path], object]:
    return lambda folder: (folder / name).write_text(text)


def without(name: str) -> Callable[[Path], object]:
    return lambda folder: shutil.rmtree(folder / name)


def write_latin(folder: Path) -> None:
    (folder / "corpus.txt").write_bytes((folder / "corpus.txt").read_bytes() + b"\n\nCaf\xe9 ba be bi.\n")


def write_csv(folder: Path) -> None:
    texts = (folder / "corpus.txt").read_text().replace(",", "").split("\n\n")
    (folder / "corpus.txt").write_text(
        "id,body\n" + "".join(f'{number},"{text}"\n' for number, text in enumerate(texts))
    )


def cut(name: str) -> Callable[[Path], object]:
    return lambda folder: (folder / name).write_bytes((folder / name).read_bytes()[:-9])


def with_rows(*rows: dict[str, str], **task: object) -> Callable[[Path], object]:
    """Return a damage that writes a task and its records."""

    def change(folder: Path) -> None:
        (folder / "task.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        lines = "".join(f"{key} = {json.dumps(value)}\n" for key, value in {"data": "task.jsonl", **task}.items())
        (folder / "task.toml").write_text(f'[task]\n{lines}[finetune]\nseeds = 1\nepochs = 1\ndevice = "cpu"\n')

    return change


def without_steps(folder: Path) -> None:
    (folder / "runs/small/metrics.jsonl").unlink()
    shutil.rmtree(folder / "runs/small/checkpoints")
    (folder / "runs/small/latest").unlink()


def with_several(folder: Path) -> None:
    with_rows(*ROWS, kind="classify")(folder)
    shutil.move(folder / "task.toml", folder / "tasks.toml")


ROWS = [{"text": f"{'ba be' if number % 2 else 'bi'} {number}", "label": "ab"[number % 2]} for number in range(60)]
OTHER_NAMES = [{"words": row["text"], "label": row["label"]} for row in ROWS]
PREPARE, TRAIN, RUN = "prepare recipe.toml", "train recipe.toml", "runs/small"
OTHER, NEW = f"{PREPARE} data.seed=7", f"{TRAIN} name=other"
LATIN = f"{PREPARE} data.dataset=d data.invalid_utf8=refuse"
OF_CSV = f"{PREPARE} data.dataset=d data.corpora.0.format=csv data.corpora.0.text_field=x"
SAMPLE = "data.vocabulary.sample_bytes"
MANIFEST, VOCABULARY_FILE = "dataset/manifest.json", "data.vocabulary.file"
FINETUNE = f"finetune {RUN} task.toml -o tuned"
TOO_LONG = f"{FINETUNE} finetune.max_length=512"
PRETRAINED = f"{NEW} train.initialise_from={RUN} model.num_hidden_layers=3"
CASES = [
    # The data set.
    Case(TRAIN, "no such data set", COMMAND, without("dataset"), ""),
    Case("verify dataset", "listed above", COMMAND, cut("dataset/vocab.txt"), ""),
    Case(TRAIN, "vocab.txt is missing, or is not the vocabulary", COMMAND, cut("dataset/vocab.txt"), ""),
    Case("inspect dataset", "not a manifest", COMMAND, edit(MANIFEST, "objective", "Objective"), ""),
    Case("inspect dataset", "format version", COMMAND, edit(MANIFEST, '_version": 2', '_version": 9'), ""),
    Case("verify dataset", "the manifest is damaged: ", COMMAND, cut(MANIFEST), ""),
    Case("verify dataset", "the manifest is damaged: ", COMMAND, edit(MANIFEST, "0.1", "0.2"), ""),
    Case(OTHER, "holds another data set", "--overwrite"),
    Case(OTHER, "holds another data set", "another (data.dataset)", as_argument="{}=another"),
    Case(f"{NEW} data.masked_lm_prob=0.4", "other settings", r"data\.masked_lm_prob=0\.15"),
    Case(f"{NEW} data.max_seq_length=32", "", r"data\.max_seq_length=48"),
    Case(f"{NEW} data.objective=sop", "", r"data\.objective=nsp"),
    Case(f"{TRAIN} data.vocabulary.file=none.txt", "no such vocabulary", r"data\.vocabulary\.file=(?=`)"),
    Case(f"{OTHER} {VOCABULARY_FILE}=none.txt --overwrite", "cannot read", VOCABULARY_FILE, as_argument="{}="),
    Case(f"{OTHER} data.dataset=.", "an input file is in", "data.dataset", as_argument="{}=another"),
    Case(f"{OTHER} data.dataset=hf", "other files", "data.dataset", as_argument="{}=another"),
    Case(f"{OTHER} data.dataset=d {SAMPLE}=1", "holds no document", SAMPLE, as_argument="{}=90000"),
    Case(LATIN, "not UTF-8", 'data.invalid_utf8="replace"', write_latin),
    Case(OF_CSV, "column", "text_field", write_csv, "data.corpora.0.{}=body"),
    # The run.
    Case(f"{TRAIN} model.hidden_dropout_prob=0.3", "a run of another recipe", "name=(?=…)", as_argument="{}third"),
    Case(NEW, "not a run", "name=(?=…)", lambda folder: (folder / "runs/other/x").mkdir(parents=True), "{}third"),
    Case(f"{TRAIN} --resume none", "no such checkpoint", "--resume auto"),
    Case(f"evaluate {RUN}", "no valid checkpoint", COMMAND, without("runs/small/checkpoints"), ""),
    Case(f"export {RUN} -o out", "no valid checkpoint", COMMAND, without("runs/small/checkpoints"), ""),
    Case(f"train {RUN} train.steps=14", "no valid checkpoint", COMMAND, without("runs/small/checkpoints"), ""),
    Case(f"evaluate {RUN}", "no checkpoint yet", COMMAND, without_steps, ""),
    Case(f"export {RUN} -o out", "no checkpoint yet", COMMAND, without_steps, ""),
    Case(f"plot {RUN}", "no steps yet", COMMAND, without_steps, ""),
    Case(PRETRAINED, "but the weights to initialise from have 2", r"model\.num_hidden_layers=2"),
    # Machines and launchers.
    Case(f"{NEW} cluster.device=cuda", "no GPU is visible", "cluster.device=cpu"),
    Case(f"{NEW} train.precision=fp16", "needs GPUs", '"(fp32)"', as_argument="train.precision={}"),
    Case(f"{TRAIN} cluster.nodes=2", "trains on 2 nodes", "cluster.nodes=1"),
    Case(f"{TRAIN} 'cluster.container=[\"x\"]'", "its own Python", r"cluster\.container=\[\]"),
    Case(f"{TRAIN} 'cluster.setup=[\"x\"]'", "its own Python", r"cluster\.setup=\[\]"),
    Case(f"{TRAIN} cluster.python=/none", "its own Python", r"cluster\.python=(?=\.)"),
    Case("submit recipe.toml --dry-run cluster.gpus_per_node=4", "is \"cpu\"", "cluster.gpus_per_node=0"),
    Case("submit recipe.toml --dry-run --shares 2", "nothing is prepared", "--prepare"),
    Case("submit recipe.toml --dry-run --to pbs", "no launcher", "local", as_argument="--to {}"),
    # Models and tasks.
    Case("evaluate hf", "no held-out documents", r"data\.dataset=(?=DATASET)", as_argument="{}dataset"),
    Case(f"evaluate {RUN} --tasks tasks.toml", "needs a folder", "--output", with_several, "{} report"),
    Case(f"evaluate {RUN} finetune.seeds=1 -o report", "a setting of tasks", "--tasks", with_several, "{} tasks.toml"),
    Case(f"export {RUN} -o hf", "already exists", "another name", as_argument="-o other"),
    Case(FINETUNE, "is missing", r"task\.kind=(?=VALUE)", with_rows(*ROWS), "{}classify"),
    Case(FINETUNE, "", "task.bad_records=drop", with_rows(*ROWS, {"text": "ba"}, kind="classify")),
    Case(FINETUNE, "no column", r"task\.text\b", with_rows(*OTHER_NAMES, kind="classify", text="text"), "{}=words"),
    Case(TOO_LONG, "positions", r"(?<=et it to )\d+", with_rows(*ROWS, kind="classify"), "finetune.max_length={}"),
    Case("init corpus.txt -o recipe.toml", "the file exists already", "--output", as_argument="{} other.toml"),
    Case(f"senses {RUN} --word nothing", "no sentences for", r"--word \w+"),
]  # fmt: skip


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("fixes")
    write_small(folder)
    edit("recipe.toml", "ranks_per_node = 2", ONE_RANK)(folder)
    for command in (PREPARE, TRAIN, f"export {RUN} -o hf"):
        passes(folder, shlex.split(command))
    return folder


def passes(folder: Path, arguments: Sequence[str]) -> None:
    ended = bertrain(folder, *arguments)
    assert ended.returncode == 0, f"{shlex.join(arguments)}\n{ended.stdout}{ended.stderr}"


@pytest.mark.parametrize("case", CASES, ids=str)
def test_the_same_command_passes_after_the_printed_fix(case: Case, trained: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(trained, tmp_path / "work"))
    case.damage(folder)
    arguments = shlex.split(case.command)
    refused = bertrain(folder, *arguments)
    said = refused.stderr.splitlines()[-1] if refused.stderr else refused.stdout
    assert refused.returncode == 2, refused.stdout + refused.stderr
    assert case.says in said
    found = re.search(case.fix, said)
    assert found, said
    fix = found[found.lastindex or 0]
    if case.as_argument:
        arguments = replaced(arguments, case.as_argument.format(fix))
    else:
        passes(folder, shlex.split(fix.replace("RECIPE", "recipe.toml")))
    passes(folder, arguments)


def replaced(arguments: Sequence[str], fix: str) -> list[str]:
    """Return the arguments with this setting or option, in place of the same one if it is there."""
    name, *value = shlex.split(fix)
    key = SHORT.get(name, name).partition("=")[0]
    if value and key in (names := [SHORT.get(one, one) for one in arguments]):
        at = names.index(key)
        return [*arguments[: at + 1], *value, *arguments[at + 2 :]]
    return [*(one for one in arguments if one.partition("=")[0] != key), name, *value]
