"""A small workplace for fuzzing, made by the commands themselves, and the commands with the files that each reads."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from configs.records import sealed
from tests.integration.small import bertrain, write_small

ONE_RANK = ("cluster.ranks_per_node=1", "train.zero_stage=0", "train.precision=fp32", "data.workers=1")
QUICK = (*ONE_RANK, "train.steps=4", "checkpoint.every_steps=2", "checkpoint.keep=2")
RUN, DATASET, MODEL = "runs/small", "dataset", "model"

# What a command reads, as patterns below the workplace.
RECORDS = tuple(
    f"{RUN}/{name}"
    for name in (
        "recipe.toml", "metrics.jsonl", "latest", "evaluation.json", "starts/*/*.json", "logs/*.log", ".lock",
    )
)  # fmt: skip
CHECKPOINTS = (f"{RUN}/checkpoints/*/state.json", f"{RUN}/checkpoints/*/*.safetensors")
SHARDS = (f"{DATASET}/manifest.json", f"{DATASET}/vocab.txt", f"{DATASET}/shards/*.arrow")
OF_RUN = (f"{RUN}/*.json", f"{RUN}/*.txt", f"{RUN}/*.arrow", f"{RUN}/data/*")  # what a run keeps of its data set
FOLDER = (f"{MODEL}/*.json", f"{MODEL}/*.txt", f"{MODEL}/*.safetensors")


@dataclass(frozen=True)
class Command:
    """A command, and the files that it reads. `enter` runs it in this process and returns or exits with its code."""

    arguments: tuple[str, ...]
    reads: tuple[str, ...]

    @property
    def name(self) -> str:
        """The command without its arguments."""
        return self.arguments[0]

    def enter(self) -> int:
        """Run the command line's entry, or that of a rank."""
        if self.name in ENTRIES:
            return ENTRIES[self.name](self.arguments[1:])
        from launch.cli import main

        sys.argv = ["bertrain", *self.arguments]
        return main()


def _rank(arguments: tuple[str, ...]) -> int:
    """Run one rank, as `bertrain train` and `bertrain evaluate` start it."""
    from pretrain.__main__ import main

    return main(list(arguments))


ENTRIES: dict[str, Callable[[tuple[str, ...]], int]] = {"rank": _rank}
TRAINED = (*RECORDS[:5], *CHECKPOINTS, *SHARDS, *OF_RUN)
COMMANDS = (
    Command(("status", RUN), RECORDS),
    Command(("status", RUN), CHECKPOINTS),
    Command(("plot", RUN), RECORDS[:2]),
    Command(("logs", RUN), RECORDS),
    Command(("stop", RUN), RECORDS),
    Command(("config", "recipe.toml"), ("recipe.toml",)),
    Command(("plan", "recipe.toml"), ("recipe.toml",)),
    Command(("train", "recipe.toml", "--dry-run"), ("recipe.toml", *SHARDS)),
    Command(("submit", "recipe.toml", "--dry-run"), ("recipe.toml",)),
    Command(("verify", DATASET), SHARDS),
    Command(("inspect", DATASET), SHARDS),
    Command(("rank", RUN), TRAINED),
    Command(("rank", RUN, "--evaluate"), TRAINED),
    Command(("fill", RUN, "the [MASK] is"), (*TRAINED[:1], *CHECKPOINTS, *SHARDS[:2], *OF_RUN)),
    Command(("fill", MODEL, "the [MASK] is"), FOLDER),
    Command(("export", RUN, "-o", "exported"), (*RECORDS[:3], *CHECKPOINTS, *SHARDS, *OF_RUN)),
    Command(("import", MODEL, "recipe.toml", "name=imported"), (*FOLDER, "recipe.toml")),
    Command(("embed", MODEL, "texts.txt", "-o", "vectors.npz"), (*FOLDER, "texts.txt")),
    Command(("embed", MODEL, "texts.jsonl", "-o", "vectors.arrow"), ("texts.jsonl",)),
)


def make_workplace(folder: Path) -> Path:
    """Make the workplace below `folder`: a corpus, a data set, a run of 4 steps, its export, and texts."""
    base = folder / "base"
    base.mkdir()
    write_small(base, documents=60)
    recipe = base / "recipe.toml"
    recipe.write_text(recipe.read_text().replace("ranks_per_node = 2", "ranks_per_node = 1"))
    for arguments in (
        ("prepare", "recipe.toml", *ONE_RANK), ("train", "recipe.toml", *QUICK), ("evaluate", RUN),
        ("export", RUN, "-o", MODEL),
    ):  # fmt: skip
        ended = bertrain(base, *arguments, timeout_s=600)
        assert ended.returncode == 0, ended.stdout + ended.stderr
    run_recipe = base / RUN / "recipe.toml"
    lines = run_recipe.read_text().splitlines(keepends=True)[1:-1]  # without its seal
    text = "".join(lines).replace(str(base / DATASET), DATASET)  # each input works in a copy
    run_recipe.write_text(sealed(text.replace("steps = 4", "steps = 5", 1)))
    (base / "texts.txt").write_text("A text.\nAnother one.\n")
    (base / "texts.jsonl").write_text('{"text": "A text."}\n{"text": "Another."}\n')
    (base / "FINISHED").touch()
    return base


def targets(place: Path, command: Command) -> list[Path]:
    """Return the files of a workplace that a command reads."""
    found = {path for pattern in command.reads for path in place.glob(pattern) if path.is_file()}
    return sorted(path for path in found if os.access(path, os.W_OK))
