"""What would be undone if the process had to give up now: found by letting a copy of it do so."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from contracts.envelope import Envelope
from contracts.ids import ORCHESTRATOR_SOURCE
from contracts.message import Event
from contracts.process import ChildEnded, TimerFired, UndoChild
from contracts.technical import CommandFailed
from orchestrator.engine.decide import decide
from orchestrator.engine.history import HistoryEffect, decode_entry
from orchestrator.engine.inputs import Input
from orchestrator.engine.process import Process
from orchestrator.engine.turn import DEADLINE_TIMER
from orchestrator.rehearsal.rehearsal import Asked, Rehearsal, read_asked
from orchestrator.rehearsal.sample import NoSample, sample

UNDOS_MAX = 1_000
"""Undos that are shown at most."""


@dataclass(frozen=True, slots=True)
class Undoing:
    """`undos`: in the order in which they would be sent. `unsettled`: steps that are asked about first; what turns out
    done is undone too. `past_pivot`: nothing can be undone any more."""

    undos: tuple[HistoryEffect, ...] = ()
    unsettled: tuple[str, ...] = ()
    past_pivot: bool = False


def would_undo(rehearsal: Rehearsal) -> Undoing:
    process = rehearsal.process
    if process is None or process.ended is not None or process.phase == "early":
        return Undoing()
    if process.past_pivot:
        return Undoing(past_pivot=True)
    unsettled = [asked.step for asked in rehearsal.awaited() if not asked.is_undo]
    unsettled += [one.rpartition("/")[0] for one in rehearsal.awaited_children() if "/undo/" not in one]
    twin = _Twin(rehearsal, process)
    if process.cause is None:
        twin.give_up()
    for asked in rehearsal.awaited():
        if asked.is_undo:
            twin.undone(asked)
        else:
            twin.failed(asked)
    for address in rehearsal.awaited_children():
        twin.child_ended(address, rehearsal.children[address])
    twin.finish()
    return Undoing(tuple(twin.undos), tuple(unsettled))


class _Twin:
    def __init__(self, rehearsal: Rehearsal, process: Process) -> None:
        self._rehearsal = rehearsal
        self._process = process
        self._open: list[Asked] = []
        self._children: list[tuple[str, str]] = []
        """Children that are asked to undo themselves: address and process."""
        self.undos: list[HistoryEffect] = []

    def give_up(self) -> None:
        """As if its deadline passed."""
        due_ms = self._rehearsal.now_ms
        timers = {**self._process.timers, DEADLINE_TIMER: due_ms}
        self._process = msgspec.structs.replace(self._process, timers=timers)
        self._feed(TimerFired(process_id=self._process.id, timer_id=DEADLINE_TIMER, due_ms=due_ms))

    def failed(self, asked: Asked) -> None:
        text = "a guess of what would be undone"
        self._feed(
            CommandFailed(command_type=asked.model.type, code="not-done", message=text, effect="none", retryable=False),
            asked,
        )

    def undone(self, asked: Asked) -> None:
        success = asked.model.succeeds[0]
        try:
            data = sample(success, self._rehearsal.known(asked), self._rehearsal.now)
            event = success.model_validate_json(msgspec.json.encode(data))
        except NoSample:
            return
        self._feed(event, asked)

    def child_ended(self, address: str, child: str) -> None:
        """It has left nothing."""
        phase = "compensated" if "/undo/" in address else "cancelled"
        ended = ChildEnded.model_validate({"process_id": self._process.id, "child": child, "phase": phase})
        self._feed(ended, address=address)

    def finish(self) -> None:
        while (self._open or self._children) and len(self.undos) < UNDOS_MAX:
            if self._open:
                self.undone(self._open.pop(0))
            else:
                self.child_ended(*self._children.pop(0))

    def _feed(self, event: Event, asked: Asked | None = None, *, address: str | None = None) -> None:
        process = self._process
        address = address if asked is None else asked.address
        envelope = Envelope(
            id=f"guess-{len(self.undos)}-{process.revision}",
            source=ORCHESTRATOR_SOURCE,
            type=event.type,
            process_id=process.id,
            causation_id=None if address is None else f"{process.id}/{address}",
        )
        item = Input(0, self._rehearsal.now_ms, process.id, envelope, event.to_json())
        decision = decide(self._rehearsal.book, process, item)
        if decision.process is None or decision.history is None:
            return
        self._process = decision.process
        for effect in decode_entry(decision.history).effects:
            if effect.type == UndoChild.type:
                self.undos.append(effect)
                address = effect.id.removeprefix(f"{process.id}/")
                self._children.append((address, str(msgspec.json.decode(effect.data)["process_id"])))
            sent = read_asked(self._rehearsal, effect)
            if sent is not None and sent.is_undo:
                self.undos.append(effect)
                self._open.append(sent)
