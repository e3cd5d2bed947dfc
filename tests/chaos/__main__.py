"""A campaign of faults: `python -m tests.chaos --faults N [--seed S] [--from K] [--minutes M] [--families A,B]`.

The faults come in blocks of five, each of one family in turn: local ranks, staging, MPI, preparation, Slurm, torchrun.
Which fault it is, and when it strikes, depends on the seed, the families and its number only, so that a campaign can be
continued with `--from`. After each fault everything must end as without it: every row or step once, in order, the same
bytes, no traceback, nothing left behind, and no bystander harmed. Whatever does not is a failure.

Each fault is appended to the log (`--log`), from which counts over several campaigns can be added up: `--total` prints
them. The last line of output is one JSON object of counts.
"""

from __future__ import annotations

import argparse
import json
import logging
import random
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from contextlib import suppress
from pathlib import Path

from tests.chaos.campaign import FAMILIES
from tests.chaos.campaign.family import Bystanders, Family
from tests.chaos.campaign.local import Local

PER_BLOCK = 5


def main() -> int:
    """Run the campaign, print the counts, and return 1 if something was lost or failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--faults", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--from", type=int, default=0, dest="first", help="number of the first fault")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="begin no block after this time")
    parser.add_argument("--families", default=",".join(FAMILIES), help="families, separated by commas")
    parser.add_argument("--log", type=Path, default=Path("chaos.jsonl"), help="file to which each fault is appended")
    parser.add_argument("--total", action="store_true", help="print the counts of the log, and end")
    given = parser.parse_args()
    if given.total:
        print(json.dumps(counted([json.loads(line) for line in given.log.read_text().splitlines()])))
        return 0
    logging.disable(logging.WARNING)  # of what is refused here, in this process
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    families = [FAMILIES[name] for name in given.families.split(",") if not FAMILIES[name].missing]
    deadline, entries = time.monotonic() + 60 * given.minutes, list[dict[str, object]]()
    with tempfile.TemporaryDirectory(prefix="bertrain-chaos-", dir="/tmp") as name:
        folder = Path(name)
        with Bystanders(folder / "bystanders") as bystanders, suppress(KeyboardInterrupt):
            for first in range(given.first, given.first + given.faults, PER_BLOCK):
                if time.monotonic() > deadline:
                    break
                family = families[first // PER_BLOCK % len(families)]
                block = range(first, min(first + PER_BLOCK, given.first + given.faults))
                place = folder / f"from {first}"
                run_block(family, place, given.seed, block, bystanders, given.log, entries)
        Local.end_zygote()
    print(json.dumps({"seed": given.seed, "from": given.first} | counted(entries)))
    return int(any("failure" in entry for entry in entries))


def run_block(
    kind: type[Family],
    folder: Path,
    seed: int,
    numbers: range,
    bystanders: Bystanders,
    log: Path,
    entries: list[dict[str, object]],
) -> None:
    """Make the faults of one block, and append each to the log and the entries."""

    def note(**values: object) -> None:
        entries.append({"seed": seed, "family": kind.__name__.lower(), "number": numbers[0], **values})
        with log.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(entries[-1]) + "\n")

    name = "start"
    try:
        with kind(folder, len(numbers)) as family:
            for number in numbers:
                draw, began = random.Random(f"{seed} {number}"), time.monotonic()
                name = draw.choice(sorted(family.kinds))
                place = folder / f"fault {number}"
                place.mkdir()
                family.kinds[name](draw, place)
                bystanders.check()
                note(number=number, fault=name, seconds=round(time.monotonic() - began, 1))
            name = "finish"
            note(rows_trained_once=family.finish())
    except Exception:  # noqa: BLE001 - whatever it is, the campaign continues with the next block
        note(fault=name, failure=traceback.format_exc()[-4000:])


def counted(entries: list[dict[str, object]]) -> dict[str, object]:
    """Return the counts: faults by family and kind, rows, and failures. A failed fault counts as a fault."""
    faults = [entry for entry in entries if entry.get("fault") not in (None, "start", "finish")]
    return {
        "faults": len(faults),
        "failures": sum("failure" in entry for entry in entries),
        "rows_trained_once": sum(int(str(entry.get("rows_trained_once", 0))) for entry in entries),
        "by_family": dict(Counter(str(entry["family"]) for entry in faults)),
        "by_kind": dict(sorted(Counter(f"{entry['family']}: {entry['fault']}" for entry in faults).items())),
    }


if __name__ == "__main__":
    sys.exit(main())
