"""Weights & Biases offline, and MLflow in a folder: what they hold after two starts of a run."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import pytest

from configs.errors import UserError
from pretrain.telemetry.boards import trackers
from pretrain.telemetry.boards.trackers import IDS, Trackers

pytestmark = pytest.mark.slow
SETTINGS = {"train.steps": 3, "optimizer.learning_rate": 1e-3}


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", (tmp_path / "mlruns").as_uri())
    folder = tmp_path / "runs" / "small"
    folder.mkdir(parents=True)
    return folder


def test_a_second_start_continues_the_mlflow_run(run: Path) -> None:
    import mlflow

    for steps, failed in (([1, 2, 3], True), ([3, 4], False)):
        tracked = Trackers(["mlflow"], run, SETTINGS)
        for step in steps:
            tracked.scalars({"loss/mlm": 1 / step}, step)
        tracked.close(failed=failed)
    (found,) = mlflow.search_runs(search_all_experiments=True, output_format="list")
    assert (found.info.run_name, found.info.status) == ("small", "FINISHED")
    assert found.data.params == {name: str(value) for name, value in SETTINGS.items()}
    history = mlflow.MlflowClient().get_metric_history(found.info.run_id, "loss/mlm")
    assert sorted((each.step, each.value) for each in history) == [
        (1, 1.0), (2, 1 / 2), (3, 1 / 3), (3, 1 / 3), (4, 1 / 4),
    ]  # fmt: skip


def test_wandb_gets_each_step_of_both_starts_under_one_id(run: Path) -> None:
    for steps in ([1, 2], [2, 3]):
        tracked = Trackers(["wandb"], run, SETTINGS)
        for step in steps:
            tracked.scalars({"loss/mlm": 1 / step}, step)
        tracked.close(failed=False)
    identity = json.loads((run / IDS).read_text())["wandb"]
    files = sorted(run.glob(f"wandb/offline-run-*/run-{identity}.wandb"))
    assert [records(file) for file in files] == [
        [{"step": 1, "loss/mlm": 1.0}, {"step": 2, "loss/mlm": 0.5}],
        [{"step": 2, "loss/mlm": 0.5}, {"step": 3, "loss/mlm": pytest.approx(1 / 3)}],
    ]


def records(file: Path) -> list[dict[str, Any]]:
    """Return what was logged into a short offline file of Weights & Biases: a LevelDB log of one block."""
    from wandb.proto import wandb_internal_pb2  # whose names are made at run time

    content, found, place = file.read_bytes(), [], 7  # behind the file's header
    assert len(content) < 32_768
    while place < len(content):
        _, length, _ = struct.unpack_from("<IHB", content, place)
        record: Any = vars(wandb_internal_pb2)["Record"].FromString(content[place + 7 : place + 7 + length])
        place += 7 + length
        if record.WhichOneof("record_type") == "history":
            items = {item.key or item.nested_key[0]: json.loads(item.value_json) for item in record.history.item}
            found.append({name: value for name, value in items.items() if not name.startswith("_")})
    return found


def test_a_service_that_fails_is_left_out_and_training_continues(
    run: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    class Failing:
        def scalars(self, values: object, step: int) -> None:
            raise ConnectionError("no route to host")

        def close(self, *, failed: bool) -> None:
            raise AssertionError("it was left out")

    monkeypatch.setitem(trackers._SERVICES, "mlflow", lambda *_: Failing())
    tracked = Trackers(["mlflow"], run, {})
    for step in (1, 2):
        tracked.scalars({"loss/mlm": 1.0}, step)
    tracked.close(failed=False)
    assert [record.getMessage() for record in caplog.records] == [
        "mlflow: no route to host; the steps from here on are in the run folder only"
    ]


def test_a_service_that_cannot_be_reached_is_refused_at_the_start(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(UserError, match="mlflow cannot be started"):
        Trackers(["mlflow"], run, {})
