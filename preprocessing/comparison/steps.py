"""The steps of the comparison, in order. Each is divided into units, and a unit needs all units of the steps before it.

    exact duplicates ─► near duplicates ─► boilerplate lines of the rest ─► exact duplicates without boilerplate

A unit is a block of documents or a part of the keys. It reads the files of earlier steps and writes one file, so that
any worker can take it, at any time, and a rerun makes only missing files.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

from preprocessing.comparison import exact, lines, near
from preprocessing.comparison.compared import Comparison, Visit, file_name
from preprocessing.comparison.verdicts import DECIDED, EXACT_FOUND, NEAR_FOUND, REST_FOUND, write_drops


@dataclass(frozen=True)
class ComparisonStep:
    """A step: the kind of its files, the number of its units, and the function that makes a unit's file."""

    kind: str
    units: int
    make: Callable[[Comparison, int, Visit], None]

    def is_made(self, comparison: Comparison, unit: int) -> bool:
        """Return whether the unit's file exists."""
        return comparison.files.size(file_name(self.kind, unit)) is not None


def comparison_steps(comparison: Comparison) -> list[ComparisonStep]:
    """Return the steps that the recipe requests. The last one writes the lists of dropped documents."""
    blocks, config = comparison.layout.blocks, comparison.config
    kinds: list[str] = []
    steps: list[ComparisonStep] = []
    if config.duplicates != "none":
        steps += _exact(comparison, exact.DEALT, EXACT_FOUND, exact.deal_digests)
        kinds.append(EXACT_FOUND)
    if config.duplicates == "near":
        steps += _near(comparison)
        kinds.append(NEAR_FOUND)
    if config.boilerplate_documents is not None:
        steps += _lines(comparison, kinds)
        if config.duplicates != "none":
            steps += _exact(comparison, exact.REST_DEALT, REST_FOUND, partial(exact.deal_rest, kinds=tuple(kinds)))
            kinds.append(REST_FOUND)
    return [*steps, ComparisonStep(DECIDED, blocks, partial(write_drops, kinds=tuple(kinds)))]


def _exact(
    comparison: Comparison, dealt: str, found: str, deal: Callable[[Comparison, int, Visit], None]
) -> Iterator[ComparisonStep]:
    yield ComparisonStep(dealt, comparison.layout.blocks, deal)
    match = partial(exact.match_digests, dealt=dealt, found=found)
    yield ComparisonStep(found, comparison.layout.parts, match)


def _near(comparison: Comparison) -> Iterator[ComparisonStep]:
    blocks = comparison.layout.blocks
    yield ComparisonStep(near.DEALT, blocks, near.deal_bands)
    yield ComparisonStep(near.CANDIDATES, near.key_parts(comparison), near.match_keys)
    yield ComparisonStep(near.SENT, blocks, near.send_signatures)
    yield ComparisonStep(NEAR_FOUND, blocks, near.compare_signatures)


def _lines(comparison: Comparison, kinds: list[str]) -> Iterator[ComparisonStep]:
    yield ComparisonStep(lines.DEALT, comparison.layout.blocks, partial(lines.deal_lines, kinds=tuple(kinds)))
    yield ComparisonStep(lines.FREQUENT, comparison.layout.line_parts, lines.count_lines)
    yield ComparisonStep(lines.FOUND, 1, lines.gather_lines)
