from __future__ import annotations

from pathlib import Path

import pytest

from configs.errors import UserError
from launch.commands.transfer import senses
from tests.pretrain.runs import some_model, write_run


def test_senses_prints_and_plots_every_layer(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = some_model(max_position_embeddings=200)  # the tiny vocabulary spells out most words
    senses(write_run(tmp_path, model, max_position_embeddings=200), picture=tmp_path / "bank.png")
    heading, *layers, summary, picture = capsys.readouterr().out.splitlines()
    assert heading.split() == ["layer", "silhouette", "accuracy"]
    assert [line.split()[0] for line in layers] == ["0", "1", "2"]
    assert summary == "bank in 24 sentences: 8 river, 8 money, 8 row; chance accuracy 33 %"
    assert Path(picture).read_bytes().startswith(b"\x89PNG")


def test_contexts_of_another_word(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = write_run(tmp_path, some_model())
    with pytest.raises(UserError, match="the package has no sentences for 'film'"):
        senses(run, word="film")
    (tmp_path / "film.tsv").write_text("thin\ta film of oil\nthin\tfilm of ice\ncinema\tgood film\ncinema\tbad film\n")
    senses(run, word="film", contexts=tmp_path / "film.tsv")
    assert "film in 4 sentences: 2 thin, 2 cinema; chance accuracy 50 %" in capsys.readouterr().out
