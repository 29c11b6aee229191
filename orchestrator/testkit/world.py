"""The participants' world: what has really happened, command by command, and what they say about it.

A participant keeps the protocol (docs/protocol.md): one effect for a key at most; the stored answer again for a
repeat; an undo undoes what its ids did, and those ids do nothing ever after. Within that it does its worst: refuses,
fails, does not know, loses its answer, falls silent before or after the effect, contradicts itself (but never hides a
success for good).

A child keeps the orchestrator's: what its parent says arrives in order and is never lost, and it says truly how it
ended. But when it ends is its own affair, and whether it was past its pivot when it was called off.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random
from typing import Literal

from contracts.message import Event
from contracts.process import ChildEnded, ToChild
from contracts.topics import INBOX
from orchestrator.testkit.answers import failure
from orchestrator.testkit.lab import Done, Refused, Reverted
from orchestrator.testkit.reading import Sent

DO_FATES = ("refuses", "none", "final", "unknown", "dead", "slow", "torn", "torn")
UNDO_FATES = ("none", "final", "unknown", "dead")
"""What may go wrong. `none`, `final`: failed without effect, and a new try may or cannot help. `dead`: no answer.
`slow`: the effect comes later, perhaps after its undo found nothing to undo; then its success is told. `torn`: the
same, but a failure was told first (wrongly)."""
TROUBLES = (0.0, 0.3, 0.8)
"""How often something goes wrong: each step has one of these, and each undo."""


@dataclass(frozen=True, slots=True)
class Answer:
    """On its way to the inbox."""

    causation: str
    event: Event


@dataclass(slots=True)
class World:
    random: Random
    habits: tuple[str, ...] = DO_FATES
    """What then goes wrong in this world. A world of few habits goes deeper into each of them."""
    standing: dict[str, str] = field(default_factory=dict)
    """Command id -> step: effects that are there and have not been undone."""
    arriving: list[Sent] = field(default_factory=list)
    answers: list[Answer] = field(default_factory=list)
    landing: list[Sent] = field(default_factory=list)
    """Effects on their way at a slow provider."""
    _troubles: dict[str, float] = field(default_factory=dict)
    _stored: dict[str, list[Event]] = field(default_factory=dict)
    """What a participant has answered to a key; empty: it has started, and says nothing."""
    _revoked: set[str] = field(default_factory=set)

    def publish(self, sent: Sent) -> None:
        if sent.kind in ("command", "undo", "cancel-child"):
            self.arriving.append(sent)

    def receive(self, place: int) -> None:
        """The participant gets one of the messages on their way: any of them, whatever was sent first."""
        sent = self.arriving.pop(self._first_for_child(place))
        if sent.record.topic == INBOX:
            self._child(sent)
        elif sent.id in self._stored:
            self._repeat(sent)
        elif sent.kind == "command":
            self._say(sent, self._do(sent))
        else:
            self._say(sent, self._undo(sent))

    def land(self, place: int) -> None:
        """A slow effect is there at last."""
        sent = self.landing.pop(place)
        self.standing[sent.id] = sent.step
        self._say(sent, [_ended(sent, "completed") if sent.record.topic == INBOX else self._success(sent)])

    # A child.

    def _first_for_child(self, place: int) -> int:
        """What is said to one child arrives in order."""
        key = self.arriving[place].record.key
        if self.arriving[place].record.topic != INBOX:
            return place
        return next(at for at, one in enumerate(self.arriving) if one.record.topic == INBOX and one.record.key == key)

    def _child(self, sent: Sent) -> None:
        start = _start_of(sent)
        if sent.kind == "undo":
            self._revoke(start)
            self._say(sent, [_ended(sent, "compensated")])
        elif sent.kind == "cancel-child":
            running = next((one for one in self.landing if one.id == start), None)
            if running is not None and self.random.random() < 0.6:  # else it was past its pivot
                self.landing.remove(running)
                self._say(running, [_ended(running, "cancelled")])
        elif self._fate(sent, ("fails",)) == "succeeds" or self.random.random() < 0.5:
            self.landing.append(sent)
        else:
            self._say(sent, [_ended(sent, self.random.choice(("compensated", "cancelled", "not-started")))])

    def _say(self, sent: Sent, events: list[Event]) -> None:
        self._stored[sent.id] = events
        self.answers.extend(Answer(sent.id, event) for event in events)

    def _repeat(self, sent: Sent) -> None:
        slow = any(other.id == sent.id for other in self.landing)
        if (
            not self._stored[sent.id] and not slow and self.random.random() < 0.4
        ):  # it comes back, and finds out what it has done
            self._stored[sent.id] = [self._truth(sent)]
        self.answers.extend(Answer(sent.id, event) for event in self._stored[sent.id])

    def _truth(self, sent: Sent) -> Event:
        if sent.kind == "command":
            return self._success(sent) if sent.id in self.standing else failure(sent, "none", True)
        for identity in sent.envelope.undoes or (_start_of(sent),):
            self._revoke(identity)
        return self._success(sent)

    def _do(self, sent: Sent) -> list[Event]:
        if sent.id in self._revoked:
            return [failure(sent, "none", False, "undone")]
        fate = self._fate(sent, self.habits)
        if fate == "succeeds" or (fate in ("unknown", "dead") and self.random.random() < 0.5):
            self.standing[sent.id] = sent.step
        if fate == "succeeds":
            return [self._success(sent)]
        if fate == "refuses":
            return [Refused(job_id="j1", step=sent.step)]
        if fate in ("slow", "torn", "torn"):
            self.landing.append(sent)
        if fate == "slow":
            return []
        if fate == "torn":
            none, final, unknown = _failures(sent)
            refused: Event = Refused(job_id="j1", step=sent.step)
            said = self.random.choice((refused, final, unknown, none, none, none, none, none))
            return [said]
        return self._failed(sent, fate)

    def _undo(self, sent: Sent) -> list[Event]:
        fate = self._fate(sent, UNDO_FATES)
        if fate == "succeeds" or (fate in ("unknown", "dead") and self.random.random() < 0.5):
            for identity in sent.envelope.undoes or (_start_of(sent),):
                self._revoke(identity)
        return [self._success(sent)] if fate == "succeeds" else self._failed(sent, fate)

    def _fate(self, sent: Sent, fates: tuple[str, ...]) -> str:
        trouble = self._troubles.setdefault(f"{sent.kind} {sent.step}", self.random.choice(TROUBLES))
        return self.random.choice(fates) if self.random.random() < trouble else "succeeds"

    def _revoke(self, identity: str) -> None:
        self._revoked.add(identity)
        self.standing.pop(identity, None)

    def _failed(self, sent: Sent, fate: str) -> list[Event]:
        none, final, unknown = _failures(sent)
        return {"none": [none], "final": [final], "unknown": [unknown], "dead": []}[fate]

    def _success(self, sent: Sent) -> Event:
        if sent.kind == "undo":
            return Reverted(job_id="j1", step=sent.step)
        return Done(job_id="j1", step=sent.step, mark=sent.id)


def _start_of(sent: Sent) -> str:
    """The id of the start of the child that the message is about, or that the command undoes."""
    if isinstance(sent.message, ToChild):
        return sent.message.start
    return f"{sent.id.rpartition('/undo/')[0]}/1"


def _ended(sent: Sent, phase: Literal["completed", "compensated", "cancelled", "not-started"]) -> ChildEnded:
    told = sent.message
    assert isinstance(told, ToChild)
    result = Done(job_id="j1", step=sent.step, mark=sent.id) if phase == "completed" else None
    return ChildEnded(
        process_id=told.parent,
        child=told.process_id,
        phase=phase,
        reason=None if phase in ("completed", "not-started") else "refused",
        result_type=None if result is None else result.type,
        result=None if result is None else result.model_dump(mode="json"),
    )


def _failures(sent: Sent) -> tuple[Event, Event, Event]:
    return failure(sent, "none", True), failure(sent, "none", False), failure(sent, "unknown", True)
