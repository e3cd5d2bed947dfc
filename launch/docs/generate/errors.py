"""The pages of exit codes and error messages, from the source."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

from configs import exit_codes
from configs.exit_codes import ended_by
from launch.docs.generate.error_sites import ANY, error_sites
from launch.docs.generate.table import code, note, prose, table

ROOT = Path(__file__).parents[3]
PACKAGES = ("configs", "preprocessing", "pretrain", "launch")
_ERRORS = ("UserError", "StoreError", "DamagedShardError")


def exit_codes_page() -> str:
    """Return the exit codes of every command and rank."""
    codes = re.findall(r"^[A-Z_]+ = (\d+)  # (.*)$", inspect.getsource(exit_codes), re.MULTILINE)
    rows = [(code(number), prose(meaning)) for number, meaning in codes]
    rows.append((code(f"{ended_by(0)} + N"), "ended by signal N before anything new was saved: run the command again"))
    signals = ", ".join(signal.name for signal in exit_codes.STOP_SIGNALS)
    return (
        note("Exit codes", "configs/exit_codes.py")
        + table(("code", "meaning"), rows)
        + f"\nThese signals request a checkpoint and an orderly end: {signals}.\n"
    )


def errors_page() -> str:
    """Return every message that ends a command with exit code 2, by package."""
    parts = [note("Error messages", "every UserError of the source")]
    parts.append(f"A message is `place: cause. Fix.` {ANY} stands for what depends on the input.\n")
    for package in PACKAGES:
        rows = [(prose(cause), prose(fix), code(file)) for cause, fix, file in messages(package)]
        parts.append(f"## {package}\n\n{table(('message', 'fix', 'raised in'), rows)}")
    return "\n".join(parts)


def messages(package: str) -> list[tuple[str, str, str]]:
    """Return the messages of a package whose words stand in the source, without duplicates: cause, fix, and file."""
    sites = error_sites(ROOT, [package], _ERRORS)
    return list(dict.fromkeys((one.cause, one.fix, one.file) for one in sites if one.cause.strip(f"{ANY} ")))
