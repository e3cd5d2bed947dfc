from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from pretrain.model import Batch
from pretrain.telemetry.predictions import ROWS, predictions_table
from tests.pretrain.runs import VOCAB, some_model


def batch_of(rows: int) -> Batch:
    """Rows of [CLS] the [MASK] was [SEP], whose original piece is `bank`."""
    ids = [VOCAB.pieces.index(piece) for piece in ("[CLS]", "the", "[MASK]", "was", "[SEP]")]
    return Batch(
        input_ids=torch.tensor(ids * rows),
        token_type_ids=torch.zeros(5 * rows, dtype=torch.int64),
        position_ids=torch.arange(5).repeat(rows),
        offsets=torch.arange(0, 5 * rows + 1, 5, dtype=torch.int32),
        max_length=5,
        masked_positions=torch.arange(2, 5 * rows, 5),
        masked_ids=torch.full((rows,), VOCAB.pieces.index("bank")),
        next_sentence_label=torch.zeros(rows, dtype=torch.int64),
    )


@pytest.mark.parametrize("rows", [1, 3, 9])
def test_the_table_has_the_text_the_original_and_the_models_best_guesses(rows: int) -> None:
    model, batch = some_model(), batch_of(rows)
    lines = predictions_table(model, batch, VOCAB.pieces).splitlines()
    assert len(lines) == 2 + min(rows, ROWS)
    with torch.no_grad():
        scores = model.logits(batch)[0][0].softmax(-1)
    best = VOCAB.pieces[int(scores.argmax())]
    text, original, predicted = lines[2].strip("| ").split(" | ")
    assert text == "&#91;CLS&#93; the →&#91;MASK&#93;← was &#91;SEP&#93;"
    assert original == "bank"
    assert predicted.startswith(f"{best.replace('#', '&#35;')} {float(scores.max()):.0%}")


def test_from_left_to_right_a_piece_is_shown_where_it_is_in_the_text() -> None:
    model = some_model(objective="none", attention="left_to_right")
    batch = batch_of(1)
    batch = replace(batch, masked_positions=batch.masked_positions - 1)
    text, *_ = predictions_table(model, batch, VOCAB.pieces).splitlines()[2].strip("| ").split(" | ")
    assert text == "&#91;CLS&#93; the →&#91;MASK&#93;← was &#91;SEP&#93;"


def test_an_evaluation_of_a_run_shows_predictions(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    from configs.recipe import load_recipe, write_recipe
    from tests.integration.small import bertrain
    from tests.integration.test_telling import FEW, ON_CPU, SLOW, align
    from tests.pretrain.runs import write_run

    run = write_run(tmp_path, some_model())
    settings = [*ON_CPU, *FEW, *SLOW, "train.profile_steps=[9]"]
    write_recipe(load_recipe(run / "recipe.toml", settings), run / "recipe.toml")
    align(run)
    trained = bertrain(tmp_path, "train", str(run))
    assert trained.returncode == 0, trained.stderr
    assert "https://ui.perfetto.dev" in trained.stdout
    assert "step_00000009.pt.trace.json.gz" in trained.stdout
    assert max(map(len, trained.stdout.replace(str(run), "run").splitlines())) <= 100
    board = EventAccumulator(str(run / "tb")).Reload()
    (text,) = board.Tensors("predictions/text_summary")
    assert text.step == 10
    assert b"| text | original | predicted |" in text.tensor_proto.string_val[0]
