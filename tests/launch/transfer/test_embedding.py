from __future__ import annotations

import io
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from rich.console import Console
from rich.text import Text

import launch.transfer.embedding
from launch.commands.transfer import embed
from tests.launch.test_cli import bertrain
from tests.pretrain.runs import some_model, write_run


def test_the_command_writes_layers_and_mixes(tmp_path: Path) -> None:
    run = write_run(tmp_path, some_model())
    (tmp_path / "texts.txt").write_text("good film\nthe cat\n")
    (tmp_path / "mix.json").write_text('{"layers": [0, 2], "weights": [0.5, 0.5]}')
    common = ["embed", str(run), "texts.txt", "--max-length", "16"]
    all_layers = bertrain(*common, "--layers", "all", "-o", "all.npz", folder=tmp_path)
    assert all_layers.returncode == 0, all_layers.stderr
    assert "layer_0, layer_1, layer_2 of 2 texts, pooled by mean" in all_layers.stdout
    assert bertrain(*common, "--mix", "mix.json", "-o", "mix.arrow", folder=tmp_path).returncode == 0
    layers = np.load(tmp_path / "all.npz")
    mixed = np.array(pa.ipc.open_file(tmp_path / "mix.arrow").read_all()["mix"].to_pylist())
    np.testing.assert_allclose(mixed, (layers["layer_0"] + layers["layer_2"]) / 2, atol=1e-6)


def test_negative_layers_are_averaged_and_progress_reaches_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, screen = write_run(tmp_path, some_model()), io.StringIO()
    (tmp_path / "texts.jsonl").write_text('{"body": "good film"}\n{"body": "the cat"}\n')
    monkeypatch.setattr(
        launch.transfer.embedding, "console", lambda: Console(file=screen, force_terminal=True, width=100)
    )
    write = partial(embed, run, tmp_path / "texts.jsonl", text="body", layers="1,-1", max_length=16)
    write(tmp_path / "two.npz")
    write(tmp_path / "mean.npz", mix="mean")
    two, mean = np.load(tmp_path / "two.npz"), np.load(tmp_path / "mean.npz")
    assert two.files == ["layer_1", "layer_2"]
    np.testing.assert_allclose(mean["mix"], (two["layer_1"] + two["layer_2"]) / 2, atol=1e-6)
    shown = Text.from_ansi(screen.getvalue()).plain
    assert "Embedding" in shown
    assert "100%" in shown


def test_empty_texts_and_unknown_words_are_counted(tmp_path: Path) -> None:
    run = write_run(tmp_path, some_model())
    (tmp_path / "texts.txt").write_text("good film\n\n \n")
    common = ("embed", str(run), "texts.txt", "--max-length", "16", "-o")
    ended = bertrain(*common, "a.npz", folder=tmp_path)
    assert "2 of 3 texts are empty: vectors of [CLS] and [SEP]\n" in ended.stdout
    assert "[UNK]" not in ended.stdout
    (tmp_path / "texts.txt").write_text("хорошо good\n")
    assert "warning: 50% of the word pieces are [UNK]" in bertrain(*common, "b.npz", folder=tmp_path).stdout


def test_user_errors_are_one_line(tmp_path: Path) -> None:
    run = write_run(tmp_path, some_model())
    (tmp_path / "texts.txt").write_text("good film\n")
    common = ["embed", str(run), "texts.txt", "-o", "out.npz"]
    for wrong, words in (
        (["--layers", "last"], "'last' is not a list of layers"),
        (["--layers", "9", "--max-length", "16"], "the model has 0 to 2"),
        (["--mix", "median"], "no such mix"),
    ):
        refused = bertrain(*common, *wrong, folder=tmp_path)
        assert (refused.returncode, refused.stderr.count("\n")) == (2, 1)
        assert words in refused.stderr
