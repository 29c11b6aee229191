"""A few steps that SIGINT and SIGTERM must not come between: a process is started, and noted."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Put off what Python does about SIGINT and SIGTERM until the block is over.

    The signals are not blocked, since a child would inherit that. Outside the main thread, where no handler runs, and
    for signals without a handler of Python's, nothing changes.
    """
    came: list[int] = []

    def remember(number: int, _frame: FrameType | None) -> None:
        came.append(number)

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    put_off = {number: handler for number, handler in before.items() if callable(handler)}
    for number in put_off:
        signal.signal(number, remember)
    try:
        yield
    finally:
        for number, handler in put_off.items():
            signal.signal(number, handler)
    for received in came:
        signal.raise_signal(received)
