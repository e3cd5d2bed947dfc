"""A real training on two local ranks, struck again and again; at the end every row has been trained once."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import ClassVar

from pretrain.checkpoint import claim_start
from tests.chaos import faults
from tests.chaos.campaign.family import Family, Strike
from tests.chaos.test_chaos import finish, resume
from tests.chaos.training import GLOBAL_BATCH_SIZE, Training, Zygote

STEPS_EACH = 40


def supersede(training: Training, draw: random.Random) -> None:
    """Let another start take the run."""
    training.wait_for_steps(draw.randint(1, 8))
    number = claim_start(training.run)
    assert training.end() == 1
    assert training.verdict().startswith(f"error: superseded by start {number}")


class Local(Family):
    """Each fault ends one start; the next resumes."""

    zygote: ClassVar[Zygote | None] = None  # shared by all blocks, because its start takes longer than a block
    strikes: ClassVar[dict[str, Callable[[Training, random.Random], None]]] = {
        "kill": faults.kill,
        "kill in save": faults.kill_in_save,
        "stop": faults.stop,
        "signal": faults.signalled,
        "supersede": supersede,
    }

    def __init__(self, folder: Path, faults: int) -> None:
        super().__init__(folder, faults)
        self.steps = STEPS_EACH * faults
        Local.zygote = Local.zygote or Zygote(folder.parent / "zygote").__enter__()
        self.training = Training(Local.zygote, folder / "runs", train={"steps": self.steps})
        self.stack.callback(self.training.abandon)

    @classmethod
    def end_zygote(cls) -> None:
        """End the process from which trainings are forked."""
        if cls.zygote:
            cls.zygote.__exit__()
        cls.zygote = None

    @property
    def kinds(self) -> Mapping[str, Strike]:
        """The kinds of fault by name."""
        return {name: partial(self._strike, strike) for name, strike in self.strikes.items()}

    def _strike(self, strike: Callable[[Training, random.Random], None], draw: random.Random, _: Path) -> None:
        resume(self.training)
        strike(self.training, draw)

    def finish(self) -> int:
        """Train to the end without faults."""
        finish(self.training, self.steps)
        assert "Traceback" not in (self.training.run / "launcher.log").read_text()
        return self.steps * GLOBAL_BATCH_SIZE
