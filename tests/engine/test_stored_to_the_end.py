"""Every stored state goes on to the end that its story would have had; and together they have seen everything."""

from __future__ import annotations

import base64
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import msgspec
import pytest

from contracts.envelope import Envelope, decode_headers
from contracts.ids import ORCHESTRATOR_SOURCE, child_notice_id
from contracts.limits import PermitGranted
from contracts.message import Event
from contracts.process import ApprovalGiven, ChildEnded, OperatorAction, ReleaseChild, StartChild, ToChild, UndoChild
from contracts.record import OutgoingRecord
from orchestrator.engine import process as states
from orchestrator.engine.book import SagaBook
from orchestrator.engine.decide import decide
from orchestrator.engine.decision import Decision
from orchestrator.engine.expiry import EXPIRY_TIMER
from orchestrator.engine.inputs import Input
from orchestrator.engine.limiter import limiter_id
from orchestrator.engine.plan import compile_saga
from orchestrator.engine.process import Permit, Process, Struct, decode_process, encode_process
from orchestrator.language import Saga
from orchestrator.language.blocks import Block, Subsaga
from orchestrator.language.waiting import Approval, Signal, WaitFor
from orchestrator.testkit.inbox import Inbox
from orchestrator.testkit.lab import Begun, Do, Done, Reverted
from tests.engine.store_states import (
    CHILD_PREFIX,
    CHILD_SAGA,
    FLOW_PREFIX,
    FLOW_SAGA,
    FOLDER,
    PREFIX,
    SAGA,
    child_stories,
    flow_stories,
    stories,
)
from tests.engine.stored_stories import STORED, WAIT_PREFIX
from tests.engine.stored_stories_v4 import NEWER, NEWER_PREFIX, RENEWED
from tests.engine.test_waits import GOODS, Released

INPUTS_MAX = 200
HOW_TO_MEND = "tell its story in tests/engine/stored_stories_v4.py, and run `python -m tests.engine.store_states`"
ENDS: dict[str, tuple[Saga, str]] = {
    f"{PREFIX}-forward": (SAGA, "completed"),
    f"{PREFIX}-undoing": (SAGA, "compensated"),
    f"{FLOW_PREFIX}-flow-forward": (FLOW_SAGA, "completed"),
    f"{FLOW_PREFIX}-flow-undoing": (FLOW_SAGA, "compensated"),
    f"{CHILD_PREFIX}-child-forward": (CHILD_SAGA, "completed"),
    f"{CHILD_PREFIX}-child-undoing": (CHILD_SAGA, "cancelled"),
    **{f"{WAIT_PREFIX}-{name}": (stored.saga, stored.phase) for name, stored in STORED.items()},
    **{f"{NEWER_PREFIX}-{name}": (stored.saga, stored.phase) for name, stored in NEWER.items()},
}
ENDED = {"limiter": None, "expired": "completed"}
"""What these say of how they ended."""


def load(name: str) -> Process:
    return decode_process(base64.b64decode((FOLDER / f"{name}.b64").read_bytes()))


class Going:
    """A stored process, and participants, children, limiters, people and a clock who do what it waits for."""

    def __init__(self, process: Process, saga: Saga) -> None:
        self.book = SagaBook([saga])
        self.plan = self.book.plan(saga.name, saga.version)
        self.process = process
        self.inbox = Inbox(process.id, saga.name, saga.version)
        self.inbox.now_ms = process.updated_at_ms + 1
        self.inputs = 0

    def to_the_end(self) -> None:
        while (item := self._next()) is not None:
            self.inputs += 1
            assert self.inputs < INPUTS_MAX, self.process
            decision = decide(self.book, self.process, item)
            assert decision.result == "applied" and decision.process is not None, (item, decision.reason)
            self.process = decode_process(encode_process(decision.process))

    def to_oblivion(self) -> None:
        """Its parent lets it go, if it has one; then its time passes, and that of its tombstone."""
        parent = self.process.parent
        if parent is not None and not parent.released:
            assert (self.process.expires_at_ms, self._expiry().reason) == (0, "stale"), "its parent may need it"
            told = ReleaseChild(
                process_id=self.process.id, parent=parent.process, step=parent.step, start=parent.start
            )  # fmt: skip
            notice = child_notice_id(parent.process, parent.step, "release")
            self._keep(decide(self.book, self.process, self.inbox.from_parent(told, id=notice)))
        if not self.process.expires_at_ms:  # stored before there was an expiry
            self._keep(self._expiry())
        if self.process.phase != "expired":
            self._keep(self._expiry())
        assert self.process.phase == "expired"
        decision = self._expiry()
        assert (decision.result, decision.forget, decision.process) == ("applied", True, None)

    def _expiry(self) -> Decision:
        self.inbox.now_ms = max(self.inbox.now_ms, self.process.expires_at_ms)
        return decide(self.book, self.process, self.inbox.timer(EXPIRY_TIMER, self.process.expires_at_ms))

    def _keep(self, decision: Decision) -> None:
        assert decision.result == "applied" and decision.process is not None
        self.process = decode_process(encode_process(decision.process))

    def _next(self) -> Input | None:
        if self.process.phase == "early":
            return self.inbox.start(Begun(job_id="j1"), id="start", source="/test/origin")
        for record in self.process.awaited():
            return self._answer(record)
        for permit in self.process.permits.values():
            if permit.state in ("asked", "deferred"):
                return self._granted(permit)
        for address in self.process.stuck:
            return self.inbox.operator(self._action(address))
        for key, step in self.process.steps.items():
            if step.status == "waiting":
                return self._said(key)
        if self.process.timers:
            timer_id, due_ms = min(self.process.timers.items(), key=lambda timer: timer[1])
            self.inbox.now_ms = max(self.inbox.now_ms, due_ms)
            return self.inbox.timer(timer_id, due_ms)
        return None

    def _answer(self, record: OutgoingRecord) -> Input:
        envelope = decode_headers(record.headers)
        if envelope.type in (StartChild.type, UndoChild.type):
            return self._child_ended(record, envelope.id)
        done: Event = Reverted(job_id="j1", step="x")
        if envelope.type == Do.type:
            done = Done(job_id="j1", step="x", mark=envelope.id)
        return self.inbox.answer(done, envelope.id)

    def _child_ended(self, record: OutgoingRecord, asked: str) -> Input:
        """A child that was started completes, also one that was called off meanwhile; one that is to undo itself
        does."""
        told = ToChild.model_validate_json(record.value)
        node = self.plan.find(told.step)
        assert node is not None and isinstance(node.block, Subsaga)
        answer = ChildEnded(process_id=told.parent, child=told.process_id, phase="compensated")
        if asked == told.start:
            result = None if node.block.child.returns is None else Done(job_id="j1", step="child", mark=asked)
            answer = ChildEnded(
                process_id=told.parent,
                child=told.process_id,
                phase="completed",
                result_type=None if result is None else result.type,
                result=None if result is None else result.model_dump(mode="json"),
            )
        return self.inbox.from_child(answer, asked)

    def _granted(self, permit: Permit) -> Input:
        """A concurrency at once; a rate a minute later."""
        is_rate = permit.limiter.startswith(limiter_id("rate", ""))
        granted = PermitGranted(
            process_id=self.process.id,
            limiter=permit.limiter,
            request=permit.request,
            not_before_ms=self.inbox.now_ms + (60_000 if is_rate else 0),
        )
        envelope = Envelope(id=f"granted-{self.inputs}", source=ORCHESTRATOR_SOURCE, type=granted.type)
        return self.inbox.foreign(envelope, granted.to_json())

    def _action(self, address: str) -> OperatorAction:
        seen = {"process_id": self.process.id, "revision": self.process.revision, "operator": "ann"}
        return OperatorAction.model_validate({**seen, "action": "retry", "step": address})

    def _said(self, key: str) -> Input:
        node = self.plan.find(key)
        assert node is not None
        if isinstance(node.block, Approval):
            form = {"score": 3}
            return self.inbox.control(
                ApprovalGiven(process_id=self.process.id, step=key, decision="approve", form=form, by="ann")
            )
        assert isinstance(node.block, WaitFor)
        if issubclass(node.block.wants, Signal):
            return self.inbox.signal(Released(by="ann"), id=f"signal-{self.inputs}", sender="ann")
        return self.inbox.observed(GOODS, id=f"goods-{self.inputs}", source="/test/elsewhere")


@pytest.mark.parametrize("name", sorted(path.stem for path in FOLDER.glob("*.b64")))
def test_a_stored_process_goes_on_to_its_end(name: str) -> None:
    saga, phase = ENDS[name]
    going = Going(load(name), saga)
    before = going.process
    going.to_the_end()
    after = going.process
    ended = ENDED.get(phase, phase)
    assert (after.phase, after.ended, dict(after.stuck), after.timers, after.awaited()) == (phase, ended, {}, {}, ())
    assert after.permits == {}
    assert going.inputs > 0 or (before.phase == phase and not before.timers and not before.awaited())
    if phase == "limiter":
        assert after.limiter is not None and not after.limiter.leases and not after.limiter.waiting
    else:
        going.to_oblivion()


def test_every_story_is_stored_and_every_state_has_its_story() -> None:
    assert sorted(path.stem for path in FOLDER.glob("*.b64")) == sorted(ENDS), HOW_TO_MEND


def test_a_state_is_stored_in_the_middle_of_things() -> None:
    """Not one that had nothing before it: only those whose names say so have ended."""
    ended = {name for name in ENDS if load(name).ended is not None}
    always = ("completed", "called-off-at-its-end", "late-at-its-end")
    newer = ("brought-home", "let-go", "undone-for-its-parent", "never-begun", "expired")
    assert ended == {
        *(f"{WAIT_PREFIX}-{name}" for name in always),
        *(f"{NEWER_PREFIX}-{name}" for name in (*always, *newer)),
    }


# Nothing is left out.


def structs() -> list[type[Struct]]:
    found = [one for one in vars(states).values() if isinstance(one, type) and issubclass(one, Struct)]
    return [one for one in found if one is not Struct]


def told(value: object) -> Iterator[tuple[str, ...]]:
    """The fields that say something, and which words they say."""
    if isinstance(value, Struct):
        for field in msgspec.structs.fields(type(value)):
            inner = getattr(value, field.name)
            if field.required or inner != field.default:
                yield type(value).__name__, field.name
            if isinstance(inner, str):
                yield type(value).__name__, field.name, inner
            yield from told(inner)
    elif isinstance(value, dict | tuple):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from told(inner)


def wanted() -> Iterator[tuple[str, ...]]:
    for struct in structs():
        hints = typing.get_type_hints(struct)
        for field in msgspec.structs.fields(struct):
            yield struct.__name__, field.name
            for word in words_of(hints[field.name]):
                yield struct.__name__, field.name, word


def words_of(annotation: Any) -> tuple[str, ...]:
    return typing.get_args(annotation) if typing.get_origin(annotation) is Literal else ()


def test_every_field_and_every_status_is_in_some_stored_state() -> None:
    assert len(structs()) > 8
    found = {one for name in ENDS for one in told(load(name))}
    assert sorted(set(wanted()) - found) == [], HOW_TO_MEND


def test_every_block_is_in_some_stored_saga() -> None:
    kinds = {type(node.block) for saga, _ in ENDS.values() for node in compile_saga(saga).nodes}
    assert set(typing.get_args(Block)) - kinds == set(), HOW_TO_MEND


def test_what_is_stored_is_what_the_stories_tell_now() -> None:
    """Of the latest prefix: an engine that does something else now would store another state. An older one stays as it
    was stored, whatever newer engines make of the same story; such a story is stored anew under a newer prefix."""
    made = {f"{WAIT_PREFIX}-{name}": stored.state() for name, stored in STORED.items()}
    made |= {f"{CHILD_PREFIX}-{name}": story.process for name, story in child_stories().items()}
    made |= {f"{NEWER_PREFIX}-{name}": stored.state() for name, stored in NEWER.items()}
    outdated = {name for name, state in made.items() if load(name) != state}
    assert outdated == {f"{WAIT_PREFIX}-{name}" for name in RENEWED}, HOW_TO_MEND
    assert len(made) > 60 and {*stories(), *flow_stories()}


def test_the_folder_is_read_whole() -> None:
    assert {path.suffix for path in Path(FOLDER).iterdir()} == {".b64"}
