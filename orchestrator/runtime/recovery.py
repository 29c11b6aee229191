"""What a person can order for a shard that refuses to work, as values (docs/decisions/0047-recover.md).

`counterpoint recover` works an order out and leaves it in the store; the engine that owns the shard carries it out at
its next claim, if it still meets the damage that the order is about. So nobody but the owner ever changes a shard.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import msgspec

from orchestrator.runtime.claim import ANOTHER_LOG, Facts, Refusal
from orchestrator.runtime.snapshots import Cut

Action = Literal["adopt", "rebuild"]
"""`adopt`: keep what the store has, and fold on from another offset. `rebuild`: drop it, and restore the shard from its
snapshots (or fold it from the beginning of an inbox that is still whole)."""
UNREPAIRABLE: dict[str, str] = {
    "newer-engine": "run a build that is at least as new as the one that has stored the states",
    "older-engine": "run the older build until it has stopped by itself, then this one",
    "unknown-version": "run a build that has this version of the saga",
    "engine-fault": "run a build that can decide this input",
    "effect-refused": "let the log take the effect (its topic, its limit of size); the engine tries again by itself",
}
"""What helps where recover does not."""


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """`stored_next`, `log_start` and `log_end` are what the person saw."""

    shard: int
    code: str
    action: Action
    stored_next: int | None
    log_start: int
    log_end: int
    next: int | None = None
    """Of `adopt`: the first input to fold."""
    record_id: str = ""
    """Of the record before it; empty: there is none to compare."""
    published: int
    """Effects of inputs below it are not published again."""
    by: str
    at_ms: int


@dataclass(frozen=True, slots=True)
class Damage:
    """A shard that refuses, and what else is known of it."""

    facts: Facts
    refusal: Refusal
    cut: Cut | None
    agreed: int | None = None
    """Up to here the inbox is the log that the states were folded from; None: it was not looked for."""
    agreed_id: str = ""
    """Id of the record before `agreed`."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What recover would do. Sentences for a person."""

    damage: Damage
    order: Order | None
    """None: nothing that recover may do helps."""
    does: str
    kept: str
    lost: str


def plan_repair(damage: Damage, by: str, at_ms: int) -> Plan:
    """The safe repair of one damage: nothing is done twice, and what is lost is said."""
    facts, code = damage.facts, damage.refusal.code
    if code in UNREPAIRABLE:
        return Plan(damage, None, f"nothing: {UNREPAIRABLE[code]}", "everything", "nothing")
    maker = _Maker(damage, by, at_ms)
    if facts.stored is None:
        return _without_state(maker)
    if code == "behind-log-start":
        return _behind(maker)
    return _another_log(maker)


class _Maker:
    def __init__(self, damage: Damage, by: str, at_ms: int) -> None:
        self.damage = damage
        self._by = by
        self._at_ms = at_ms

    @property
    def usable_cut(self) -> Cut | None:
        """A cut from which the inbox goes on without a gap."""
        cut, facts = self.damage.cut, self.damage.facts
        if self.damage.refusal.code == "snapshots-damaged":
            return None
        return cut if cut is not None and facts.log_start <= cut.offset <= facts.log_end else None

    def order(self, action: Action, published: int, next_offset: int | None = None, record_id: str = "") -> Order:
        facts = self.damage.facts
        return Order(
            shard=facts.shard,
            code=self.damage.refusal.code,
            action=action,
            stored_next=None if facts.stored is None else facts.stored.next,
            log_start=facts.log_start,
            log_end=facts.log_end,
            next=next_offset,
            record_id=record_id,
            published=published,
            by=self._by,
            at_ms=self._at_ms,
        )


def _without_state(maker: _Maker) -> Plan:
    facts, cut = maker.damage.facts, maker.usable_cut
    published, known = facts.committed, True
    if published is None or published > facts.log_end:
        published, known = facts.log_start if cut is None else cut.offset, False
    if cut is not None:
        return Plan(
            maker.damage,
            maker.order("rebuild", max(published, cut.offset)),
            f"restore the shard from its snapshots, cut at {cut.offset}, and fold the inbox from there",
            "every process",
            "nothing" if known else f"nothing; {_again(published)}",
        )
    lost = "nothing"
    if facts.log_start > 0:
        lost = (
            f"processes that began before offset {facts.log_start}: nothing has their states. Answers to their commands"
            " are ignored and raise an alert; what they have done stays done, and their starts, published again, go on"
            " from it"
        )
    return Plan(
        maker.damage,
        maker.order("adopt", published, facts.log_start),
        f"fold what the inbox has, from {facts.log_start}",
        f"processes that began at offset {facts.log_start} or later",
        lost if known else f"{lost}; {_again(published)}",
    )


def _behind(maker: _Maker) -> Plan:
    facts, cut = maker.damage.facts, maker.usable_cut
    assert facts.stored is not None
    published = max(facts.committed or 0, facts.log_start)
    if cut is not None:
        return Plan(
            maker.damage,
            maker.order("rebuild", max(published, cut.offset)),
            f"drop what Redis has, restore the shard from its snapshots, cut at {cut.offset}, and fold on from there",
            "every process",
            "nothing",
        )
    return Plan(
        maker.damage,
        maker.order("adopt", published, facts.log_start),
        f"keep what Redis has, and go on at {facts.log_start}",
        "every process, as it was",
        f"the inputs {facts.stored.next} to {facts.log_start - 1}: starts among them are forgotten (what they have done"
        " stays done; published again, they go on from it); commands whose answers are among them are sent again when"
        " their time-out passes, and answered again",
    )


def _another_log(maker: _Maker) -> Plan:
    """The inbox was cut or replaced: states are kept, and what they have not had is folded."""
    damage, facts = maker.damage, maker.damage.facts
    assert facts.stored is not None
    start = facts.log_start if damage.agreed is None else damage.agreed
    gone = max(facts.stored.next - start, 0)
    return Plan(
        damage,
        maker.order("adopt", start, start, damage.agreed_id),
        f"keep what Redis has, and go on at {start}, up to where the inbox is the log that it was folded from",
        "every process, as it was",
        f"nothing of the states; up to {gone} inputs that they have had are not in the inbox any more, and what else"
        " was appended there and not folded is gone. Records that come a second time are known, and ignored",
    )


def _again(offset: int) -> str:
    return (
        f"how far effects were published is not known: those of inputs from {offset} on are published again under"
        " the same ids, which participants drop (within their 24 hours)"
    )


def applies(order: Order, facts: Facts, refusal: Refusal) -> bool:
    """Whether the order is about what is found now. Carried out by half, it still is."""
    stored_next = None if facts.stored is None else facts.stored.next
    places = (order.stored_next, order.next if order.action == "adopt" else None)
    same_log = order.log_start <= facts.log_start and order.log_end <= facts.log_end
    # A log that was cut grows on: beyond its end is soon another record. One damage, one repair.
    same_damage = order.code == refusal.code or {order.code, refusal.code} <= ANOTHER_LOG
    return same_damage and stored_next in places and same_log


def encode_order(order: Order) -> bytes:
    return msgspec.json.encode(order)


def decode_order(blob: bytes) -> Order:
    """Raises msgspec.DecodeError or ValidationError."""
    return msgspec.json.decode(blob, type=Order)
