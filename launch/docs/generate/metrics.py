"""The page of metrics and TensorBoard tags, from the code that writes them."""

from __future__ import annotations

from launch.docs.generate.fields import Documented, documented_fields
from launch.docs.generate.table import code, note, prose, table
from pretrain.telemetry import COUNTS, TAGS, Evaluation, Fault, StepMetrics

_VALID = "valid"
_HEADER = ("in metrics.jsonl", "tag in TensorBoard", "meaning")


def metrics_page() -> str:
    """Return what a step and an evaluation record in metrics.jsonl and in TensorBoard."""
    steps = table(_HEADER, [_step(field) for field in documented_fields(StepMetrics)])
    values = [field for field in documented_fields(Evaluation) if field.name not in ("step", "by_corpus")]
    faults = table(("value of `fault`",), [(code(fault.value),) for fault in Fault])
    return (
        note("Metrics", "pretrain/telemetry/metrics.py")
        + f"## A step\n\n{StepMetrics.__doc__}\n\n{steps}\n## Faults\n\n{faults}\n"
        + f"## An evaluation\n\n{Evaluation.__doc__} Those of a single corpus end in its number, `_corpus_0`.\n\n"
        + table(_HEADER, [_evaluation(field) for field in values])
    )


def _step(field: Documented) -> tuple[str, str, str]:
    tag = TAGS.get(field.name)
    return code(field.name), code(tag) if tag else "", prose(field.meaning)


def _evaluation(field: Documented) -> tuple[str, str, str]:
    tag = "" if field.name in COUNTS else code(f"{_VALID}/{field.name}")
    return code(f"{_VALID}_{field.name}"), tag, prose(field.meaning)
