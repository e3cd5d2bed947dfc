"""A run starts from another run's weights, directly or through the Hugging Face format."""

from __future__ import annotations

from pathlib import Path

import pytest

from pretrain.telemetry.metrics_file import read_metrics
from tests.integration.small import bertrain, write_small

pytestmark = pytest.mark.slow  # a minute together: .ci/run names this file
EXACT = ["train.precision=fp32", "model.hidden_dropout_prob=0.0", "model.attention_probs_dropout_prob=0.0"]
ONE_RANK = ["cluster.ranks_per_node=1", *EXACT]


def succeed(folder: Path, *arguments: str) -> str:
    ended = bertrain(folder, *arguments)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a data set and a run of 12 steps."""
    folder = tmp_path_factory.mktemp("continuing")
    write_small(folder)
    succeed(folder, "prepare", "recipe.toml")
    succeed(folder, "train", "recipe.toml", *ONE_RANK)
    return folder


def test_a_second_phase_starts_where_the_first_ended(trained: Path) -> None:
    """Directly, and after an export and an import, the next step has the same loss."""
    overrides = [*ONE_RANK, "train.steps=4"]
    succeed(trained, "train", "recipe.toml", *overrides, "name=second", "train.initialise_from=runs/small")
    succeed(trained, "export", "runs/small", "--output", "exported")
    succeed(trained, "import", "exported", "recipe.toml", *overrides, "name=again")
    succeed(trained, "train", "runs/again", "data.vocabulary.file=dataset/vocab.txt")
    fresh, second, again = (read_metrics(trained / "runs" / name) for name in ("small", "second", "again"))
    assert fresh[0]["rows"] == second[0]["rows"] == again[0]["rows"]
    assert second[0]["mlm_loss"] < fresh[0]["mlm_loss"] - 0.1
    assert [r["loss"] for r in again] == pytest.approx([r["loss"] for r in second], rel=1e-6)


def test_resume_does_not_need_the_initial_run(trained: Path) -> None:
    overrides = [*ONE_RANK, "name=third", "train.initialise_from=start"]
    refused = bertrain(trained, "train", "recipe.toml", *overrides, "train.steps=3")
    assert refused.returncode == 2
    assert "no pretrained model" in refused.stderr
    (trained / "runs/small").rename(trained / "start")
    succeed(trained, "train", "recipe.toml", *overrides, "train.steps=3")
    (trained / "start").rename(trained / "runs/small")
    succeed(trained, "train", "recipe.toml", *overrides, "train.steps=5")
    assert [record["step"] for record in read_metrics(trained / "runs" / "third")] == [1, 2, 3, 4, 5]


def test_a_moved_run_is_used_without_its_data_set(trained: Path) -> None:
    (trained / "runs/small").rename(trained / "moved")
    (trained / "dataset").rename(trained / "gone")
    try:
        word = (trained / "moved/data/vocab.txt").read_text().split()[-1].removeprefix("##")
        assert "on 16 real rows differ" in succeed(trained, "export", "moved", "--output", "from-moved")
        succeed(trained, "fill", "moved", f"{word} [MASK].")
        records = (f"{word * number} {label},{label}\n" for number in range(1, 30) for label in "ab")
        (trained / "texts.csv").write_text("text,label\n" + "".join(records))
        (trained / "texts.txt").write_text(f"{word}\n{word} {word}\n")
        succeed(trained, "embed", "moved", "texts.txt", "--max-length", "32", "-o", "vectors.npz")
        few = ("finetune.epochs=1", "finetune.max_length=32")
        succeed(trained, "finetune", "moved", "texts.csv", "--kind", "classify", "-o", "tuned", *few)
        ended = bertrain(trained, "train", "recipe.toml", *ONE_RANK, "runs=elsewhere")
        assert ended.returncode == 2  # training needs the rows
    finally:
        (trained / "moved").rename(trained / "runs/small")
        (trained / "gone").rename(trained / "dataset")
