from __future__ import annotations

from pathlib import Path

import pytest

from configs.errors import UserError
from launch.demo.continuing import main, masked_rows, show_comparison
from preprocessing.vocabulary.tokenizer_json import MASK
from pretrain.huggingface.pretrained import dataset_of, load_pretrained, recipe_of
from pretrain.transfer.filling import Filler
from tests.pretrain.runs import VOCAB, some_model, write_run


def run_with_loss(folder: Path, loss: float) -> Path:
    run = write_run(folder, some_model())
    metrics = run / "metrics.jsonl"
    metrics.write_text(metrics.read_text().replace('"valid_mlm_loss": 2.0', f'"valid_mlm_loss": {loss}'))
    return run


def test_both_runs_are_compared_and_fill_the_same_masks(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    continued, fresh = run_with_loss(tmp_path / "a", 2.0), run_with_loss(tmp_path / "b", 3.5)
    show_comparison(continued, fresh, rows=3)
    said = capsys.readouterr().out
    assert "unigram      4.00" in said
    assert "2.00, accuracy 30.0 %" in said
    assert "lowers the loss by 1.50 nats" in said
    masked = list(masked_rows(dataset_of(continued, recipe_of(continued)), 3))
    assert said.count("____") == sum(len(row.places) for row in masked) > 0
    first = Filler(load_pretrained(continued)).fill_row(masked[0].row, masked[0].places, 1)[0]
    assert f"{VOCAB.pieces[masked[0].true_ids[0]]:<14} small: {first.pieces[0]} {first.probabilities[0]:.2f}" in said
    assert all(row.row.input_ids[place] == VOCAB.ids[MASK] for row in masked for place in row.places)


def test_a_small_difference_fails(tmp_path: Path) -> None:
    continued, fresh = run_with_loss(tmp_path / "a", 2.0), run_with_loss(tmp_path / "b", 2.9)
    with pytest.raises(UserError, match=r"less than 1\.0 nats"):
        show_comparison(continued, fresh, rows=1)
    with pytest.raises(SystemExit, match=r"error: .*less than"):
        main([str(continued), str(fresh)])
    (fresh / "metrics.jsonl").write_text("")
    with pytest.raises(UserError, match="has no evaluation"):
        show_comparison(continued, fresh, rows=1)
