"""Time and chance as arguments: everything of the SDK that would read a clock or throw dice asks these functions."""

from __future__ import annotations

import asyncio
import random
import secrets
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Surroundings:
    """`now_ms`: wall clock, milliseconds since the epoch. `monotonic_s`: for durations. `token`: 8 unique hex digits
    for each claim of a store. `random`: uniform in 0..1."""

    now_ms: Callable[[], int]
    monotonic_s: Callable[[], float]
    sleep: Callable[[float], Awaitable[object]]
    random: Callable[[], float]
    token: Callable[[], str]


def system_surroundings() -> Surroundings:
    """The real ones; tests pass their own."""
    return Surroundings(
        now_ms=lambda: time.time_ns() // 1_000_000,
        monotonic_s=time.monotonic,
        sleep=asyncio.sleep,
        random=random.random,
        token=lambda: secrets.token_hex(4),
    )
