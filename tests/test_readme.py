"""Run the documentation's Python block, and check the README's links and length. tests/walk runs its commands."""

from __future__ import annotations

import gzip
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.integration.small import corpus, environment

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
DOCS = ROOT / "launch" / "docs"

SHORT = {"steps = 20_000": "steps = 4", "batch_size = 64": "batch_size = 8"}
SMALL = """
[model]
hidden_size = 32
num_hidden_layers = 1
num_attention_heads = 2
intermediate_size = 64
max_position_embeddings = 128
[optimizer]
warmup_steps = 1
[cluster]
device = "cpu"
ranks_per_node = 2
"""


def block(page: str, language: str) -> str:
    """The first block of a page in a language."""
    (text,) = re.findall(rf"```{language}\n(.*?)```", (DOCS / page).read_text(encoding="utf-8"), re.DOTALL)[:1]
    return str(text)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the documented recipe, reduced in size, and text at the paths that it names."""
    folder = tmp_path_factory.mktemp("readme")
    recipe = block("howto/corpus.md", "toml")
    for stated, short in SHORT.items():
        assert stated in recipe
        recipe = recipe.replace(stated, short)
    (folder / "news.toml").write_text(recipe + SMALL)
    documents = [json.dumps({"text": text}) for text in corpus(200).split("\n\n")]
    (folder / "corpora/news").mkdir(parents=True)
    (folder / "corpora/more").mkdir()
    with gzip.open(folder / "corpora/news/first.jsonl.gz", "wt") as stream:
        stream.write("\n".join(documents[:100]))
    (folder / "corpora/more/second.jsonl").write_text("\n".join(documents[100:]))
    return folder


def test_python_block_works(folder: Path) -> None:
    program = (
        f"{block('python.md', 'python')}\nprint(failures, hours > 0, training.finished, len(rows) == len(table))\n"
    )
    ended = subprocess.run(
        [sys.executable, "-"], input=program, cwd=folder, env=environment(), capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert ended.stdout.splitlines()[-1] == "[] True True True"
    assert (folder / "notebook-bert/model.safetensors").is_file()


@pytest.mark.parametrize("link", re.findall(r"\]\(([^)#:]+)\)", README))
def test_links_point_to_existing_files(link: str) -> None:
    assert (ROOT / link).exists()


def test_continuous_integration_runs_the_demo_and_the_tests() -> None:
    script = (ROOT / ".ci/run").read_text()
    assert "bash launch/demo/demo.sh" in script
    assert "bash tests/run.sh" in script


def test_it_is_short() -> None:
    assert len(README.split()) <= 800
