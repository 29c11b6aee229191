"""People who look after stuck processes: at random while things go wrong, sensibly afterwards."""

from __future__ import annotations

import asyncio
from random import Random

from contracts.process import OperatorAction
from orchestrator.engine.process import Process
from orchestrator.runtime.inbox_writer import input_record
from orchestrator.testkit.lab import Done
from tests.simulation.world import World

LOOK_S = 20.0
SENSIBLE_ACTIONS = 25
"""Retries after all is well, over all processes: enough for every step and undo of the largest saga."""


class Operators:
    def __init__(self, world: World) -> None:
        self._world = world
        self._random: Random = world.chance.stream("operators")
        self._left = world.scenario.operator_actions
        self._sensible = SENSIBLE_ACTIONS
        self._acted: dict[str, int] = {}

    @property
    def done(self) -> bool:
        """Nothing more will be tried."""
        return not self._sensible or all(self._acted.get(one.id) == one.revision for one in self._stuck())

    async def run(self) -> None:
        while True:
            await asyncio.sleep(LOOK_S * (0.5 + self._random.random()))
            if self._world.calm:
                self._repair()
            elif self._left and self._stuck():
                self._left -= 1
                self._act_at_random(self._random.choice(self._stuck()))

    def _stuck(self) -> list[Process]:
        found = (followed.process for followed in self._world.oracle.processes.values())
        return [process for process in found if process is not None and process.stuck]

    def _repair(self) -> None:
        """Each stuck process once: a retry of what it shows, if its last action was decided."""
        for process in self._stuck():
            if self._sensible and self._acted.get(process.id) != process.revision:
                self._acted[process.id] = process.revision
                self._sensible -= 1
                self._append(process, "retry", next(iter(process.stuck)))

    def _act_at_random(self, process: Process) -> None:
        random = self._random
        lab = process.saga == "lab"
        chosen = random.choice(("retry", "retry", "skip", "compensate") if lab else ("retry", "retry", "compensate"))
        address = random.choice(list(process.stuck))
        outcome = None
        if chosen == "skip" and random.random() < 0.5:
            outcome = {"job_id": process.id.split(":")[1], "step": "by-hand"}
        self._append(process, chosen, address, outcome, stale=random.random() < 0.1)

    def _append(
        self, process: Process, action: str, address: str, outcome: dict[str, str] | None = None, *, stale: bool = False
    ) -> None:
        asked = OperatorAction(
            process_id=process.id,
            action=action,  # type: ignore[arg-type]  # one of the three
            step=None if action == "compensate" else address,
            revision=process.revision - stale,
            operator="ann",
            outcome=outcome,
            outcome_type=Done.type if outcome else None,
        )
        self._world.broker.put_from(input_record(asked, self._world.foreign_id()), None)
