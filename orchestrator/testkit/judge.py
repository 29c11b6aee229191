"""Judges a process from outside: by the order in which it sends, and in the end by what really stands in the world."""

from __future__ import annotations

from dataclasses import dataclass, field

from contracts.process import OperatorAction
from contracts.technical import CommandFailed
from orchestrator.engine.blocks.undo import OPEN
from orchestrator.engine.plan import Plan
from orchestrator.engine.process import Process
from orchestrator.language.blocks import CommandStep
from orchestrator.testkit.fold import Fed
from orchestrator.testkit.grammar import predecessors
from orchestrator.testkit.invariants import Broken
from orchestrator.testkit.reading import Sent


@dataclass(slots=True)
class Judge:
    plan: Plan
    process_id: str
    before: dict[str, frozenset[str]] = field(default_factory=dict)
    finished: set[str] = field(default_factory=set)
    """Steps that have succeeded or were skipped, and emits that were published or skipped."""
    retryable: set[str] = field(default_factory=set)
    """Command ids whose answers said: nothing has happened, and a new try is allowed."""
    excused: set[str] = field(default_factory=set)
    """Steps for which a person vouched."""
    undone_first: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.before = predecessors(self.plan.saga.body)
        if self.plan.saga.cancelled is not None:
            self.before |= predecessors(self.plan.saga.cancelled)

    def see(self, fed: Fed) -> None:
        """Raises Broken."""
        after = fed.after
        if after is None or fed.decision.result == "ignored":
            return
        self._note(fed)
        for sent in fed.sent:
            if sent.kind == "undo" and not sent.again:
                self._judge_undo(sent, after)
            elif sent.kind in ("command", "emit"):
                self._judge_forward(sent, fed, after)

    def _note(self, fed: Fed) -> None:
        envelope = fed.item.envelope
        if envelope.type == OperatorAction.type:
            action = OperatorAction.model_validate_json(fed.item.data)
            assert fed.before is not None
            if action.action == "skip":
                name = (action.step or next(iter(fed.before.stuck))).removesuffix("/undo")
                self.excused.add(name)
                self.finished.add(name)
            return
        if envelope.causation_id is None or "/undo/" in envelope.causation_id:
            return
        name = envelope.causation_id.removeprefix(f"{self.process_id}/").split("/")[0]
        block = self.plan.by_key[name].block
        assert isinstance(block, CommandStep)
        if envelope.type == CommandFailed.type:
            failed = CommandFailed.model_validate_json(fed.item.data)
            if failed.effect == "none" and failed.retryable:
                self.retryable.add(envelope.causation_id)
        elif envelope.type.endswith(".refused.v1"):
            if any(event.type == envelope.type for event in block.retry.on):
                self.retryable.add(envelope.causation_id)
        else:
            self.finished.add(name)

    def _judge_forward(self, sent: Sent, fed: Fed, after: Process) -> None:
        by_operator = fed.item.envelope.type == OperatorAction.type
        by_timer = fed.item.envelope.type == "orchestrator.timer-fired.v1"
        if sent.again:
            if not (by_timer or by_operator):
                raise Broken(f"{sent} without silence and without a person's wish")
            return
        if sent.number > 1 and not by_operator:
            earlier = f"{self.process_id}/{sent.step}/{sent.number - 1}"
            if earlier not in self.retryable and not after.steps[sent.step].budget:
                raise Broken(f"{sent}, but the try before is not known to have had no effect")
        missing = self.before[sent.step] - self.finished
        if missing:
            raise Broken(f"{sent} before {sorted(missing)}")
        if sent.kind == "emit":
            self.finished.add(sent.step)
        if not self.plan.in_body(self.plan.by_key[sent.step]):
            self._nothing_owed(after, sent)

    def _nothing_owed(self, after: Process, sent: Sent) -> None:
        for name, step in after.steps.items():
            in_body = self.plan.in_body(self.plan.by_key[name])
            if in_body and step.status in ("awaiting", "backoff"):
                raise Broken(f"{sent} while {name} is still awaited")

    def _judge_undo(self, sent: Sent, after: Process) -> None:
        """The undo of what settled a step: after everything that came later, and never past the pivot."""
        step = after.steps[sent.step]
        number = step.outcome.try_number if step.outcome else len(step.tries)
        if f"{self.process_id}/{sent.step}/{number}" not in sent.envelope.undoes or sent.step in self.undone_first:
            return
        if after.past_pivot and step.status == "succeeded":
            raise Broken(f"{sent} past the pivot")
        self.undone_first.add(sent.step)
        if after.cause is None:
            return  # a success that came after a person had skipped its step: only this one is undone
        for name, earlier in self.before.items():
            if sent.step not in earlier or name not in after.steps:
                continue
            later = after.steps[name]
            open_undos = any(job.status in OPEN for job in later.undos)
            if later.status in ("awaiting", "backoff") or (open_undos and not later.undone):
                raise Broken(f"{sent} before {name}, which comes later, is undone")

    def end(self, after: Process, standing: dict[str, str]) -> None:
        """Nothing is on its way any more. `standing`: command id -> step, of all effects there are. Raises Broken."""
        if after.stuck:
            return
        if after.ended is None:
            raise Broken(f"nothing can happen any more, but the process is {after.phase}")
        for name in self.before:
            node = self.plan.by_key[name]
            if not isinstance(node.block, CommandStep) or name in self.excused:
                continue
            effects = sum(step == name for step in standing.values())
            forward = after.ended == "completed" if self.plan.in_body(node) else after.ended != "completed"
            if not forward:
                if effects and node.block.undo is not None:
                    raise Broken(f"the process is {after.ended}, but an effect of {name} stands")
                if effects and node.number >= (self.plan.cancelled_root or len(self.plan.nodes)):
                    raise Broken(f"{name} was done, but the process is {after.ended}")
            elif effects == 0:
                raise Broken(f"the process is {after.ended}, but {name} was not done")
            elif effects > 1 and node.block.undo is not None:
                raise Broken(f"the process is {after.ended}, but {name} was done {effects} times")
