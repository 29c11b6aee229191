"""Inputs that waiting blocks want, and that no command asked for: events and signals, taken once by their ids.

One that comes before its block has begun is kept in the process, in order, until the block begins; `early.py` does the
same before there is a process. What no block can want any more is ignored.
"""

from __future__ import annotations

import hashlib

import msgspec
from pydantic import BaseModel

from contracts.envelope import Envelope
from contracts.process import SignalSent
from orchestrator.engine.blocks import wait
from orchestrator.engine.building import PayloadInvalid, parse_payload
from orchestrator.engine.correlation import calls_off, concerns
from orchestrator.engine.decision import Reason, Verdict
from orchestrator.engine.inputs import Input
from orchestrator.engine.plan import Node, Plan
from orchestrator.engine.process import Early, Value
from orchestrator.engine.turn import Turn
from orchestrator.language.waiting import signal_type

EARLY_MAX = 16
"""Early messages kept for one process id (DESIGN section 4)."""
EARLY_BYTES_MAX = 256 * 1024
"""Bytes of their payloads: they are part of the state (our choice)."""
SEEN_MAX = 1_000
"""Ids that are remembered (DESIGN section 4)."""
DIGEST_BYTES = 8
"""Of an id that is remembered: a new id is taken for one of a thousand once in 2**54 messages."""


class Arrival(Value, frozen=True):
    """What came, read by its contract."""

    type: str
    """As captured."""
    data: bytes
    message: BaseModel


def is_arrival(plan: Plan, item: Input) -> bool:
    """Somebody in this saga may wait for it."""
    return item.envelope.type == SignalSent.type or plan.wanted(item.envelope.type) is not None


def read_arrival(plan: Plan, item: Input) -> Arrival | Reason:
    """A reason: it is ignored."""
    type_name, data = item.envelope.type, item.data
    try:
        if type_name == SignalSent.type:
            sent = parse_payload(SignalSent, data)
            type_name, data = signal_type(sent.signal), msgspec.json.encode(sent.payload)
        wanted = plan.wanted(type_name)
        return "not-awaited" if wanted is None else Arrival(type_name, data, parse_payload(wanted, data))
    except PayloadInvalid:
        return "invalid-payload"


def arrive(turn: Turn) -> Verdict:
    """Apply the turn's input to the block that has waited longest for it, or keep it."""
    arrival = read_arrival(turn.plan, turn.item)
    if not isinstance(arrival, Arrival):
        return arrival
    if digest(turn.item.envelope) in turn.seen:
        return "duplicate"
    if calls_off(turn.plan, turn.before.id, arrival.type, arrival.data):
        return _called_off(turn)
    wanting = turn.plan.awaits.get(arrival.type, ())
    nodes = [node for node in wanting if concerns(turn.plan, turn.before.id, node, arrival.data)]
    waiting = _waiting(turn, frozenset(node.number for node in nodes))
    if waiting is not None:
        turn.seen = remember(turn.seen, turn.item)
        wait.settle(turn, waiting, arrival.data)
        return None
    if not any(_may_begin(turn, node) for node in nodes):
        return "not-awaited"
    if not has_room(turn.early, arrival.data):
        turn.alerts.append("early-full")
        return "early-full"
    turn.seen = remember(turn.seen, turn.item)
    turn.early = (*turn.early, Early(type=arrival.type, data=arrival.data))
    turn.note(f"{arrival.type} has come before it is waited for: it is kept")
    return "buffered"


def _called_off(turn: Turn) -> Reason | None:
    reason = turn.call_off()
    if reason is None:
        turn.seen = remember(turn.seen, turn.item)
        turn.notes.insert(0, f"{turn.item.envelope.type} calls the process off")
    return reason


def _waiting(turn: Turn, numbers: frozenset[int]) -> Node | None:
    """Of the blocks with these numbers, in whatever element or round, the first that has begun to wait."""
    for key in turn.steps:
        node = turn.plan.find(key)
        if node is not None and node.number in numbers and wait.is_open(turn, node):
            return node
    return None


def _may_begin(turn: Turn, node: Node) -> bool:
    """Whether the block may still begin. What is in a loop may, as long as its part of the saga may."""
    if turn.ended is not None or (turn.plan.in_body(node) and turn.cause is not None):
        return False
    return bool(turn.plan.loops(node)) or turn.step(node).status == "idle"


def has_room(early: tuple[Early, ...], data: bytes) -> bool:
    return len(early) < EARLY_MAX and sum(len(one.data) for one in early) + len(data) <= EARLY_BYTES_MAX


def digest(envelope: Envelope) -> bytes:
    """Stands for the identity of a message (CloudEvents: source and id)."""
    return hashlib.sha256("\x00".join(envelope.identity).encode()).digest()[:DIGEST_BYTES]


def remember(seen: tuple[bytes, ...], item: Input) -> tuple[bytes, ...]:
    return (*seen, digest(item.envelope))[-SEEN_MAX:]
