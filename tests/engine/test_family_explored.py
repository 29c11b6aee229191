"""Random families: sagas of up to three generations, answered and called off at random, with every message between them
delivered at a random time. In the end, what stands in the world is what the phases of all processes say."""

from __future__ import annotations

from collections import Counter
from random import Random

import pytest

from contracts.message import Event
from orchestrator.engine import children
from orchestrator.engine.expiry import may_expire
from orchestrator.engine.process import Process
from orchestrator.engine.turn import Turn
from orchestrator.language import Saga, fallback, parallel, pivot, sequence
from orchestrator.language.blocks import Block, CommandStep, Subsaga
from orchestrator.testkit.family import Family
from orchestrator.testkit.invariants import Broken
from orchestrator.testkit.lab import Begun, Done, Refused, Reverted, lab_saga, step
from orchestrator.testkit.lab_children import ChildBegun, child, child_saga, child_step
from orchestrator.testkit.reading import Sent
from tests.engine.planted_children import a_late_completion_is_dropped

SEEDS = 300
HAPPENINGS_MAX = 2_000


class Line:
    """A random saga for each generation; each may start processes of those after it."""

    def __init__(self, random: Random) -> None:
        self._random = random
        self.sagas: list[Saga] = []
        for generation in (2, 1):
            self.sagas.insert(0, self._child_saga(generation))
        self.sagas.insert(0, lab_saga(self._body(0, 2)))

    def _child_saga(self, generation: int) -> Saga:
        body = self._body(generation, 1)
        if self._random.random() < 0.25:
            body = sequence(body, pivot(), child_step(f"late{generation}", undo=False))
        return child_saga(body, name=f"lab-g{generation}", returns=False)

    def _body(self, generation: int, depth: int) -> Block:
        random = self._random
        names = iter("abcdefghijklmnopq")
        return self._block(generation, depth, lambda: f"{next(names)}{generation}", random.randint(2, 3))

    def _block(self, generation: int, depth: int, name: object, width: int) -> Block:
        assert callable(name)
        random = self._random
        blocks: list[Block] = []
        for _ in range(width):
            deeper = depth > 0 and random.random() < 0.5
            blocks.append(self._block(generation, depth - 1, name, 2) if deeper else self._leaf(generation, name()))
        made: Block = random.choice((sequence, sequence, parallel, fallback))(*blocks)
        return made

    def _leaf(self, generation: int, name: str) -> Block:
        begun = ChildBegun if generation else Begun
        if self.sagas and self._random.random() < 0.5:
            saga = self._random.choice(self.sagas)
            sure = any(type(block).__name__ == "Pivot" for block in saga.blocks())
            irreversible = sure and self._random.random() < 0.3
            in_line = self._random.random() < 0.9  # else two parents may want one process
            undo = sure and not irreversible
            return child(name, saga, begun=begun, undo=undo, irreversible=irreversible, in_line=in_line)
        return step(name, begun=begun)


class Explorer:
    def __init__(self, random: Random) -> None:
        self.random = random
        self.line = Line(random)
        self.family = Family(self.line.sagas, refold_each=False)
        self.standing: Counter[tuple[str, str]] = Counter()
        self.open: list[Sent] = []
        self.seen: set[str] = set()
        self.trouble = random.choice((0.0, 0.1, 0.3))
        self.cancels = random.choice((0, 0, 1, 2))

    def run(self) -> Family:
        self.family.starts(self.line.sagas[0], Begun(job_id="j1"))
        for _ in range(HAPPENINGS_MAX):
            self.open += [one for key, one in self.family.sent.items() if key not in self.seen]
            self.seen |= self.family.sent.keys()
            waiting = [name for name, line in self.family.lines.items() if line]
            if not waiting and not self.open:
                break
            if self.cancels and self.random.random() < 0.05:
                self.cancels -= 1
                self.family.cancels(self.random.choice(list(self.family.folds)))
            elif waiting and (not self.open or self.random.random() < 0.5):
                self._deliver(self.random.choice(waiting))
            else:
                self._answer(self.open.pop(self.random.randrange(len(self.open))))
        else:
            raise Broken("the family does not come to its end")
        for fold in self.family.folds.values():
            fold.refold()
        return self.family

    def _deliver(self, receiver: str) -> None:
        """Sometimes twice: a log is read at least once."""
        record = self.family.lines[receiver][0]
        self.family.deliver(receiver)
        if self.random.random() < 0.1:
            self.family.lines[receiver].appendleft(record)
            self.family.deliver(receiver)

    def _answer(self, sent: Sent) -> None:
        owner = sent.envelope.process_id
        assert owner is not None
        where = (owner, sent.step)
        event: Event
        if sent.kind == "undo":
            self.standing[where] = 0
            event = Reverted(job_id="j1", step=sent.step)
        elif self.random.random() < self.trouble and not sent.step.startswith("late"):
            event = Refused(job_id="j1", step=sent.step)
        else:
            self.standing[where] += 1
            event = Done(job_id="j1", step=sent.step, mark=sent.id)
        self.family.answers(sent.id, event)

    def judge(self) -> None:
        for name, phase in self.family.phases().items():
            process = self.family.process(name)
            if phase not in ("completed", "compensated", "cancelled"):
                raise Broken(f"nothing can happen any more, and {name} is {phase}")
            if not may_expire(process):
                raise Broken(f"{name} is {phase}, and is kept for ever")
            if phase != "completed":
                self._nothing_stands(name, process)

    def _nothing_stands(self, name: str, process: Process) -> None:
        plan = self.family.folds[name].plan
        for key, state in process.steps.items():
            node = plan.find(key)
            assert node is not None
            if isinstance(node.block, CommandStep) and self.standing[name, key]:
                raise Broken(f"{name} is {process.phase}, but {key} stands")
            if not isinstance(node.block, Subsaga) or state.child is None or node.block.irreversible:
                continue
            owner = self.family.process(state.child).parent
            mine = owner is not None and owner.start == f"{name}/{key}/1"
            left = mine and self.family.process(state.child).phase == "completed"
            by_command = node.block.undo is not None and any(job.status == "done" for job in state.undos)
            if left and not by_command:
                raise Broken(f"{name} is {process.phase}, but its child {state.child} stays completed")


def explore(seed: int) -> Family:
    explorer = Explorer(Random(seed))
    family = explorer.run()
    explorer.judge()
    return family


@pytest.mark.parametrize("part", range(3))
def test_whatever_happens_a_family_comes_to_its_end(part: int) -> None:
    for seed in range(part, SEEDS, 3):
        try:
            explore(seed)
        except AssertionError as error:
            pytest.fail(f"seed {seed}: {error}", pytrace=False)


def test_families_of_all_kinds_are_met() -> None:
    families = [explore(seed) for seed in range(100)]
    phases = Counter(phase for family in families for phase in family.phases().values())
    assert all(phases[phase] > 20 for phase in ("completed", "compensated", "cancelled")), phases
    generations = {frozenset(name.partition(":")[0] for name in family.folds) for family in families}
    assert frozenset(("lab", "lab-g1", "lab-g2")) in generations
    kinds = Counter(
        fed.item.envelope.type for family in families for fold in family.folds.values() for fed in fold.fed
        if fed.decision.result == "applied"
    )  # fmt: skip
    for kind in ("start-child", "cancel-child", "undo-child", "release-child", "child-ended"):
        assert kinds[f"orchestrator.{kind}.v1"] > 10, kinds


def late_completion(patch: pytest.MonkeyPatch) -> None:
    a_late_completion_is_dropped(patch)


def undo_forgotten(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(children, "_undo", lambda turn, parent: None)


def release_too_early(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Turn, "over", property(lambda turn: turn.ended is not None))
    patch.setattr(Process, "over", property(lambda process: process.ended is not None))


@pytest.mark.parametrize("plant", [late_completion, undo_forgotten, release_too_early])
def test_faults_between_generations_are_found(plant: object, monkeypatch: pytest.MonkeyPatch) -> None:
    assert callable(plant)
    plant(monkeypatch)
    with pytest.raises(AssertionError):
        for seed in range(SEEDS):
            explore(seed)
