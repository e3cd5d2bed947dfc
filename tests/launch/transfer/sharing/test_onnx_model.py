"""The exported encoder in ONNX Runtime."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime  # type: ignore[import-untyped]  # comes without types
import pytest
import torch

from configs.errors import UserError
from launch.transfer.huggingface import export_run
from launch.transfer.sharing import onnx_model
from pretrain.huggingface.folder import padded
from pretrain.huggingface.pretrained import load_pretrained
from pretrain.transfer.tasks.rows import TokenRow, batch_of
from tests.launch.transfer.test_modernbert import modern_run
from tests.pretrain.runs import some_model, write_run

pytestmark = pytest.mark.slow


INPUTS = ["input_ids", "token_type_ids", "attention_mask"]


@pytest.mark.parametrize("kind", ["bert", "bert with one token type", "modernbert"])
def test_the_file_computes_the_runs_hidden_states_at_other_sizes(tmp_path: Path, kind: str) -> None:
    fields: dict[str, Any] = {"type_vocab_size": 1} if "one" in kind else {}
    run = modern_run(tmp_path) if kind == "modernbert" else write_run(tmp_path, some_model(**fields), **fields)
    exported = export_run(run, tmp_path / "out", onnx=True)
    assert exported.onnx_difference is not None
    assert 0 < exported.onnx_difference < 1e-4
    batch = batch_of([TokenRow([2, 7, 8, 3], [0] * 4), TokenRow([2, 9, 3], [0] * 3)], [])
    inputs = padded(batch)
    model = load_pretrained(run).model("none").eval()
    with torch.no_grad():
        *_, expected = model.bert.hidden_states(batch)
    session = onnxruntime.InferenceSession(tmp_path / "out" / "onnx" / "model.onnx")
    names = [one.name for one in session.get_inputs()]
    assert names == [name for name in INPUTS if kind == "bert" or name != "token_type_ids"]
    (found,) = session.run(None, {name: inputs[name].numpy() for name in names})
    np.testing.assert_allclose(found[inputs["attention_mask"].bool().numpy()], expected.numpy(), atol=1e-4)


def test_outputs_that_differ_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnx_model, "TOLERANCE", -1.0)
    with pytest.raises(UserError, match="ONNX Runtime's hidden states differ by"):
        export_run(write_run(tmp_path, some_model()), tmp_path / "out", onnx=True)
    assert not (tmp_path / "out").exists()
