"""`pivot-misplaced`: the point of no return stands at most once, directly in the sequence that is the saga's body."""

from __future__ import annotations

from collections.abc import Iterator

from orchestrator.language.blocks import Pivot, Sequence
from orchestrator.verify.finding import Finding
from orchestrator.verify.handlers import Handlers
from orchestrator.verify.subject import Spot, Subject

RULE = "pivot-misplaced"


def check(subject: Subject, handlers: Handlers) -> Iterator[Finding]:
    pivots = [spot for spot in subject.spots if isinstance(spot.block, Pivot)]
    for spot in pivots:
        if spot.cancelled or not _at_top(spot):
            where = (
                "the cancelled block" if spot.cancelled else f"a {spot.path.split(' > ')[-2]}" if spot.parent else ""
            )
            yield subject.at_block(
                RULE,
                spot,
                f"a pivot {f'inside {where} ' if where else ''}is not at the top level of the saga",
                "place pivot() directly in the sequence(...) that is the saga's body",
            )
    for spot in pivots[1:]:
        if spot.past_pivot:
            yield subject.at_block(
                RULE, spot, "a second pivot: the process is past its point of no return", "keep the first pivot() only"
            )


def _at_top(spot: Spot) -> bool:
    return spot.depth == 1 and isinstance(spot.parent, Sequence)
