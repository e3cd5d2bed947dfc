"""Train on several data sets, local and staged from URLs, through the command line."""

from __future__ import annotations

from pathlib import Path

import pytest

from pretrain.telemetry.metrics_file import read_metrics
from tests.integration.small import bertrain
from tests.pretrain.synthetic import write_dataset

RECIPE = """\
name = "mixed"
[data]
dataset = "{place}/one"
max_seq_length = 32
max_predictions_per_seq = 20
[model]
hidden_size = 16
num_hidden_layers = 1
num_attention_heads = 2
intermediate_size = 16
max_position_embeddings = 32
hidden_dropout_prob = 0.0
attention_probs_dropout_prob = 0.0
norm = "pre"
[optimizer]
warmup_steps = 2
[train]
steps = 6
global_batch_size = 16
micro_batch_size = 8
precision = "fp32"
shuffle_window_rows = 64
evaluate_rows = 8
stage_gib = 0.001
[[train.mixture]]
dataset = "{place}/one"
weight = 2.0
[[train.mixture]]
dataset = "{place}/two"
weight = 1.0
[cluster]
device = "cpu"
ranks_per_node = 2
cpu_threads = 1
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("mixed")
    for seed, name in enumerate(("one", "two")):
        write_dataset(folder / name, [[90, 70], [80, 80]], [20], seed=seed)
    (folder / "local.toml").write_text(RECIPE.format(place="."))
    (folder / "staged.toml").write_text(RECIPE.format(place=f"file://{folder}"))
    return folder


def test_mixture_staged_from_urls_resumes_at_another_world_size_with_the_same_rows(folder: Path) -> None:
    local = bertrain(folder, "train", "local.toml")
    assert local.returncode == 0, local.stdout + local.stderr
    assert "66.7% of the rows" in local.stdout
    stage = f"train.stage_in={folder}/stage"
    begun = bertrain(folder, "train", "staged.toml", "name=staged", "train.steps=3", "optimizer.decay=constant", stage)
    assert begun.returncode == 0, begun.stdout + begun.stderr
    options = ("name=staged", "optimizer.decay=constant", "cluster.ranks_per_node=1", stage)
    ended = bertrain(folder, "train", "staged.toml", *options)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "resumed from step 3" in ended.stdout
    mine, theirs = read_metrics(folder / "runs/staged"), read_metrics(folder / "runs/mixed")
    assert [record["rows"] for record in mine] == [record["rows"] for record in theirs]
    assert [record["loss"] for record in mine[:4]] == pytest.approx([record["loss"] for record in theirs[:4]], rel=1e-5)
    assert list((folder / "stage").glob("*/*.checked"))


@pytest.mark.parametrize(
    ("override", "cause"),
    [
        ("data.dataset=file:///nowhere/none", "no such data set, or not finished"),
        ("data.dataset=carrier-pigeon://coop/one", "carrier-pigeon"),
        ("train.mixture.1.weight=0.0", "greater than or equal to 0.000001"),
    ],
)
def test_unreadable_data_set_is_reported_in_one_line(folder: Path, override: str, cause: str) -> None:
    refused = bertrain(folder, "train", "staged.toml", "name=refused", f"train.stage_in={folder}/stage", override)
    assert refused.returncode == 2, refused.stdout + refused.stderr
    assert refused.stderr.count("\n") == 1, refused.stderr
    assert cause in refused.stderr
