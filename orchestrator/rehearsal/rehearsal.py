"""One process, folded act by act with the real engine; time is virtual and goes on as the acts say."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgspec
from pydantic import BaseModel, ValidationError

from contracts.envelope import Envelope, format_time
from contracts.ids import ORCHESTRATOR_SOURCE, process_id
from contracts.limits import PermitReleased, PermitRequested
from contracts.message import Command, Message
from contracts.process import (
    ApprovalGiven,
    CancelRequested,
    ChildEnded,
    OperatorAction,
    SignalSent,
    StartChild,
    TimerFired,
    UndoChild,
)
from contracts.record import IncomingRecord
from contracts.topics import INBOX, LIFECYCLE
from orchestrator.engine.blocks.approval import roles_of
from orchestrator.engine.book import SagaBook
from orchestrator.engine.decide import decide
from orchestrator.engine.decision import Decision
from orchestrator.engine.history import HistoryEffect, HistoryEntry, decode_entry
from orchestrator.engine.inputs import Input, read_input
from orchestrator.engine.limiters_memory import MemoryLimiters, is_for_limiter
from orchestrator.engine.plan import result_of
from orchestrator.engine.process import Process
from orchestrator.language.blocks import Subsaga
from orchestrator.language.saga import Saga
from orchestrator.language.waiting import Approval as ApprovalBlock
from orchestrator.rehearsal.acts import (
    Act,
    Answer,
    Approval,
    Cancel,
    Child,
    End,
    Event,
    Operator,
    Signal,
    Silence,
    Start,
)

TO_LIMITERS = frozenset((PermitRequested.type, PermitReleased.type))
FIRST_MS = 1_767_258_000_000
"""2026-01-01T09:00:00Z: when every rehearsal begins, so that it can be repeated."""
STEP_MS = 100
"""Between two acts."""
SOURCE = "/counterpoint/try"


class Impossible(ValueError):
    """The act makes no sense as things are; nothing has happened."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A command or an undo that was sent. `address`: its id after the process, such as `charge/1`."""

    address: str
    step: str
    number: int
    is_undo: bool
    model: type[Command]
    data: dict[str, Any]


class Rehearsal:
    """`saga` alone, in its own version; begins with a `Start`."""

    def __init__(self, saga: Saga, operator: str = "you") -> None:
        self.saga = saga
        self.book = SagaBook([saga])
        self.plan = self.book.plan(saga.name, saga.version)
        self.now_ms = FIRST_MS
        self.id = ""
        self.process: Process | None = None
        self.history: list[HistoryEntry] = []
        self.acts: list[Act] = []
        self.asked: dict[str, Asked] = {}
        """By address."""
        self.children: dict[str, str] = {}
        """What was asked of children: the id of a start or an undo after the process -> the child."""
        self.sent: list[HistoryEffect] = []
        """Everything published but lifecycle events and what is said to limiters."""
        self.limiters = MemoryLimiters()
        """Nobody else is there: a place is free, and a rate grants its permits at their time."""
        self._operator = operator
        self._offset = 0

    def play(self, act: Act) -> Decision:
        """Raises Impossible."""
        decision = self._feed(self._input(act))
        self.acts.append(act)
        return decision

    def start(self, data: bytes) -> Decision:
        """Raises Impossible: it is no valid start message."""
        message = read_payload(self.saga.starts_on, data)
        return self.play(Start(self.saga.name, self.saga.version, msgspec.json.decode(message.to_json())))

    def next_timer(self) -> tuple[str, int] | None:
        """The timer that is due next, and when."""
        timers = {} if self.process is None else self.process.timers
        return min(timers.items(), key=lambda timer: (timer[1], timer[0])) if timers else None

    def awaited(self) -> tuple[Asked, ...]:
        """Commands and undos that wait for an answer, in the order of their steps."""
        found: list[Asked] = []
        for name, step in ({} if self.process is None else self.process.steps).items():
            if step.status == "awaiting" and step.child is None:
                found.append(self.asked[f"{name}/{step.tries[-1].number}"])
            undos = (f"{name}/undo/{job.numbers[-1]}" for job in step.undos if job.status == "awaited")
            found += [self.asked[undo] for undo in undos if undo in self.asked]
        return tuple(found)

    def awaited_children(self) -> tuple[str, ...]:
        """Addresses of starts and undos that wait for a child to end, in the order of their steps."""
        found: list[str] = []
        for name, step in ({} if self.process is None else self.process.steps).items():
            if step.status == "awaiting" and step.child is not None:
                found.append(f"{name}/{step.tries[-1].number}")
            undos = (f"{name}/undo/{job.numbers[-1]}" for job in step.undos if job.status == "awaited")
            found += [undo for undo in undos if undo in self.children]
        return tuple(found)

    def deciding(self) -> dict[str, tuple[str, ...]]:
        """Approvals that wait for a decision, and the roles that may take it now."""
        process, found = self.process, dict[str, tuple[str, ...]]()
        for key, step in ({} if process is None else process.steps).items():
            node = self.plan.find(key)
            if process is None or node is None or not isinstance(node.block, ApprovalBlock):
                continue
            if step.status == "waiting" or key in process.stuck:
                found[key] = tuple(sorted(roles_of(node.block, escalated=process.steps[key].escalated)))
        return found

    def known(self, asked: Asked | None = None) -> tuple[dict[str, Any], ...]:
        """Payloads whose fields an answer repeats: the command's, then the start's."""
        began = self.process is not None and self.process.start.data
        start = msgspec.json.decode(began) if began else {}
        return (start,) if asked is None else (asked.data, start)

    @property
    def now(self) -> str:
        return format_time(self.now_ms)

    def end(self) -> End:
        process = self.process
        if process is None:
            return End("none")
        sent = [(effect.id, effect.type) for effect in self.sent]
        return End(process.phase, process.step, process.reason, dict(process.stuck), sent)

    # Inside.

    def _feed(self, item: Input) -> Decision:
        decision = decide(self.book, self.process, item)
        self._offset += 1
        self.now_ms = item.at_ms + STEP_MS
        self.process = decision.process or self.process
        if decision.history is not None:
            entry = decode_entry(decision.history)
            self.history.append(entry)
            for effect in entry.effects:
                self._sent(effect)
        self._hear_limiters(decision)
        return decision

    def _hear_limiters(self, decision: Decision) -> None:
        asked = [record for record in decision.effects if is_for_limiter(record)]
        for record in self.limiters.tell(asked, self.now_ms) if asked else ():
            incoming = IncomingRecord(INBOX, 0, self._offset, self.now_ms, record.key, record.value, record.headers)
            self._feed(read_input(incoming))

    def _sent(self, effect: HistoryEffect) -> None:
        if effect.topic == LIFECYCLE or effect.type in TO_LIMITERS:
            return
        self.sent.append(effect)
        if effect.type in (StartChild.type, UndoChild.type):
            address = effect.id.removeprefix(f"{self.id}/")
            self.children[address] = str(msgspec.json.decode(effect.data)["process_id"])
        asked = read_asked(self, effect)
        if asked is not None:
            self.asked[asked.address] = asked

    def _input(self, act: Act) -> Input:
        match act:
            case Start():
                if (act.saga, act.version) != (self.saga.name, self.saga.version):
                    mine = f"{self.saga.name} version {self.saga.version}"
                    raise Impossible(f"the session is of {act.saga} version {act.version}, not of {mine}")
                message = read_payload(self.saga.starts_on, msgspec.json.encode(act.data))
                self.id = process_id(self.saga.name, self._key(message))
                return self._item(self.saga.starts_on.type, message.to_json(), stamped=True)
            case Answer():
                if act.of not in self.asked:
                    raise Impossible(f"no command {act.of} was sent; sent were: {', '.join(self.asked) or 'none'}")
                return self._item(act.type, msgspec.json.encode(act.data), causation=f"{self.id}/{act.of}")
            case Child():
                ended = self.ended(act)
                return self._item(ended.type, ended.to_json(), causation=f"{self.id}/{act.of}")
            case Silence():
                return self._timer(act.timer)
            case Event():
                return self._item(act.type, msgspec.json.encode(act.data), stamped=True)
            case Signal():
                sent = SignalSent(process_id=self.id, signal=act.name, payload=act.data, sender=self._operator)
                return self._item(SignalSent.type, sent.to_json(), stamped=True)
            case Approval():
                return self._item(ApprovalGiven.type, self._given(act).to_json())
            case Cancel():
                asked = CancelRequested(process_id=self.id, operator=self._operator)
                return self._item(CancelRequested.type, asked.to_json())
            case Operator():
                return self._item(OperatorAction.type, self._action(act).to_json())

    def ended(self, act: Child) -> ChildEnded:
        """Raises Impossible."""
        if act.of not in self.children:
            raise Impossible(f"no child was asked for {act.of}; asked were: {', '.join(self.children) or 'none'}")
        node = self.plan.find(act.of.split("/")[0])
        assert node is not None and isinstance(node.block, Subsaga)
        returns = result_of(node.block.child)
        if act.data is not None and (returns is None or act.phase != "completed"):
            raise Impossible(f"a process of {node.block.child.name} that is {act.phase} returns nothing")
        if act.data is not None and returns is not None:
            check_payload(returns, act.data)
        return ChildEnded(
            process_id=self.id,
            child=self.children[act.of],
            phase=act.phase,
            reason=act.reason,
            result_type=returns.type if act.data is not None and returns is not None else None,
            result=act.data,
        )

    def _key(self, message: Message) -> str:
        try:
            return self.saga.key(message)
        except Exception as error:
            raise Impossible(f"the saga's key function raised {type(error).__name__}: {error}") from error

    def _timer(self, timer_id: str) -> Input:
        due_ms = {} if self.process is None else self.process.timers
        if timer_id not in due_ms:
            raise Impossible(f"no timer {timer_id} is set; set are: {', '.join(due_ms) or 'none'}")
        fired = TimerFired(process_id=self.id, timer_id=timer_id, due_ms=due_ms[timer_id])
        return self._item(fired.type, fired.to_json(), at_ms=max(self.now_ms, due_ms[timer_id]))

    def _given(self, act: Approval) -> ApprovalGiven:
        return ApprovalGiven(
            process_id=self.id,
            step=act.step,
            decision=act.decision,
            form=act.form,
            by=self._operator,
            roles=None if act.role is None else (act.role,),
        )

    def _action(self, act: Operator) -> OperatorAction:
        revision = 0 if self.process is None else self.process.revision
        fixed = {"process_id": self.id, "revision": revision, "operator": self._operator}
        try:
            return OperatorAction.model_validate({**act.fields, **fixed})
        except ValidationError as error:
            raise Impossible(_said(error)) from error

    def _item(
        self,
        type_name: str,
        data: bytes,
        *,
        causation: str | None = None,
        stamped: bool = False,
        at_ms: int | None = None,
    ) -> Input:
        envelope = Envelope(
            id=f"try-{self._offset}",
            source=ORCHESTRATOR_SOURCE if type_name == TimerFired.type else SOURCE,
            type=type_name,
            time=format_time(self.now_ms),
            process_id=None if causation is None else self.id,
            causation_id=causation,
        )
        stamp = (self.saga.name, self.saga.version) if stamped else (None, None)
        return Input(self._offset, at_ms or self.now_ms, self.id, envelope, data, *stamp)


def read_asked(rehearsal: Rehearsal, effect: HistoryEffect) -> Asked | None:
    """None: it is no command of the process."""
    address = effect.id.removeprefix(f"{rehearsal.id}/")
    path, _, number = address.rpartition("/")
    node = rehearsal.plan.find(path.removesuffix("/undo"))
    if not number.isdigit() or node is None:
        return None
    is_undo = path.endswith("/undo")
    made = node.undo_makes if is_undo else node.makes
    if made is None or not issubclass(made, Command):
        return None
    data = msgspec.json.decode(effect.data)
    return Asked(address, path.removesuffix("/undo"), int(number), is_undo, made, data)


def read_payload(model: type[Message], data: bytes) -> Message:
    """Raises Impossible, with every wrong field."""
    message: Message = _validated(model, data)
    return message


def check_payload(model: type[BaseModel], data: dict[str, Any]) -> None:
    """Raises Impossible, with every wrong field."""
    _validated(model, msgspec.json.encode(data))


def _validated(model: type[Any], data: bytes) -> Any:
    try:
        return model.model_validate_json(data)
    except ValidationError as error:
        raise Impossible(f"this is no {getattr(model, 'type', '') or model.__name__}: {_said(error)}") from error


def _said(error: ValidationError) -> str:
    return "; ".join(f"{'.'.join(map(str, one['loc'])) or 'the whole'}: {one['msg']}" for one in error.errors())
