"""TensorBoard of real trainings in a real headless Chromium: charts, hparams and texts are there and not empty."""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pretrain.telemetry import read_metrics
from pretrain.telemetry.boards.dashboard import CHARTS, HELD_OUT_LOSS
from tests.integration.small import bertrain, command, environment, write_small

pytestmark = pytest.mark.slow
playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
RATES = {"low": "1e-4", "high": "1e-2"}
WAIT_MS = 60_000


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two trainings that differ in the learning rate."""
    if CHROMIUM is None:
        pytest.skip("no Chromium is installed")
    folder = tmp_path_factory.mktemp("board")
    write_small(folder)
    for name, rate in RATES.items():
        changes = [f"name={name}", f"optimizer.learning_rate={rate}", "train.evaluate_every_steps=4"]
        changes.append("train.histogram_every_steps=2")
        assert bertrain(folder, "prepare", "recipe.toml", *changes).returncode == 0
        trained = bertrain(folder, "train", "recipe.toml", *changes)
        assert trained.returncode == 0, trained.stderr
    return folder


@pytest.fixture(scope="module")
def address(folder: Path) -> Iterator[str]:
    """The address at which `bertrain tensorboard` serves them."""
    argv = command("tensorboard", *(f"runs/{name}" for name in RATES))
    server = subprocess.Popen(argv, cwd=folder, env=environment(), stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    line = next(line for line in server.stdout if line.startswith("TensorBoard: "))
    yield re.findall(r"http://\S+", line)[0]
    server.send_signal(signal.SIGINT)
    server.communicate(timeout=60)


@pytest.fixture(scope="module")
def browser(address: str) -> Iterator[Any]:
    with playwright.sync_playwright() as running:
        chromium = running.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = chromium.new_page(viewport={"width": 1600, "height": 1000})
        page.set_default_timeout(WAIT_MS)
        while True:  # until the server listens
            try:
                page.goto(address)
                break
            except playwright.Error:
                page.wait_for_timeout(500)
        yield page
        chromium.close()


def open_tab(page: Any, address: str, tab: str) -> None:
    page.goto("about:blank")
    page.goto(f"{address}/#{tab}")


def test_every_custom_chart_has_curves(browser: Any, address: str, tmp_path: Path) -> None:
    open_tab(browser, address, "custom_scalars")
    for title in (title for charts in CHARTS.values() for title in charts):
        chart = browser.locator("tf-custom-scalar-multi-line-chart-card").filter(has_text=title)
        chart.scroll_into_view_if_needed()
        chart.filter(has_text=re.compile(r"Matches \([1-9]")).wait_for()
        curves = chart.locator("svg path[d*='L']")
        curves.first.wait_for(state="attached")
        assert curves.count() >= len(RATES), title
    browser.screenshot(path=tmp_path / "custom_scalars.png")


def test_hparams_compare_the_runs_with_their_held_out_loss(
    browser: Any, address: str, folder: Path, tmp_path: Path
) -> None:
    open_tab(browser, address, "hparams")
    browser.get_by_text("optimizer.learning_rate").first.wait_for()
    table = browser.locator("vaadin-grid")
    for name in RATES:
        table.get_by_text(name, exact=True).first.wait_for()
    shown = table.inner_text()
    assert HELD_OUT_LOSS in shown
    for name in RATES:
        loss = read_metrics(folder / "runs" / name)[-1]["valid_mlm_loss"]
        assert f"{loss:.5g}" in shown
    browser.screenshot(path=tmp_path / "hparams.png")


def test_the_texts_are_tables_without_sideways_scrolling(browser: Any, address: str, tmp_path: Path) -> None:
    open_tab(browser, address, "text")
    browser.get_by_role("columnheader", name="predicted").nth(len(RATES) - 1).wait_for()
    browser.get_by_role("cell", name="global_batch_size", exact=True).nth(len(RATES) - 1).wait_for()
    boxes = browser.locator("tf-text-loader").all()
    assert len(boxes) == 2 * len(RATES)  # predictions and the recipe
    assert all(box.evaluate("box => box.scrollWidth <= box.clientWidth") for box in boxes)
    browser.screenshot(path=tmp_path / "text.png")


def test_histograms_of_weights_and_gradients_are_drawn(browser: Any, address: str, tmp_path: Path) -> None:
    open_tab(browser, address, "histograms")
    for kind in ("weights", "gradients"):
        group = browser.locator("tf-category-paginated-view").filter(has_text=f"{kind}/bert.embeddings")
        group.scroll_into_view_if_needed()
        curves = group.locator("tf-histogram-loader svg path[d*='L']")
        curves.first.wait_for(state="attached")
        assert curves.count() >= len(RATES)
        browser.screenshot(path=tmp_path / f"{kind}.png")


def test_the_projector_shows_the_word_pieces(browser: Any, address: str, tmp_path: Path) -> None:
    open_tab(browser, address, "projector")
    shown = browser.frame_locator("iframe").frame_locator("iframe").get_by_text(re.compile(r"Points: [1-9]\d")).first
    shown.wait_for()
    browser.screenshot(path=tmp_path / "projector.png")
