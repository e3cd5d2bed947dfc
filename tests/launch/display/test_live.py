"""The live display on real pseudo-terminals: whole, narrow, latin-1, without a size, slow and lost ones."""

from __future__ import annotations

import fcntl
import json
import os
import re
import signal
import struct
import subprocess
import sys
import termios
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from configs.recipe import load_recipe, write_recipe
from configs.run_layout import METRICS
from tests.integration.small import command, environment
from tests.integration.test_telling import FEW, ON_CPU, SLOW, align
from tests.pretrain.runs import some_model, write_run

# Shows a rank that prints a summary, steps and an evaluation, and records the steps, as training does.
SHOW = """
import sys
from pathlib import Path
from configs.schema import TrainConfig
from launch.display import training_screen
from launch.ranks import RankCommand, run_ranks
run, rank = Path(sys.argv[1]), (sys.executable, "-c", sys.argv[2], sys.argv[1])
with training_screen(run, TrainConfig(steps=400)) as screen:
    raise SystemExit(run_ranks([RankCommand(0, rank, {"PYTHONIOENCODING": "utf-8"}, run / "rank.log")], screen))
"""
RANK = """
import json, sys, time
from pathlib import Path
records = (Path(sys.argv[1]) / "metrics.jsonl").open("a", buffering=1)
print("run      a summary", flush=True)
for step in range(1, 201):
    record = {"step": step, "loss": 9 - step / 100, "tokens_per_s": 1234.5, "time_s": 60 + 0.5 * step}
    records.write(json.dumps(record) + "\\n")
    print(f"step {step:>3}/400  10% | loss {record['loss']:.4f} \\u2192\\n         continued", flush=True)
    time.sleep(0.002)
print("held-out at step 200: caf\\u00e9 \\u2192", flush=True)
"""
FAILING = RANK + "\nsys.stderr.write('error: out of luck (x): fix it\\n'); raise SystemExit(2)"


class Terminal:
    """A process on a pseudo-terminal, and all that it writes there."""

    def __init__(self, argv: Sequence[str], folder: Path, size: tuple[int, int] = (24, 80), **env: str) -> None:
        self.ours, theirs = os.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", *size, 0, 0))
        inherited = {name: value for name, value in environment().items() if name not in ("COLUMNS", "LINES")}
        self.process = subprocess.Popen(
            argv,
            cwd=folder,
            env=inherited | {"TERM": "xterm", "PYTHONIOENCODING": "utf-8"} | env,
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
        )
        os.close(theirs)

    def read(self) -> bytes:
        """Return the whole output, after the end of the process."""
        chunks: list[bytes] = []
        while True:
            try:
                chunk = os.read(self.ours, 1 << 16)
            except OSError:  # the other end is closed
                chunk = b""
            if not chunk:
                self.process.wait(60)
                return b"".join(chunks)
            chunks.append(chunk)


def shown(output: bytes, encoding: str = "utf-8") -> str:
    """Return the text without colours and movements of the cursor."""
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", output.decode(encoding)).replace("\r\n", "\n").replace("\r", "\n")


@pytest.fixture
def show(tmp_path: Path) -> Callable[..., Terminal]:
    def start(rank: str = RANK, size: tuple[int, int] = (24, 80), **env: str) -> Terminal:
        return Terminal([sys.executable, "-c", SHOW, str(tmp_path), rank], tmp_path, size, **env)

    return start


def test_the_bar_has_the_newest_numbers_and_the_last_lines(show: Callable[..., Terminal]) -> None:
    terminal = show()
    output = terminal.read()
    assert terminal.process.returncode == 0
    text = shown(output)
    assert text.index("run      a summary") < text.index("step 200/400")
    last = text[text.rindex("step 200/400 ━") :]
    assert " 50%\n" in last
    assert (
        "loss 7.0000 | 1,234 tokens/s | ETA 1 m 40 s" in last
    )  # 200 steps of 0.5 s; the first step's 60 s not counted
    assert "step 199/400  10% | loss 7.0100" in last
    assert "step 190/400" not in last
    assert text.count("held-out at step 200: café →") == 1
    assert b"\x1b[?25l" not in output  # the cursor stays visible, also after a kill


@pytest.mark.parametrize(("size", "width"), [((24, 40), 40), ((5, 80), 80), ((0, 0), 80)])
def test_the_display_fits_terminals_of_any_size(
    show: Callable[..., Terminal], size: tuple[int, int], width: int
) -> None:
    terminal = show(size=size)
    lines = shown(terminal.read()).splitlines()
    assert terminal.process.returncode == 0
    assert any("1,234 tokens/s" in line for line in lines)
    assert max(map(len, lines)) <= width


def test_a_latin_1_terminal_gets_what_it_has(show: Callable[..., Terminal]) -> None:
    terminal = show(PYTHONIOENCODING="latin-1")
    text = shown(terminal.read(), "latin-1")
    assert terminal.process.returncode == 0
    assert "held-out at step 200: café ?" in text
    assert "step 200/400 ---" in text


def test_an_error_is_the_last_text(show: Callable[..., Terminal]) -> None:
    terminal = show(FAILING)
    text = shown(terminal.read())
    assert terminal.process.returncode == 2
    assert text.rstrip().endswith("error: out of luck (x): fix it")


def test_a_terminal_that_nobody_reads_does_not_block_the_training(show: Callable[..., Terminal]) -> None:
    terminal = show(RANK.replace("range(1, 201)", "range(1, 2001)"))
    assert terminal.process.wait(120) == 0  # its output is not read until now: the terminal is full


def test_a_terminal_that_vanishes_does_not_end_the_training(show: Callable[..., Terminal], tmp_path: Path) -> None:
    terminal = show()
    os.read(terminal.ours, 1)
    os.close(terminal.ours)
    assert terminal.process.wait(60) == 0
    assert json.loads((tmp_path / METRICS).read_text().splitlines()[-1])["step"] == 200


def test_a_display_that_fails_is_replaced_by_plain_lines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from configs.schema import TrainConfig
    from launch.display.live import LiveDisplay
    from launch.ranks import Screen

    taken: list[bytes] = []
    display = LiveDisplay(tmp_path, TrainConfig(steps=4), Screen(taken.append, lambda _: None), "utf-8")
    monkeypatch.setattr(LiveDisplay, "_add", lambda *_: 1 / 0)
    display.show(b"step 1/4 25% | loss 1\nstep 2/4 50% | loss 1\n")
    display.drain()
    assert b"".join(taken).endswith(b"step 1/4 25% | loss 1\nstep 2/4 50% | loss 1\n")
    assert "the live display failed (ZeroDivisionError" in caplog.text


def test_a_dumb_terminal_gets_plain_lines(show: Callable[..., Terminal]) -> None:
    output = show(TERM="dumb").read()
    assert b"\x1b" not in output
    assert output.count(b"step ") == 201


def test_a_training_on_a_terminal(tmp_path: Path) -> None:
    run = write_run(tmp_path, some_model())
    write_recipe(
        load_recipe(run / "recipe.toml", [*ON_CPU, *FEW, *SLOW, "train.log_every_steps=1"]), run / "recipe.toml"
    )
    align(run)
    terminal = Terminal(command("train", str(run)), tmp_path)
    text = shown(terminal.read())
    assert terminal.process.returncode == 0, text
    assert "starting: libraries, data, model, first step" in text
    assert re.search(r"step 10/10 ━+ +100%", text)
    assert "held-out at step 10" in text
    assert "saved checkpoints/step_00000010" in text


def test_ctrl_c_on_a_terminal_saves_and_says_so(tmp_path: Path) -> None:
    run = write_run(tmp_path, some_model())
    longer = ["train.steps=1000000", "train.log_every_steps=1"]
    write_recipe(load_recipe(run / "recipe.toml", [*ON_CPU, *FEW, *SLOW, *longer]), run / "recipe.toml")
    align(run)
    terminal = Terminal(command("train", str(run)), tmp_path)
    seen = b""
    while b"tokens/s" not in seen:
        seen += os.read(terminal.ours, 1 << 16)
    terminal.process.send_signal(signal.SIGINT)
    text = shown(terminal.read())
    assert terminal.process.returncode == 75, text
    assert "stopping after this step" in text
    assert "the same command resumes it" in text
