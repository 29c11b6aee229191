"""A handler of many messages at once, as values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

from services.sdk.delivery import Delivery
from services.sdk.failures import NotDone, Unknown

RECORDS_MAX = 1_000
WAIT_S_MAX = 2.0
"""Below the time that a rebalance waits for running messages (`Limits.drain_s`)."""

Outcomes: TypeAlias = "list[Any]"
"""One for each message, in their order: what a handler of one message may return, or how this one failed."""
FAILED = (NotDone, Unknown)
"""Returned in a message's place they say of it what they say raised by a handler of one message."""


@dataclass(frozen=True, slots=True)
class Batching:
    """A batch is handled when it has `max_records`, or `max_wait_s` seconds after its first message.

    Raises:
        ValueError: a number out of range.
    """

    max_records: int
    max_wait_s: float

    def __post_init__(self) -> None:
        if not 1 <= self.max_records <= RECORDS_MAX or not 0 < self.max_wait_s <= WAIT_S_MAX:
            raise ValueError(f"not a batch: {self}; at most {RECORDS_MAX} records and {WAIT_S_MAX:g} s")


class Deliveries(tuple[Delivery, ...]):
    """Injected into a batch's handler that asks for it: one for each message, in their order."""

    __slots__ = ()
