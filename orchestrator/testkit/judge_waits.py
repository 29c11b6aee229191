"""Judges what people and other services say to a process: each event and signal is taken once, by a block that waits
for it, or kept until one does; limits, roles and escalations hold; who is called off begins to undo.

The judge has its own account of all that came (by the marks of lab_waits.py), and asks the engine only which block
has taken what.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import msgspec
from pydantic import BaseModel, ValidationError

from contracts.process import ApprovalGiven, CancelRequested, SignalSent, TimerFired
from orchestrator.engine import early
from orchestrator.engine.arrivals import EARLY_MAX
from orchestrator.engine.early import EARLY_TIMER
from orchestrator.engine.inputs import Input
from orchestrator.engine.plan import Node, Plan
from orchestrator.engine.process import Process, StepState
from orchestrator.language.waiting import Approval, WaitFor, captured_as, signal_type
from orchestrator.testkit.fold import Fed
from orchestrator.testkit.invariants import Broken
from orchestrator.testkit.lab_waits import Halted
from orchestrator.testkit.structure import Structure

IDLE = StepState()


@dataclass(frozen=True, slots=True)
class Said:
    """An event or signal that this process was told. `of`: the type under which it is captured."""

    of: str
    mark: str
    identity: tuple[str, str]
    at_ms: int


@dataclass(slots=True)
class WaitsJudge:
    plan: Plan
    process_id: str
    saga: Structure
    kept: list[Said] = field(default_factory=list)
    """What came and was not taken yet, the oldest first."""
    taken: set[str] = field(default_factory=set)
    """Marks of all that blocks have captured."""
    known: set[tuple[str, str]] = field(default_factory=set)
    """Identities of all that was applied or kept."""
    began_ms: dict[str, int] = field(default_factory=dict)
    """When each wait began, last; by its path."""
    escalated: set[str] = field(default_factory=set)

    def see(self, fed: Fed) -> list[str]:
        """Paths of the waits that have begun with this input, also those that were over at once. Raises Broken."""
        kind = fed.item.envelope.type
        said = self._said(fed.item)
        if said is not None:
            self._heard(fed, said)
        elif kind == ApprovalGiven.type:
            self._decided(fed, ApprovalGiven.model_validate_json(fed.item.data))
        elif kind == CancelRequested.type:
            self._cancelled(fed, f"the wish of {fed.item.envelope.id}")
        elif kind == TimerFired.type and fed.decision.result == "applied":
            self._timed(fed, TimerFired.model_validate_json(fed.item.data).timer_id)
        if fed.after is None or fed.decision.result != "applied":
            return []
        self._began(fed)
        begun = list(self._changed(fed.before, fed.after))
        for key in begun:
            self._moved(fed, fed.after, key, said)
        self._waits_for_nothing_that_came(fed.after)
        return [key for key in begun if fed.after.steps[key].status in ("waiting", "succeeded")]

    def _said(self, item: Input) -> Said | None:
        """What the input tells this process, if it is valid, for this process, and of a type that it may want."""
        kind, data = item.envelope.type, item.data
        try:
            if kind == SignalSent.type:
                sent = SignalSent.model_validate_json(data)
                kind, data = signal_type(sent.signal), msgspec.json.encode(sent.payload)
            model = self._wanted(kind)
            if model is None:
                return None
            message = model.model_validate_json(data)
        except ValidationError:
            return None
        key = self.process_id.partition(":")[2]
        if getattr(message, "job_id", key) != key:
            return None
        return Said(kind, message.mark, item.envelope.identity, item.at_ms)  # type: ignore[attr-defined]  # lab_waits

    def _wanted(self, kind: str) -> type[BaseModel] | None:
        if self.plan.saga.cancelled_by is not None and kind == Halted.type:
            return Halted
        nodes = list(self._waiting_for(kind))
        block = nodes[0].block if nodes else None
        return block.wants if isinstance(block, WaitFor) else None

    def _waiting_for(self, kind: str) -> Iterator[Node]:
        for node in self.plan.nodes:
            if isinstance(node.block, WaitFor) and captured_as(node.block.wants) == kind:
                yield node

    # What came.

    def _heard(self, fed: Fed, said: Said) -> None:
        result, before = fed.decision.result, fed.before
        exists = before is not None and before.phase != "early"
        if said.identity in self.known:
            if result != "ignored":
                raise Broken(f"{said.mark} came twice, and was {result} twice")
        elif said.of == Halted.type and exists:
            self._cancelled(fed, said.mark)
        elif not exists and fed.item.saga is None:
            return  # nobody has said whose definition knows it
        elif result == "ignored":
            self._may_be_ignored(fed, said)
        else:
            self.known.add(said.identity)
            if result == "buffered":
                assert fed.after is not None
                self.kept.append(replace(said, at_ms=fed.after.updated_at_ms))
                if before is not None and any(self._open(before, said.of)):
                    raise Broken(f"{said.mark} was kept, and a block was waiting for it")

    def _may_be_ignored(self, fed: Fed, said: Said) -> None:
        if len(self.kept) >= EARLY_MAX:
            return
        before = fed.before
        if before is None or before.phase == "early":
            raise Broken(f"{said.mark} came before its process, and was ignored: {fed.decision.reason}")
        if any(self._open(before, said.of)):
            raise Broken(f"a block waits for {said.mark}, which was ignored: {fed.decision.reason}")
        for node in self._waiting_for(said.of):
            to_come = before.ended is None and (before.cause is None or not self.plan.in_body(node))
            if to_come and not self.plan.loops(node) and node.key not in before.steps:
                raise Broken(f"{node.key} is to come, and {said.mark} was ignored: {fed.decision.reason}")

    def _open(self, process: Process, kind: str) -> Iterator[str]:
        """Paths of the blocks that would take what is of this type."""
        for key, step in process.steps.items():
            block = self._block(key)
            wanting = isinstance(block, WaitFor) and captured_as(block.wants) == kind
            if wanting and (step.status == "waiting" or key in process.stuck):
                yield key

    def _block(self, key: str) -> object:
        return self.saga.node(key).block

    def _cancelled(self, fed: Fed, by: str) -> None:
        before, result = fed.before, fed.decision.result
        if before is None or before.phase == "early":
            return
        may = before.cause is None and before.ended is None and not before.past_pivot
        if may and (result != "applied" or fed.after is None or fed.after.cause is None):
            raise Broken(f"{by} should call it off, and was {result}: {fed.decision.reason}")
        if not may and result != "ignored":
            raise Broken(f"{by} came too late to call it off, and was {result}")
        if result == "applied":
            self.known.add(fed.item.envelope.identity)

    def _began(self, fed: Fed) -> None:
        """The process has begun: what calls it off had perhaps come already."""
        before, after = fed.before, fed.after
        if (before is not None and before.phase != "early") or after is None or after.phase == "early":
            return
        called_off = [said for said in self.kept if said.of == Halted.type]
        if called_off and after.cause is None:
            raise Broken("it was called off before it began, and goes on")
        self.kept = [said for said in self.kept if said.of != Halted.type]

    # What people decide.

    def _decided(self, fed: Fed, given: ApprovalGiven) -> None:
        before, result, node = fed.before, fed.decision.result, self.plan.find(given.step)
        if before is None or node is None or not isinstance(node.block, Approval):
            if result != "ignored":
                raise Broken(f"a decision about {given.step} was {result}")
            return
        waits = before.steps.get(given.step, IDLE).status == "waiting" or given.step in before.stuck
        fresh = fed.item.envelope.identity not in self.known
        right = waits and fresh and self._may_decide(node.block, given) and _has_form(node.block, given)
        if right != (result == "applied"):
            raise Broken(f"{given.by} ({given.roles}) decides about {given.step}: {result}, {fed.decision.reason}")
        if right:
            assert fed.after is not None
            self.known.add(fed.item.envelope.identity)
            status = fed.after.steps[given.step].status
            if status != ("succeeded" if given.decision == "approve" else "failed"):
                raise Broken(f"{given.by} says {given.decision}, and {given.step} has {status}")

    def _may_decide(self, block: Approval, given: ApprovalGiven) -> bool:
        if given.roles is None or block.role in given.roles:
            return True
        escalation = block.escalation
        return escalation is not None and given.step in self.escalated and escalation.role in given.roles

    # What time does.

    def _timed(self, fed: Fed, timer_id: str) -> None:
        key, _, kind = timer_id.rpartition("/")
        assert fed.after is not None
        now_ms = fed.after.updated_at_ms
        if timer_id == EARLY_TIMER:
            self._expired(fed, now_ms)
        elif kind in ("limit", "escalation"):
            block = self._block(key)
            assert isinstance(block, WaitFor | Approval)
            after = block.limit
            if kind == "escalation":
                assert isinstance(block, Approval) and block.escalation is not None
                after = block.escalation.after
                if [one.step for one in fed.sent] != ["approval-escalated"]:
                    raise Broken(f"{key} was escalated, and nobody was told")
            if now_ms < self.began_ms[key] + round(after.total_seconds() * 1000):
                raise Broken(f"{timer_id} has come before its time")
            self.escalated.add(key)

    def _expired(self, fed: Fed, now_ms: int) -> None:
        gone = [said for said in self.kept if said.at_ms + early.KEPT_MS <= now_ms]
        if len([one for one in fed.sent if one.kind == "dead-letter"]) != len(gone):
            raise Broken(f"{len(gone)} early messages have waited long enough, and {len(fed.sent)} were given up")
        self.kept = [said for said in self.kept if said not in gone]
        self.known -= {said.identity for said in gone}

    # What became of it.

    def _changed(self, before: Process | None, after: Process) -> Iterator[str]:
        earlier = {} if before is None else before.steps
        for key, step in after.steps.items():
            if isinstance(self._block(key), WaitFor | Approval) and step.status != earlier.get(key, IDLE).status:
                yield key

    def _moved(self, fed: Fed, after: Process, key: str, said: Said | None) -> None:
        step, block, kind = after.steps[key], self._block(key), fed.item.envelope.type
        if step.status == "waiting":
            self.began_ms[key] = after.updated_at_ms
            self.escalated.discard(key)
        elif step.status == "succeeded":
            self.saga.finished_steps.add(key)
            if isinstance(block, WaitFor):
                assert step.outcome is not None
                self._captured(key, step.outcome.type, msgspec.json.decode(step.outcome.data)["mark"], said)
            elif kind != ApprovalGiven.type:
                raise Broken(f"{key} was approved by nobody")
        elif step.status == "failed":
            timer = TimerFired.model_validate_json(fed.item.data).timer_id if kind == TimerFired.type else ""
            given_up = after.cause is not None or self.saga.given_up(key, after) >= 0
            if not given_up and timer != f"{key}/limit" and kind != ApprovalGiven.type:
                raise Broken(f"{key} has failed, and neither its limit has passed nor has anybody rejected it")

    def _captured(self, key: str, kind: str, mark: str, said: Said | None) -> None:
        if mark in self.taken:
            raise Broken(f"{key} has captured {mark}, which another block had captured")
        oldest = next((one for one in self.kept if one.of == kind), said)
        if oldest is None or (oldest.of, oldest.mark) != (kind, mark):
            raise Broken(f"{key} has captured {mark}, and {oldest.mark if oldest else 'nothing'} was its turn")
        self.taken.add(mark)
        if oldest in self.kept:
            self.kept.remove(oldest)

    def _waits_for_nothing_that_came(self, after: Process) -> None:
        for said in self.kept:
            for key in self._open(after, said.of):
                raise Broken(f"{key} waits, and {said.mark} came for it, and was dropped")


def _has_form(block: Approval, given: ApprovalGiven) -> bool:
    if block.form is None:
        return given.form is None
    if given.decision == "reject" and given.form is None:
        return True
    try:
        block.form.model_validate_json(msgspec.json.encode(given.form or {}))
    except ValidationError:
        return False
    return True
