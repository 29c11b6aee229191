"""Moves a waiting process to a newer version of its saga, if everything that it has done means the same there.

`migrated` is pure and is asked by the command line too, for its dry run. What was sent keeps its ids and bytes, what
was captured its payloads, what is set its times; only the names under which the state is kept change.
"""

from __future__ import annotations

from typing import NoReturn

import msgspec
from pydantic import BaseModel, ValidationError

from contracts.process import MigrationRequested
from orchestrator.engine.blocks.on_stuck import without_alerts
from orchestrator.engine.book import SagaBook
from orchestrator.engine.building import PayloadInvalid, parse_payload
from orchestrator.engine.decision import Reason
from orchestrator.engine.demands import missing_demand
from orchestrator.engine.interpreter import BODY, CANCELLED
from orchestrator.engine.permits import SAGA_ADDRESS
from orchestrator.engine.plan import Node, Plan, outcomes_of, result_of
from orchestrator.engine.process import Outcome, Process, StepState
from orchestrator.engine.relocation import NotMigratable, Relocation
from orchestrator.engine.turn import DEADLINE_TIMER, Turn
from orchestrator.language.blocks import ON_STUCK, CommandStep, Subsaga
from orchestrator.language.limits import Limit
from orchestrator.language.migration import Migration
from orchestrator.language.saga import RETURNS
from orchestrator.language.waiting import Approval, WaitFor, captured_as, yields_of

__all__ = ["NotMigratable", "migrate", "migrated"]


def migrate(book: SagaBook, turn: Turn) -> Process | Reason:
    """What a person's request makes of the process; a reason: nothing, and a note says why.

    Raises:
        UnknownVersion: this build lacks the version that the process is to be moved to.
    """
    process = turn.before
    try:
        asked = MigrationRequested.model_validate_json(turn.item.data)
    except ValidationError:
        return "invalid-payload"
    if (asked.from_version, asked.revision) != (process.version, process.revision):
        return "stale"
    if turn.plan.saga.version >= asked.to_version:
        turn.note(f"version {asked.to_version} is not newer than {process.version}")
        return "not-migratable"
    try:
        after = migrated(turn.plan, book.plan(process.saga, asked.to_version), process)
    except NotMigratable as error:
        turn.note(str(error))
        return "not-migratable"
    note = f" ({asked.note})" if asked.note else ""
    turn.note(f"{asked.operator} asked for version {asked.to_version} instead of {asked.from_version}{note}")
    dropped = [early.type for early in process.early if early not in after.early]
    for type_name in dropped:
        turn.note(f"{type_name}, which was kept, is not waited for in version {asked.to_version}")
    return after


def migrated(old: Plan, new: Plan, process: Process) -> Process:
    """The process as version `new` has it; revision, times and history are the caller's.

    Raises:
        NotMigratable: with the reason, for people.
    """
    migration = new.saga.migration(old.saga.version)
    if migration is None:
        raise NotMigratable(
            f"version {new.saga.version} does not say migrates=(Migration(from_version={old.saga.version}),)"
        )
    if process.phase == "early":
        raise NotMigratable("it has not started: it will start in the newest version")
    if process.ended is not None:
        raise NotMigratable(f"it has ended ({process.ended})")
    _check_start(new, process)
    _check_result(old, new, process)
    process = without_alerts(process)
    relocation = Relocation(old, new, migration, process)
    after = _Mover(old, new, migration, relocation.keys).move(process, relocation)
    missing = missing_demand(new, after)
    if missing is not None:
        raise NotMigratable(missing)
    return after


def _check_start(new: Plan, process: Process) -> None:
    if new.saga.starts_on.type != process.start.type:
        raise NotMigratable(f"it has started on {process.start.type}, not on {new.saga.starts_on.type}")
    try:
        parse_payload(new.saga.starts_on, process.start.data)
    except PayloadInvalid as error:
        raise NotMigratable(f"what it has started on does not fit its contract any more: {error}") from None


def _check_result(old: Plan, new: Plan, process: Process) -> None:
    """What a child brings home is captured by the step that started it, under the version that it was started in."""
    if process.parent is None:
        return
    one, other = ("nothing" if result is None else result.type for result in map(result_of, (old.saga, new.saga)))
    if one != other:
        raise NotMigratable(
            f"{process.parent.process} has started it and waits for {one}: version {new.saga.version} returns {other}"
        )


class _Mover:
    def __init__(self, old: Plan, new: Plan, migration: Migration, keys: dict[str, str]) -> None:
        self._old = old
        self._new = new
        self._migration = migration
        self._keys = keys

    def move(self, process: Process, relocation: Relocation) -> Process:
        steps = {self._key(key): self._step(key, state, process) for key, state in process.steps.items()}
        roots = {key: state for key, state in process.nodes.items() if key in (BODY, CANCELLED, ON_STUCK)}
        for key in process.nodes.keys() - roots.keys():
            self._key(key)
        for address in process.permits:
            self._check_permit(address)
        cause = process.cause
        if cause is not None and cause.step is not None:
            cause = msgspec.structs.replace(cause, step=self._address(cause.step))
        return msgspec.structs.replace(
            process,
            version=self._new.saga.version,
            steps=steps,
            nodes={**relocation.nodes, **roots},
            timers={self._timer(timer): due_ms for timer, due_ms in process.timers.items()},
            stuck={self._address(address): reason for address, reason in process.stuck.items()},
            cause=cause,
            early=tuple(one for one in process.early if self._new.wanted(one.type) is not None),
        )

    def _key(self, key: str) -> str:
        """Where the state kept under `key` belongs. Raises NotMigratable: nowhere."""
        found = self._keys.get(key)
        if key == RETURNS and self._old.returns is not None and self._new.returns is not None:
            return key
        if found is None:
            raise NotMigratable(f"it has passed {key}, which is not in its place in version {self._new.saga.version}")
        return found

    def _address(self, address: str) -> str:
        path, slash, rest = address.partition("/")
        return f"{self._key(path)}{slash}{rest}"

    def _timer(self, timer_id: str) -> str:
        """The deadline stays what it was when the process started; what belongs to all of it has no place in it."""
        of_all = timer_id == DEADLINE_TIMER or timer_id.partition("/")[0] == SAGA_ADDRESS
        return timer_id if of_all else self._address(timer_id)

    def _step(self, key: str, state: StepState, process: Process) -> StepState:
        new = self._new.find(self._key(key))
        assert new is not None
        for outcome in _outcomes(state):
            if outcome is not None:
                self._check_outcome(new, outcome)
        if isinstance(new.block, Approval):
            self._check_escalation(key, new.block, state, process)
        if not state.tries:
            return state
        path = state.sent_as or key
        if path == new.key:
            return msgspec.structs.replace(state, sent_as=None)
        if self._new.find(path) is not None:
            raise NotMigratable(
                f"its commands are known as {path}, which is another block in version {self._new.saga.version}:"
                " their ids would be taken for each other"
            )
        return msgspec.structs.replace(state, sent_as=path)

    def _check_permit(self, address: str) -> None:
        """What a step has of its limits is known to the limiters under its path, and counted by their order."""
        if address == SAGA_ADDRESS:
            same = self._old.saga.limits == self._new.saga.limits
        else:
            old, new = self._old.find(address), self._new.find(self._key(address))
            assert old is not None and new is not None
            same = old.key == new.key and _limits(old) == _limits(new)
        if not same:
            where = "the process" if address == SAGA_ADDRESS else address
            raise NotMigratable(
                f"{where} waits for a permit or holds one, and its name or its limits are others in version"
                f" {self._new.saga.version}"
            )

    def _check_outcome(self, new: Node, outcome: Outcome) -> None:
        """What was captured still fits what the newer version calls by that type."""
        model = next((one for one in _captured_by(new) if captured_as(one) == outcome.type), None)
        if model is None:
            self._refuse_outcome(new, outcome, "is not one of its outcomes")
        try:
            parse_payload(model, outcome.data)
        except PayloadInvalid as error:
            self._refuse_outcome(new, outcome, f"does not fit its contract: {error}")

    def _refuse_outcome(self, new: Node, outcome: Outcome, why: str) -> NoReturn:
        raise NotMigratable(f"what {new.key} has captured, {outcome.type}, {why} (version {self._new.saga.version})")

    def _check_escalation(self, key: str, block: Approval, state: StepState, process: Process) -> None:
        """Without its timer an escalation counts as over: one that is gained or lost on the way would be wrong."""
        old = self._old.find(key)
        assert old is not None and isinstance(old.block, Approval)
        open_still = state.status == "waiting" or key in process.stuck
        if open_still and (old.block.escalation is None) != (block.escalation is None):
            raise NotMigratable(f"{key} waits for a decision, and escalates in one version and not in the other")


def _outcomes(state: StepState) -> list[Outcome | None]:
    again = [outcome for job in state.undos for outcome in job.again]
    return [state.outcome, state.refusal, *(job.outcome for job in state.undos), *again]


def _limits(node: Node) -> tuple[Limit, ...]:
    return node.block.limits if isinstance(node.block, CommandStep) else ()


def _captured_by(node: Node) -> tuple[type[BaseModel], ...]:
    """What the block may capture."""
    if isinstance(node.block, CommandStep):
        return outcomes_of(node.block)
    if isinstance(node.block, Subsaga):
        result = result_of(node.block.child)
        return () if result is None else (result,)
    captured = yields_of(node.block) if isinstance(node.block, WaitFor | Approval) else None
    return () if captured is None else (captured,)
