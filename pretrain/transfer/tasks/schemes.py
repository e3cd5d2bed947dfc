"""Labelling schemes of entities: BIO, BILOU, IOBES (also with M for I), or plain labels without B- and I-."""

from __future__ import annotations

import re
from collections.abc import Collection
from enum import StrEnum

from configs.errors import UserError

OUTSIDE = "O"
POSITION = re.compile(r"([BIMLEUS])-(.+)")


class Scheme(StrEnum):
    """How labels mark entities."""

    bio = "BIO"
    bilou = "BILOU"
    iobes = "IOBES"
    plain = "plain"


def scheme_of(labels: Collection[str], place: str = "") -> Scheme:
    """Return the scheme of all labels of a task. Raises `UserError` where some mark positions and others do not."""
    marks = {label: match for label in labels if (match := POSITION.fullmatch(label))}
    others = sorted(set(labels) - set(marks) - {OUTSIDE})
    positions = {match[1] for match in marks.values()}
    if not positions & {"B", "I"} and (others or not positions):
        return Scheme.plain
    if others:
        cause = f"the label {others[0]!r} has no B- or I-, but {min(marks)!r} has"
        raise UserError(cause, place=place, fix="write all labels but O with B- and I-, or all without")
    if positions <= {"B", "I"}:
        return Scheme.bio
    if positions <= set("BILU"):
        return Scheme.bilou
    if positions <= set("BIMES"):
        return Scheme.iobes
    cause = f"labels of two schemes: {', '.join(sorted(positions))} before the hyphen"
    raise UserError(cause, place=place, fix="use BIO, BILOU or IOBES")
