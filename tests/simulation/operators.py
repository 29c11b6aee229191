"""People who look after stuck processes: at random while things go wrong, sensibly afterwards."""

from __future__ import annotations

import asyncio
from random import Random
from typing import Any

import msgspec

from contracts.process import OperatorAction
from orchestrator.engine.process import Process
from orchestrator.language.waiting import Approval, WaitFor, captured_as, yields_of
from orchestrator.runtime.inbox_writer import input_record
from orchestrator.testkit.lab import Done
from tests.simulation.strangers import Strangers
from tests.simulation.world import World

LOOK_S = 20.0
SENSIBLE_ACTIONS = 25
"""Retries after all is well, over all processes: enough for every step and undo of the largest saga."""


class Operators:
    def __init__(self, world: World, strangers: Strangers) -> None:
        self._world = world
        self._strangers = strangers
        self._random: Random = world.chance.stream("operators")
        self._left = world.scenario.operator_actions
        self._sensible = SENSIBLE_ACTIONS
        self._acted: dict[str, int] = {}

    @property
    def idle(self) -> bool:
        """As long as things go wrong: nobody is stuck, or nobody has anything left to try."""
        return not self._left or not self._stuck()

    @property
    def done(self) -> bool:
        """Nothing more will be tried."""
        return not self._sensible or all(self._acted.get(one.id) == one.revision for one in self._stuck())

    async def run(self) -> None:
        while True:
            await asyncio.sleep(LOOK_S * (0.5 + self._random.random()))
            if self._world.calm:
                self._repair()
            elif self._left and self._processes():
                self._left -= 1
                stuck = self._stuck()
                if stuck and self._random.random() < 0.8:
                    self._act_at_random(self._random.choice(stuck))
                else:
                    self._speak_at_random(self._random.choice(self._processes()))

    def _processes(self) -> list[Process]:
        found = (followed.process for followed in self._world.oracle.processes.values())
        return [process for process in found if process is not None and process.phase != "limiter"]

    def _stuck(self) -> list[Process]:
        return [process for process in self._processes() if process.stuck]

    def _speak_at_random(self, process: Process) -> None:
        """A cancellation, a signal or a decision that nobody has asked for, whatever the process is doing."""
        random, callers = self._random, self._strangers.of(process.id)
        if process.saga == "order-fulfilment" and random.random() < 0.5:
            return
        unasked = callers.early()
        calls = [callers.cancellation(), *([unasked] if unasked is not None else [])]
        for path in process.steps:
            node = callers.plan.find(path)
            if node is not None and isinstance(node.block, Approval):
                calls += [callers.fitting(path), callers.wrong(path)]
        self._strangers.say(process.id, random.choice(calls), "unasked")

    def _repair(self) -> None:
        """Each stuck process once: a retry of what it shows, if its last action was decided."""
        for process in self._stuck():
            if self._sensible and self._acted.get(process.id) != process.revision:
                self._acted[process.id] = process.revision
                self._sensible -= 1
                self._append(process, "retry", next(iter(process.stuck)))

    def _act_at_random(self, process: Process) -> None:
        random = self._random
        lab = process.saga != "order-fulfilment"
        chosen = random.choice(("retry", "retry", "skip", "compensate") if lab else ("retry", "retry", "compensate"))
        address = random.choice(list(process.stuck))
        more: dict[str, Any] = {}
        if chosen == "skip" and random.random() < 0.5:
            more = self._outcome(process, address)
        elif chosen == "retry" and lab and random.random() < 0.4:
            more = self._correction(process, address)
        self._append(process, chosen, address, stale=random.random() < 0.1, **more)

    def _outcome(self, process: Process, address: str) -> dict[str, Any]:
        """What a person says that the step would have come to."""
        node = self._world.book.plan(process.saga, process.version).find(address.removesuffix("/undo"))
        assert node is not None
        job = process.id.partition(":")[2]
        captured = yields_of(node.block) if isinstance(node.block, WaitFor | Approval) else Done
        if captured is None:
            return {}
        return {"outcome": {"job_id": job, "step": "by-hand", "mark": "by-hand"}, "outcome_type": captured_as(captured)}

    def _correction(self, process: Process, address: str) -> dict[str, Any]:
        """The payload that failed, with another note."""
        step = process.steps.get(address)
        if step is None or step.record is None:
            return {}
        return {"correction": msgspec.json.decode(step.record.value) | {"note": "corrected"}}

    def _append(self, process: Process, action: str, address: str, *, stale: bool = False, **more: Any) -> None:
        asked = OperatorAction(
            process_id=process.id,
            action=action,  # type: ignore[arg-type]  # one of the three
            step=None if action == "compensate" else address,
            revision=process.revision - stale,
            operator="ann",
            **more,
        )
        self._world.broker.put_from(input_record(asked, self._world.foreign_id()), None)
