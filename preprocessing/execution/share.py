"""A share of the work: what one job of an array does, where several jobs prepare one data set side by side.

Shares communicate through the data set's folder only. Each makes its own groups. Work that all of them need first, such
as the sample for the vocabulary, each begins with its own part and then does what the others have not done: so no share
waits for another, which may be queued or dead. Work done twice gives the same bytes, and files are renamed into place.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass

from configs.errors import UserError
from preprocessing.documents import Plan, WorkItem


@dataclass(frozen=True)
class Share:
    """The `number`-th of `count` shares, from 1 on."""

    number: int
    count: int

    @classmethod
    def parse(cls, text: str) -> Share:
        """The share that "3/8" names."""
        match = re.fullmatch(r"([0-9]{1,6})/([0-9]{1,6})", text)
        share = cls(int(match[1]), int(match[2])) if match else None
        if share is None or not 1 <= share.number <= share.count:
            raise UserError(
                f"`{text}` is not a share", place="--share", fix="write I/N with I from 1 to N, such as 3/8"
            )
        return share

    def own(self, plan: Plan) -> list[WorkItem]:
        """The share's work items, the largest first, so that its workers end together."""
        return _deal(plan, self.count)[self.number - 1]

    def others(self, plan: Plan) -> list[WorkItem]:
        """The other shares' work items, the next share's first: shares that help out begin in different places."""
        hands = _deal(plan, self.count)
        return [item for hand in hands[self.number :] + hands[: self.number - 1] for item in hand]

    def holders(self, plan: Plan, items: Collection[WorkItem]) -> list[int]:
        """The numbers of the shares to which any of the items belong."""
        hands = _deal(plan, self.count)
        return [number for number, hand in enumerate(hands, start=1) if not set(items).isdisjoint(hand)]


WHOLE = Share(1, 1)


def _deal(plan: Plan, count: int) -> list[list[WorkItem]]:
    """The plan's items dealt evenly by weight to `count` shares; every process deals them alike."""
    hands: list[list[WorkItem]] = [[] for _ in range(count)]
    weights = [0] * count
    for item in sorted(plan.items, key=lambda item: -item.weight):
        lightest = weights.index(min(weights))
        hands[lightest].append(item)
        weights[lightest] += item.weight
    return hands
