"""A byte-level BPE from raw text to a verified export through the command line, and what is done with the model."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import transformers

from preprocessing.dataset import TOKENIZER
from pretrain.telemetry.metrics_file import read_metrics
from tests.integration.small import RECIPE, bertrain, write_small

MODEL = 'architecture = "modernbert"\nlayer_norm_eps = 1e-5\nattention_probs_dropout_prob = 0.0\n'


def succeed(folder: Path, *arguments: str) -> str:
    done = bertrain(folder, *arguments, timeout_s=300)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("model", ["", MODEL], ids=["bert", "modernbert"])
def test_a_byte_level_model_is_trained_and_used(tmp_path: Path, model: str) -> None:
    write_small(tmp_path)
    recipe = RECIPE.replace("[data]\n", '[data]\nobjective = "none"\n')
    recipe = recipe.replace("[data.vocabulary]\n", '[data.vocabulary]\nkind = "tokenizer"\n')
    (tmp_path / "recipe.toml").write_text(recipe.replace("[model]\n", f"[model]\n{model}"))
    succeed(tmp_path, "train", "recipe.toml", "--dry-run")
    succeed(tmp_path, "prepare", "recipe.toml", "data.workers=1")
    succeed(tmp_path, "verify", "dataset")
    succeed(tmp_path, "inspect", "dataset")
    succeed(tmp_path, "train", "recipe.toml")
    last = read_metrics(tmp_path / "runs/small")[-1]
    assert f"mlm loss {last['valid_mlm_loss']:.4f}" in succeed(tmp_path, "evaluate", "runs/small")
    assert "real rows differ by at most" in succeed(tmp_path, "export", "runs/small", "-o", "exported")
    assert (tmp_path / "exported" / TOKENIZER).read_bytes() == (tmp_path / "dataset" / TOKENIZER).read_bytes()
    text = (tmp_path / "corpus.txt").read_text().splitlines()[0]
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / "exported")
    assert tokenizer.decode(tokenizer(text)["input_ids"], skip_special_tokens=True) == text
    assert "[MASK]" not in succeed(tmp_path, "fill", "runs/small", "Ba [MASK] be.").splitlines()[-1]
    (tmp_path / "texts.txt").write_text(f"{text}\nDa de di.\n")
    succeed(tmp_path, "embed", "exported", "texts.txt", "-o", "vectors.npz")
    labels = [{"text": f"{word} {number} da.", "label": word} for word in ("ba", "fe") for number in range(100)]
    (tmp_path / "labels.jsonl").write_text("".join(json.dumps(label) + "\n" for label in labels))
    task = ["finetune", "runs/small", "labels.jsonl", "--kind", "classify", "-o", "task"]
    succeed(tmp_path, *task, "finetune.epochs=1", "finetune.seeds=1")
    succeed(tmp_path, "import", "exported", "recipe.toml", "name=again")
    succeed(tmp_path, "prepare", "runs/again", "data.dataset=dataset-again", "data.workers=1")
    succeed(tmp_path, "train", "runs/again", "data.dataset=dataset-again", "train.steps=4")
