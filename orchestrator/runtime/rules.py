"""The pure engine as the shell sees it: five functions and a number, so that a test can put a smaller one in its
place."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from contracts.record import IncomingRecord
from orchestrator.engine.book import SagaBook
from orchestrator.engine.decide import decide
from orchestrator.engine.decision import Decision
from orchestrator.engine.inputs import Input, read_input
from orchestrator.engine.process import ENGINE_SEMANTICS, Process, decode_process, encode_process


@dataclass(frozen=True, slots=True)
class Rules:
    """`read` may raise InputError; `decide` may raise UnknownVersion. Nothing here waits or remembers."""

    read: Callable[[IncomingRecord], Input]
    decide: Callable[[Process | None, Input], Decision]
    encode: Callable[[Process], bytes]
    decode: Callable[[bytes], Process]
    semantics: int


def rules_of(book: SagaBook) -> Rules:
    """The engine of this build, over the sagas in `book`."""
    return Rules(read_input, partial(decide, book), encode_process, decode_process, ENGINE_SEMANTICS)
