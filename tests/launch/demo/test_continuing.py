from __future__ import annotations

from pathlib import Path

import pytest

from configs.errors import UserError
from launch.demo.continuing import main, masked_rows, show_comparison
from preprocessing.vocabulary.tokenizer_json import MASK
from pretrain.huggingface.pretrained import dataset_of, load_pretrained, recipe_of
from pretrain.transfer.filling import Filler
from tests.pretrain.runs import VOCAB, some_model, write_run


def run_with(folder: Path, name: str, loss: float, nsp_accuracy: float = 0.3) -> Path:
    """Return a run of this name whose last evaluation has this loss and accuracy; its other accuracy is 0.3."""
    run = write_run(folder, some_model())
    metrics = run / "metrics.jsonl"
    text = metrics.read_text().replace('"valid_mlm_loss": 2.0', f'"valid_mlm_loss": {loss}')
    metrics.write_text(text.replace('"valid_nsp_accuracy": 0.3', f'"valid_nsp_accuracy": {nsp_accuracy}'))
    return run.rename(run.parent / name)


def test_both_runs_are_compared_and_fill_the_same_masks(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    continued = run_with(tmp_path / "a", "continued", 2.0, 0.8)
    fresh = run_with(tmp_path / "b", "from-random", 3.5, 0.5)
    show_comparison(continued, fresh, rows=3)
    said = capsys.readouterr().out
    dataset = dataset_of(continued, recipe_of(continued))
    documents = dataset.manifest.statistics.held_out_documents
    assert said.startswith(f"After training on the same rows, on 40 held-out pairs\nfrom {documents} documents")
    table = [line.split() for line in said.splitlines()[3:8]]
    assert table == [
        ["masked", "words", "next", "sentence"],
        ["loss", "(nats)", "accuracy", "accuracy"],
        ["guessing", "4.00", "50.0%"],
        ["continued", "2.00", "30.0%", "80.0%"],
        ["from-random", "3.50", "30.0%", "50.0%"],
    ]
    masked = list(masked_rows(dataset, 3))
    assert said.count("____") == sum(len(row.places) for row in masked) > 0
    for run in (continued, fresh):
        first = Filler(load_pretrained(run)).fill_row(masked[0].row, masked[0].places, 1)[0]
        assert f"{run.name}: {first.pieces[0]} {first.probabilities[0]:.2f}" in said
    assert f"\n        {VOCAB.pieces[masked[0].true_ids[0]]:<14} continued: " in said
    assert all(row.row.input_ids[place] == VOCAB.ids[MASK] for row in masked for place in row.places)
    closing = " ".join(said.partition("What this means: ")[2].split())
    assert "right for 80% of the held-out pairs" in closing
    assert "leave it at 50%, where guessing gives 50%, and masked words gain 0.50 nats" in closing


def test_what_the_demo_promises_is_checked(tmp_path: Path) -> None:
    continued = run_with(tmp_path / "a", "continued", 2.0, 0.8)
    close = run_with(tmp_path / "b", "from-random", 2.9)
    with pytest.raises(UserError, match=r"less than 1\.0 nats"):
        show_comparison(continued, close, rows=1)
    with pytest.raises(SystemExit, match=r"error: .*less than"):
        main([str(continued), str(close)])
    unsure = run_with(tmp_path / "c", "continued", 2.0, 0.64)
    fresh = run_with(tmp_path / "d", "from-random", 3.5)
    with pytest.raises(UserError, match=r"next-sentence accuracy is below 65%"):
        show_comparison(unsure, fresh, rows=1)
    (fresh / "metrics.jsonl").write_text("")
    with pytest.raises(UserError, match="has no evaluation"):
        show_comparison(continued, fresh, rows=1)
