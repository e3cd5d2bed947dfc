"""A campaign of faults: `python -m tests.chaos --faults N [--seed S] [--from K] [--log FILE]`.

Each fault is one start of a small training on two local ranks, which the fault ends or disturbs. Which fault it is, and
when it strikes, depends on the seed and its number only, so that a campaign can be continued with `--from`. After every
tenth fault the training ends without one; every row must have been trained once, in order, with nothing left behind.

Each fault is appended to the log. The last line of output is one JSON object of counts.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
import traceback
from collections import Counter
from pathlib import Path

from tests.chaos import faults
from tests.chaos.test_chaos import finish, resume
from tests.chaos.training import GLOBAL_BATCH_SIZE, Training, Zygote

KINDS = {"kill": faults.kill, "kill in save": faults.kill_in_save, "stop": faults.stop}
PER_TRAINING, STEPS_EACH = 10, 40


def main() -> int:
    """Run the campaign, print the counts, and return 1 if something was lost or failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--faults", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--from", type=int, default=0, dest="first", help="number of the first fault")
    parser.add_argument("--log", type=Path, default=Path("chaos.jsonl"), help="file to which each fault is appended")
    given = parser.parse_args()
    counts = Counter({"faults": 0, "rows_trained_once": 0, "failures": 0})
    numbers = range(given.first, given.first + given.faults)
    with tempfile.TemporaryDirectory(prefix="bertrain-chaos-") as folder, Zygote(Path(folder) / "zygote") as zygote:
        for first in numbers[::PER_TRAINING]:
            of_training = numbers[first - given.first : first - given.first + PER_TRAINING]
            steps = STEPS_EACH * len(of_training)
            training = Training(zygote, Path(folder) / f"from {first}", train={"steps": steps})
            try:
                for number in of_training:
                    counts.update(["faults", strike(training, given.seed, number, given.log)])
                finish(training, steps)
                counts["rows_trained_once"] += steps * GLOBAL_BATCH_SIZE
            except AssertionError:
                counts["failures"] += 1
                append(given.log, {"seed": given.seed, "from": first, "failure": traceback.format_exc()})
                training.abandon()
    print(json.dumps({"seed": given.seed, "from": given.first} | counts))
    return int(counts["failures"] > 0)


def strike(training: Training, seed: int, number: int, log: Path) -> str:
    """Start the training, let one fault strike it, append it to the log, and return its kind."""
    draw = random.Random(f"{seed} {number}")
    kind = draw.choice(list(KINDS))
    resume(training)
    KINDS[kind](training, draw)
    append(log, {"seed": seed, "number": number, "fault": kind, "step": training.step()})
    return kind


def append(log: Path, entry: dict[str, object]) -> None:
    """Append one line to the log."""
    with log.open("a", encoding="utf-8") as stream:
        stream.write(json.dumps(entry) + "\n")


if __name__ == "__main__":
    sys.exit(main())
