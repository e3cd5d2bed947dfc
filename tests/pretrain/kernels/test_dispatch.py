from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

from configs.errors import UserError
from pretrain.kernels import add_norm, attention
from pretrain.kernels.dispatch import choose_kernels


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    choose_kernels.cache_clear()
    yield
    choose_kernels.cache_clear()


def test_cpu_uses_references_and_logs_once(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        kernels = choose_kernels("cpu")
        assert choose_kernels("cpu") is kernels
    assert kernels.name == "reference"
    assert kernels.add_norm is add_norm.add_norm
    assert kernels.attend is attention.attend_plain
    assert [record.message for record in caplog.records] == ["kernels: reference, because the device is cpu"]


def test_gpu_uses_triton() -> None:
    pytest.importorskip("triton")
    assert choose_kernels("cuda").name == "triton"
    assert choose_kernels("cuda", "reference").name == "reference"


def test_gpu_without_triton_uses_references_and_warns(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert choose_kernels("cuda").name == "reference"
    assert "triton is not installed" in caplog.text


def test_requesting_triton_without_a_gpu_raises() -> None:
    with pytest.raises(UserError, match="Triton kernels cannot run"):
        choose_kernels("cpu", "triton")
