"""Judges a process from outside: by the order in which it sends, and in the end by what really stands in the world."""

from __future__ import annotations

from dataclasses import dataclass, field

from contracts.limits import PermitDeferred, PermitGranted
from contracts.process import ChildEnded, OperatorAction, TimerFired
from contracts.technical import CommandFailed
from orchestrator.engine.blocks.undo import OPEN
from orchestrator.engine.children import TO_CHILD
from orchestrator.engine.plan import Plan
from orchestrator.engine.process import Process
from orchestrator.language.blocks import ON_STUCK, CommandStep, Sequence, Subsaga
from orchestrator.language.flow import Choice, Fallback, ForEach, Repeat
from orchestrator.language.waiting import Approval, WaitFor
from orchestrator.testkit.fold import Fed
from orchestrator.testkit.invariants import Broken
from orchestrator.testkit.judge_waits import WaitsJudge
from orchestrator.testkit.reading import Sent
from orchestrator.testkit.structure import Around, Structure


@dataclass(slots=True)
class Judge:
    plan: Plan
    process_id: str
    saga: Structure = field(init=False)
    retryable: set[str] = field(default_factory=set)
    """Command ids whose answers said: nothing has happened, and a new try is allowed."""
    undone_first: set[str] = field(default_factory=set)
    elements: dict[str, set[int]] = field(default_factory=dict)
    """By key of a `for_each`: the elements in which anything was sent."""

    _waits: WaitsJudge = field(init=False)

    def __post_init__(self) -> None:
        self.saga = Structure(self.plan)
        self._waits = WaitsJudge(self.plan, self.process_id, self.saga)

    def follows(self, plan: Plan, after: Process) -> None:
        """The process was moved to another version."""
        self.plan = plan
        self.saga.follows(plan, after)

    def see(self, fed: Fed) -> None:
        """Raises Broken."""
        begun = self._waits.see(fed)
        after = fed.after
        if after is None or fed.decision.result == "ignored":
            return
        self.saga.now_ms = after.updated_at_ms
        self._note(fed)
        self._judge_cause(fed.before, after)
        forward: list[tuple[str, Sent | None]] = [(key, None) for key in begun]
        sent_now = [sent for sent in fed.sent if not sent.step.startswith(f"{ON_STUCK}[")]  # alerts have no part in it
        forward += [(sent.step, sent) for sent in sent_now if sent.kind in ("command", "emit")]
        for step, sent in sorted(forward, key=lambda one: self.saga.order(one[0])):
            if sent is not None:
                self._judge_forward(sent, fed, after)
            else:
                self._judge_places(f"{step} begins to wait", step, fed.before)
        for sent in sent_now:
            if sent.kind == "undo" and not sent.again:
                self._judge_undo(sent, after)
            elif sent.kind == "cancel-child" and not after.steps[sent.step].undoing:
                raise Broken(f"{sent}, and nobody has given it up")

    def _note(self, fed: Fed) -> None:
        envelope = fed.item.envelope
        if envelope.type == OperatorAction.type:
            action = OperatorAction.model_validate_json(fed.item.data)
            assert fed.before is not None
            if action.action == "skip":
                name = (action.step or next(iter(fed.before.stuck))).removesuffix("/undo")
                self.saga.excused.add(name)
                self.saga.finished_steps.add(name)
            return
        if envelope.type == TimerFired.type:
            timer_id = TimerFired.model_validate_json(fed.item.data).timer_id
            if timer_id.endswith("/wake"):
                self.saga.finished_steps.add(timer_id.removesuffix("/wake"))
            return
        is_no_answer = envelope.type in (PermitGranted.type, PermitDeferred.type, *TO_CHILD)
        if is_no_answer or envelope.causation_id is None or "/undo/" in envelope.causation_id:
            return
        self._note_answer(fed, envelope.causation_id)

    def _note_answer(self, fed: Fed, causation: str) -> None:
        name, kind = causation.removeprefix(f"{self.process_id}/").split("/")[0], fed.item.envelope.type
        block = self.saga.node(name).block
        if kind == ChildEnded.type:
            if ChildEnded.model_validate_json(fed.item.data).phase == "completed":
                self.saga.finished_steps.add(name)
            return
        assert isinstance(block, CommandStep)
        if kind == CommandFailed.type:
            failed = CommandFailed.model_validate_json(fed.item.data)
            if failed.effect == "none" and failed.retryable:
                self.retryable.add(causation)
        elif kind.endswith(".refused.v1"):
            if any(event.type == kind for event in block.retry.on):
                self.retryable.add(causation)
        else:
            self.saga.finished_steps.add(name)

    def _judge_cause(self, before: Process | None, after: Process) -> None:
        """Nothing is undone because of an alternative that another one could have replaced."""
        if after.cause is None or after.cause.step is None or (before is not None and before.cause is not None):
            return
        failed = self.saga.node(after.cause.step).block
        if isinstance(failed, CommandStep) and failed.on_failure == "hold":
            raise Broken(f"everything is undone because of {after.cause.step}, which was to stay for a person")
        for around in self.saga.chain(after.cause.step):
            node = self.plan.nodes[around.number]
            if isinstance(node.block, Fallback) and around.branch < len(node.children) - 1:
                raise Broken(f"everything is undone because of {after.cause.step}, and {node.key} had an alternative")

    def _judge_forward(self, sent: Sent, fed: Fed, after: Process) -> None:
        by_operator = fed.item.envelope.type == OperatorAction.type
        by_timer = fed.item.envelope.type == TimerFired.type
        if sent.again:
            if not (by_timer or by_operator):
                raise Broken(f"{sent} without silence and without a person's wish")
            return
        if sent.number > 1 and not by_operator:
            earlier = f"{self.process_id}/{sent.step}/{sent.number - 1}"
            if earlier not in self.retryable and not after.steps[sent.step].budget:
                raise Broken(f"{sent}, but the try before is not known to have had no effect")
        self._judge_places(str(sent), sent.step, fed.before)
        if sent.kind == "emit":
            self.saga.finished_steps.add(sent.step)
        if not self.plan.in_body(self.saga.node(sent.step)):
            self._nothing_owed(after, sent)

    def _judge_places(self, what: str, path: str, earlier: Process | None) -> None:
        for around in self.saga.chain(path):
            self._judge_place(what, around, earlier)

    def _judge_place(self, what: str, around: Around, earlier: Process | None) -> None:
        """What the block around a place says about when and whether anything may happen in it."""
        node, saga = self.plan.nodes[around.number], self.saga
        key = around.scope + node.key
        match node.block:
            case Sequence():
                before = [(child, around.scope) for child in node.children[: around.branch]]
            case Repeat():
                before = [(node.children[0], f"{key}[{index}].") for index in range(around.branch)]
                saga.reached[key] = max(around.branch, saga.reached.get(key, 0))
            case ForEach():
                before = self._judge_window(what, around, key, node.block.concurrency)
            case Choice():
                before = []
                if saga.chosen(around.number, around.scope) != around.branch:
                    raise Broken(f"{what}, in the wrong branch of {key}")
            case Fallback():
                before = []
                self._judge_alternative(what, around, key, earlier)
            case _:
                before = []
        for number, scope in before:
            if not saga.finished(number, scope):
                raise Broken(f"{what} before {scope}{self.plan.nodes[number].key} has finished")

    def _judge_window(self, what: str, around: Around, key: str, concurrency: int) -> list[tuple[int, str]]:
        """Not more elements at a time than allowed. Returns what must have finished: with one at a time, all before."""
        body = self.plan.nodes[around.number].children[0]
        seen = self.elements.setdefault(key, set())
        seen.add(around.branch)
        underway = [index for index in seen if not self.saga.finished(body, f"{key}[{index}].")]
        if len(underway) > concurrency:
            raise Broken(f"{what}: elements {sorted(underway)} of {key} are under way, {concurrency} are allowed")
        return [(body, f"{key}[{index}].") for index in range(around.branch if concurrency == 1 else 0)]

    def _judge_alternative(self, what: str, around: Around, key: str, earlier: Process | None) -> None:
        reached = self.saga.reached.get(key, 0)
        if around.branch < reached:
            raise Broken(f"{what} in an alternative of {key} that was given up")
        if around.branch > reached:
            children = self.plan.nodes[around.number].children
            state = earlier.nodes.get(key) if earlier is not None else None
            now = state is None or state.count < around.branch  # else its late success means nothing
            if now and self.saga.finished(children[around.branch - 1], around.scope):
                raise Broken(f"{what}, but the alternative before it has succeeded")
            self.saga.reached[key] = around.branch

    def _nothing_owed(self, after: Process, sent: Sent) -> None:
        for name, step in after.steps.items():
            if self.plan.in_body(self.saga.node(name)) and step.status in ("awaiting", "backoff", "limited"):
                raise Broken(f"{sent} while {name} is still awaited")

    def _judge_undo(self, sent: Sent, after: Process) -> None:
        """The undo of what settled a step: after everything that came later, and never past the pivot."""
        step = after.steps[sent.step]
        number = step.outcome.try_number if step.outcome else len(step.tries)
        covers = {identity for job in step.undos if sent.number in job.numbers for identity in job.covers}
        if f"{self.process_id}/{sent.step}/{number}" not in covers or sent.step in self.undone_first:
            return
        given_up = self.saga.given_up(sent.step, after)
        if after.past_pivot and step.status == "succeeded" and given_up < 0:
            raise Broken(f"{sent} past the pivot")
        self.undone_first.add(sent.step)
        if given_up < 0 and (after.cause is None or step.status == "skipped"):
            return  # a success that came after a person had skipped its step: only this one is undone
        for name, later in after.steps.items():
            depth, ordered = self.saga.parting(sent.step, name)
            if not ordered or depth <= given_up:
                continue
            if isinstance(self.saga.node(name).block, WaitFor | Approval):
                if later.status == "waiting":
                    raise Broken(f"{sent} while {name}, which comes later, still waits")
                continue
            open_undos = any(job.status in OPEN for job in later.undos)
            standing = later.status == "succeeded" and not later.undone
            if later.status in ("awaiting", "backoff", "limited") or (open_undos and not later.undone) or standing:
                raise Broken(f"{sent} before {name}, which comes later, is undone")

    def end(self, after: Process, standing: dict[str, str]) -> None:
        """Nothing is on its way any more. `standing`: command id -> step, of all effects there are. Raises Broken."""
        if after.stuck:
            return
        if after.ended is None:
            raise Broken(f"nothing can happen any more, but the process is {after.phase}")
        required = set(self._required(after))
        for name in sorted(required | set(standing.values())):
            node, effects = self.saga.node(name), sum(step == name for step in standing.values())
            assert isinstance(node.block, CommandStep | Subsaga)
            has_undo = node.block.undo is not None or (isinstance(node.block, Subsaga) and not node.block.irreversible)
            if name in self.saga.excused:
                continue
            if name not in required:
                if effects and has_undo:
                    raise Broken(f"the process is {after.ended}, but an effect of {name} stands")
                if effects and not self.plan.in_body(node):
                    raise Broken(f"{name} was done, but the process is {after.ended}")
            elif effects == 0:
                raise Broken(f"the process is {after.ended}, but {name} was not done")
            elif effects > 1 and has_undo:
                raise Broken(f"the process is {after.ended}, but {name} was done {effects} times")

    def _required(self, after: Process) -> list[str]:
        root = self.plan.body_root if after.ended == "completed" else self.plan.cancelled_root
        if root is None:
            return []
        return list(self.saga.required(root, "", after))
