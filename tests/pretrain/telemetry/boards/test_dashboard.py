"""TensorBoard's charts, recipe and hparams, as its own plugins read them from a run's files."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.custom_scalar import layout_pb2
from tensorboard.plugins.hparams import plugin_data_pb2

from configs.recipe import load_recipe, resolved_toml
from configs.run_layout import TENSORBOARD
from pretrain.telemetry.boards.dashboard import HELD_OUT_LOSS, hparams_of, recipe_tables
from pretrain.telemetry.metrics import MetricsLog
from tests.pretrain.telemetry.test_metrics import EVALUATION, STEP, TRAIN

DEMO = resolved_toml(load_recipe("demo"))


def board_of(run: Path) -> EventAccumulator:
    full = replace(STEP, mfu=0.4, reserved_gib=1.0, allocation_retries=0)
    with MetricsLog(run, TRAIN, resumed_step=0, recipe_toml=DEMO) as log:
        log.write_step(full)
        log.write_evaluation(replace(EVALUATION, step=1))
        log.write_predictions("| text |\n|:--|\n| a |", 1)
    return EventAccumulator(str(run / TENSORBOARD)).Reload()


def test_every_tag_of_the_charts_is_written(tmp_path: Path) -> None:
    board = board_of(tmp_path)
    tags = board.Tags()["scalars"]
    written = board.Tensors("custom_scalars__config__")[0].tensor_proto.string_val[0]
    layout = layout_pb2.Layout.FromString(written)
    assert [category.title for category in layout.category] == ["loss", "throughput", "optimizer", "faults"]
    for category in layout.category:
        for chart in category.chart:
            for pattern in chart.multiline.tag:
                assert any(re.search(pattern, tag) for tag in tags), (chart.title, pattern)
    together = layout.category[0].chart[0].multiline.tag
    assert ["^loss/mlm$", f"^{HELD_OUT_LOSS}$"] == list(together)[:2]


def test_hparams_are_the_recipes_values_beside_the_held_out_loss(tmp_path: Path) -> None:
    metadata = board_of(tmp_path).SummaryMetadata("_hparams_/experiment")
    experiment = plugin_data_pb2.HParamsPluginData.FromString(metadata.plugin_data.content).experiment
    assert [info.name.tag for info in experiment.metric_infos] == [HELD_OUT_LOSS]
    names = {info.name for info in experiment.hparam_infos}
    assert names == hparams_of(DEMO).keys()
    assert {"optimizer.learning_rate", "train.global_batch_size", "model.hidden_size", "data.objective"} <= names


def test_the_recipe_is_a_narrow_table() -> None:
    text = recipe_tables(DEMO)
    assert "**optimizer**\n\n| key | value |" in text
    assert "| learning_rate | `0.002` |" in text
    assert max(map(len, text.splitlines())) < 120


def test_predictions_are_a_text_of_their_step(tmp_path: Path) -> None:
    (text,) = board_of(tmp_path).Tensors("predictions/text_summary")
    assert (text.step, text.tensor_proto.string_val[0][:8]) == (1, b"| text |")
