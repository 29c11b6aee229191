"""People and other services who say things to one process of the laboratory: what it waits for, and what it should not
take. Whoever uses them decides when, how often, and how it gets there."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import Any, Literal

from contracts.message import Event
from contracts.process import ApprovalGiven, CancelRequested
from orchestrator.engine.plan import Node, Plan
from orchestrator.language.waiting import Approval, Signal, WaitFor
from orchestrator.testkit.lab_waits import CHIEF, CLERK, VISITOR, Form, Halted

Roles = tuple[str, ...] | None


@dataclass(frozen=True, slots=True)
class Call:
    """One thing that is said. `id` tells it apart from everything else: whoever repeats it repeats the id."""

    message: Event | Signal
    id: str

    def __str__(self) -> str:
        said = self.message
        if isinstance(said, ApprovalGiven):
            return f"{said.decision} {said.step} as {said.roles or 'anybody'} ({self.id})"
        return f"{type(said).__name__} ({self.id})"


class Callers:
    """Of the process `process_id`."""

    def __init__(self, plan: Plan, process_id: str, random: Random) -> None:
        self.plan = plan
        self._process_id = process_id
        self._random = random
        self._said = 0
        self.waits = tuple(node for node in plan.nodes if isinstance(node.block, WaitFor | Approval))

    def fitting(self, path: str, *, escalated: bool = False) -> Call:
        """What the wait at this path can take, once it has begun. `escalated`: the chief may decide, and does."""
        return self._call(
            self._node(path), path, right=((CHIEF,),) if escalated else ((CLERK,), (CLERK, VISITOR), None)
        )

    def wrong(self, path: str) -> Call:
        """What the wait at this path must not take: a wrong person or form, or an event for another process."""
        return self._call(self._node(path), path, right=())

    def early(self) -> Call | None:
        """What some block wants that may not have begun, or is long over; None: the saga waits for nobody."""
        nodes = [node for node in self.waits if isinstance(node.block, WaitFor)]
        if not nodes:
            return None
        node = self._random.choice(nodes)
        return self._call(node, node.key, right=(None,))

    def halt(self) -> Call:
        """The event that calls the process off, if its saga says so."""
        return Call(Halted(job_id=self._job), self._next("halt"))

    def cancellation(self) -> Call:
        """A person calls the process off."""
        return Call(CancelRequested(process_id=self._process_id, operator="ann"), self._next("cancel"))

    @property
    def _job(self) -> str:
        return self._process_id.partition(":")[2]

    def block(self, path: str) -> WaitFor | Approval:
        """What waits at this path."""
        block = self._node(path).block
        assert isinstance(block, WaitFor | Approval)
        return block

    def _node(self, path: str) -> Node:
        node = self.plan.find(path)
        assert node is not None, f"{path} is no place of the saga"
        return node

    def _next(self, what: str) -> str:
        self._said += 1
        return f"{what}-{self._job}-{self._said}"

    def _call(self, node: Node, path: str, *, right: tuple[Roles, ...]) -> Call:
        """`right`: who may decide; nobody: what is said is wrong."""
        block = node.block
        if isinstance(block, Approval):
            return self._decision(block, path, right)
        assert isinstance(block, WaitFor)
        mark = self._next(block.wants.__name__.lower())
        about: dict[str, Any] = {"mark": mark}
        if issubclass(block.wants, Event):
            about["job_id"] = self._job if right else f"{self._job}-other"
        return Call(block.wants(**about), mark)

    def _decision(self, block: Approval, path: str, right: tuple[Roles, ...]) -> Call:
        random = self._random
        says: Literal["approve", "reject"] = "reject" if right and random.random() < 0.25 else "approve"
        mark, roles = self._next("decision"), random.choice(right or ((VISITOR,), (CHIEF,), (CHIEF,), ()))
        form: dict[str, Any] | None = None if block.form is None else {"mark": mark}
        if not right and form is not None and random.random() < 0.2:
            form, roles = dict(Form.WRONG), None
        by = random.choice(("ann", "bob"))
        given = ApprovalGiven(process_id=self._process_id, step=path, decision=says, form=form, by=by, roles=roles)
        return Call(given, mark)
