"""Run the README's commands unchanged on a small corpus. CI runs the two long ones."""

from __future__ import annotations

import gzip
import json
import os
import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.integration.small import corpus, environment

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
RUN_ELSEWHERE = (
    "bash launch/demo/demo.sh",
    "bash tests/run.sh",
    "pip install",
    "venv",
)  # .ci/run and run.sh run these

PACKAGES = ("configs", "preprocessing", "pretrain", "launch")

SMALL = """
[model]
hidden_size = 32
num_hidden_layers = 1
num_attention_heads = 2
intermediate_size = 64
max_position_embeddings = 128
[optimizer]
warmup_steps = 1
[train]
steps = 4
global_batch_size = 8
micro_batch_size = 4
[cluster]
device = "cpu"
ranks_per_node = 2
"""


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def commands() -> list[str]:
    lines = [line.split("  #")[0].strip() for block in blocks("bash") for line in block.splitlines()]
    return [line for line in lines if line and not any(text in line for text in RUN_ELSEWHERE)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the README's recipe, reduced in size, and text at the paths that it names."""
    folder = tmp_path_factory.mktemp("readme")
    recipe = next(block for block in blocks("toml") if "news.toml" in block)
    (folder / "news.toml").write_text(recipe + SMALL)
    documents = [json.dumps({"text": text}) for text in corpus(200).split("\n\n")]
    (folder / "corpora/news").mkdir(parents=True)
    (folder / "corpora/more").mkdir()
    with gzip.open(folder / "corpora/news/first.jsonl.gz", "wt") as stream:
        stream.write("\n".join(documents[:100]))
    (folder / "corpora/more/second.jsonl").write_text("\n".join(documents[100:]))
    reviews = [f"a {word} film {number},{word}\n" for number in range(60) for word in ("good", "bad")]
    (folder / "reviews.csv").write_text("text,label\n" + "".join(reviews))
    return folder


def test_every_command_works(folder: Path) -> None:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environ = environment() | {"PATH": path, "OMP_NUM_THREADS": "1"}
    tried = commands()
    assert len(tried) > 8
    for command in tried:
        process = subprocess.Popen(
            shlex.split(command), cwd=folder, env=environ, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        if "tensorboard" in command:  # it serves until it is stopped
            assert process.stdout is not None
            assert any("http://localhost" in line or "http://127.0.0.1" in line for line in process.stdout)
            process.send_signal(signal.SIGINT)
        out = process.communicate(timeout=180)[0]
        assert process.returncode == 0 or "tensorboard" in command, f"{command}\n{out}"
    assert (folder / "runs/news/checkpoints/step_00000004").is_dir()


def test_python_block_works(folder: Path) -> None:
    (block,) = blocks("python")
    program = f"{block}\nprint(failures, hours > 0, training.finished, len(rows) == len(table))\n"
    ended = subprocess.run(
        [sys.executable, "-"], input=program, cwd=folder, env=environment(), capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert ended.stdout.splitlines()[-1] == "[] True True True"
    assert (folder / "news-bert/model.safetensors").is_file()


@pytest.mark.parametrize("link", re.findall(r"\]\(([^)#:]+)\)", README))
def test_links_point_to_existing_files(link: str) -> None:
    assert (ROOT / link).exists()


def test_continuous_integration_runs_the_demo_and_the_tests() -> None:
    script = (ROOT / ".ci/run").read_text()
    assert "bash launch/demo/demo.sh" in script
    assert "bash tests/run.sh" in script


def test_messages_in_the_table_appear_in_the_code() -> None:
    source = "\n".join(file.read_text() for package in PACKAGES for file in (ROOT / package).rglob("*.py"))
    table = README.split("## When something goes wrong")[1].split("## ")[0]
    messages = [
        text for row in re.findall(r"^\| (`.*?) \|", table, re.MULTILINE) for text in re.findall(r"`([^`]+)`", row)
    ]
    assert len(messages) > 8
    for message in messages:
        fixed = re.split(r"…|:", message)[0].strip()
        assert fixed in source, message
