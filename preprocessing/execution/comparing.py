"""Run the comparison of all documents on the workers of a stage."""

from __future__ import annotations

from dataclasses import dataclass

from preprocessing.comparison import Comparison, ComparisonStep, comparison_steps
from preprocessing.documents import Monitor
from preprocessing.execution.stages import Stages

_UNIT_BYTES_PER_DOCUMENT = 32  # the size by which progress is shown: an estimate of what a step reads


@dataclass(frozen=True)
class _Unit:
    """A unit of a step of the comparison."""

    name: str
    number: int
    size: int  # bytes


@dataclass(frozen=True)
class _MakeUnits:
    """The work of making the files of a step's units."""

    comparison: Comparison
    step: ComparisonStep

    def __call__(self, item: _Unit, *, monitor: Monitor) -> None:
        """Make the unit's file, unless it exists."""
        if not self.step.is_made(self.comparison, item.number):
            self.step.make(self.comparison, item.number, monitor.visit)
        monitor.meter.bytes += item.size


def compare(stages: Stages, comparison: Comparison) -> None:
    """Make the units of all steps of the comparison that are missing.

    Shares make them together: each skips what others have made meanwhile.
    """
    steps = comparison_steps(comparison)
    turns = [(step.kind, _MakeUnits(comparison, step), _units(comparison, step)) for step in steps]
    stages.run_in_turn("comparison", turns)
    last = steps[-1]
    stages.refuse_undone(sum(not last.is_made(comparison, unit) for unit in range(last.units)), last.units)


def _units(comparison: Comparison, step: ComparisonStep) -> list[_Unit]:
    size = comparison.layout.starts[-1] * _UNIT_BYTES_PER_DOCUMENT // step.units
    return [_Unit(f"{step.kind} {unit} of {step.units}", unit, size) for unit in range(step.units)]
