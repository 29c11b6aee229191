"""What travels through the middleware: values, one for each stage of a message's life.

Those made for every message are structs: making one with names takes 50 ns, a named tuple 800, a frozen dataclass more.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import msgspec

from contracts.envelope import Envelope
from contracts.message import Message
from contracts.record import IncomingRecord, OutgoingRecord
from services.sdk.handler import Handler
from services.sdk.ports import Place
from services.sdk.reasons import Code, Reason, Result


@dataclass(frozen=True, slots=True)
class Problem:
    """Why a record is not executed. `code` is that of the `command-failed` that answers a command."""

    reason: Reason
    detail: str
    code: Code | None = None


@dataclass(frozen=True, slots=True)
class Skipped:
    """An event that is not for this service. `known` says whether the catalog has its type."""

    known: bool


@dataclass(frozen=True, slots=True)
class Undecodable:
    """Nobody can be answered: the record goes to dead letters and a replay decodes it again."""

    record: IncomingRecord
    problem: Problem


class Work(msgspec.Struct, frozen=True, gc=False):
    """A record whose envelope is good. It has a message and a handler, or a problem."""

    record: IncomingRecord
    place: Place
    envelope: Envelope
    origin: str
    """The topic it was first published on; differs from the record's for a replay."""
    identity: str
    """Under which the inbox knows it: by idempotency key, else by source and id."""
    fingerprint: str
    key: str | None
    handler: Handler | None
    message: Message | None
    problem: Problem | None = None
    replayed: bool = False
    unfinished: bool = False

    @property
    def is_command(self) -> bool:
        return self.handler.is_command if self.handler is not None else self.origin.endswith(".commands")

    @property
    def cause(self) -> str:
        """What the ids of published messages derive from."""
        envelope = self.envelope
        return envelope.idempotency_key or f"{envelope.source} {envelope.id}"


@dataclass(frozen=True, slots=True)
class Failure:
    """A handler gave up. `certain`: it is known that nothing happened outside."""

    code: str
    message: str
    certain: bool
    retryable: bool = False
    reason: Reason | None = Reason.HANDLER_FAILED
    """Why it goes to dead letters if nobody else takes care of it; None: an answer is enough."""


class Done(msgspec.Struct, frozen=True, gc=False):
    """How the handling of one message ended, and what is to be published for it."""

    result: Result
    outgoing: tuple[OutgoingRecord, ...] = ()
    reason: Reason | None = None
    """Set if a dead letter is among them."""
    dead: bool = False
    """A dead-lettered event: a replay may execute it."""


Step = Callable[[Work], Awaitable[Done]]
Returned = tuple[Message, ...]
Execute = Callable[[Work], Awaitable["Returned | Failure"]]
