"""A share of the work: the part of one job when several jobs prepare one data set at the same time.

Shares communicate only through the data set's folder. Each share makes its own groups. For work that all shares need
first, such as the vocabulary's sample, each share does its own part and then the unfinished parts of the others. So no
share waits for another one, which could be queued or dead. Work that is done twice gives the same bytes, and files are
renamed into place.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass

from configs.errors import UserError
from preprocessing.documents import Plan, WorkItem


@dataclass(frozen=True)
class Share:
    """Share `number` of `count`; numbers start at 1."""

    number: int
    count: int

    @classmethod
    def parse(cls, text: str) -> Share:
        """Return the share for a text such as "3/8"."""
        match = re.fullmatch(r"([0-9]{1,6})/([0-9]{1,6})", text)
        share = cls(int(match[1]), int(match[2])) if match else None
        if share is None or not 1 <= share.number <= share.count:
            raise UserError(
                f"`{text}` is not a share", place="--share", fix="write I/N with I from 1 to N, such as 3/8"
            )
        return share

    def own(self, plan: Plan) -> list[WorkItem]:
        """Return the share's work items, the largest first, so that its workers end at about the same time."""
        return _deal(plan, self.count)[self.number - 1]

    def others(self, plan: Plan) -> list[WorkItem]:
        """Return the other shares' items, the next share's first, so that helpers start with different items."""
        items_by_share = _deal(plan, self.count)
        return [
            item
            for share_items in items_by_share[self.number :] + items_by_share[: self.number - 1]
            for item in share_items
        ]

    def holders(self, plan: Plan, items: Collection[WorkItem]) -> list[int]:
        """Return the numbers of the shares that own any of the items."""
        items_by_share = _deal(plan, self.count)
        return [
            number
            for number, share_items in enumerate(items_by_share, start=1)
            if not set(items).isdisjoint(share_items)
        ]


WHOLE = Share(1, 1)


def _deal(plan: Plan, count: int) -> list[list[WorkItem]]:
    """Divide the plan's items among `count` shares of about equal weight. Every process gets the same result."""
    items_by_share: list[list[WorkItem]] = [[] for _ in range(count)]
    weights = [0] * count
    for item in sorted(plan.items, key=lambda item: -item.weight):
        lightest = weights.index(min(weights))
        items_by_share[lightest].append(item)
        weights[lightest] += item.weight
    return items_by_share
