"""Runs a scenario from its first message to its verdict."""

from __future__ import annotations

import asyncio
import traceback
from collections import Counter
from dataclasses import dataclass

import structlog

from contracts.topics import INBOX
from orchestrator.engine import early, permits
from orchestrator.engine.expiry import may_expire
from orchestrator.runtime import shard
from orchestrator.runtime.engine_loop import ENGINE_GROUP
from orchestrator.runtime.router import ROUTER_GROUP, router_topics
from services.sdk.runner import GROUP_PREFIX
from tests.simulation.chance import Chance
from tests.simulation.hosts import OrchestratorHost
from tests.simulation.operators import Operators
from tests.simulation.scenario import Scenario, scenario_of
from tests.simulation.strangers import Strangers
from tests.simulation.strikes import Strikes
from tests.simulation.verdict import verdict
from tests.simulation.virtual_loop import Stalled, VirtualLoop
from tests.simulation.world import World

STARTS_WITHIN_S = 20.0
CALM_AFTER_S = (120.0, 400.0, 1_300.0)
"""When the last fault is over and everybody is well, at the latest."""
LOOK_S = 4.0
REST_WITHIN_S = 3 * 60 * 60.0
"""Virtual seconds after which a world that has not come to rest never will: all patience and every deadline is over."""
SAGA_LEASE_MS = 10 * 60 * 1000
"""Half a day of an idle world would cost more than all the rest."""
TURNS_MAX = 3_000_000
ENDING_TURNS_MAX = 30
"""Turns in which every cancelled task must have come to its end."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """`violation` None: all is well. `phases` counts how processes ended."""

    seed: int
    violation: str | None
    crossings: int
    turns: int
    virtual_s: float
    inputs: int
    phases: Counter[str]
    seen: Counter[str]
    """How often what happened, for the table of coverage."""
    trace: tuple[str, ...]


def run_seed(seed: int, *, traced: bool = False) -> Outcome:
    return run_scenario(scenario_of(seed), traced=traced)


def run_scenario(scenario: Scenario, *, traced: bool = False) -> Outcome:
    """Deterministic, given one PYTHONHASHSEED."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50), cache_logger_on_first_use=False)
    # Limits that are constants of the product, not settings.
    shard.SEGMENT_INPUTS_MAX, shard.TOUCHED_MAX = scenario.pace.segment_inputs, scenario.pace.touched
    early.KEPT_MS = round(scenario.pace.kept_s * 1000)
    permits.SAGA_LEASE_MS = SAGA_LEASE_MS
    chance = Chance(scenario.seed)
    loop = VirtualLoop(chance.order)
    loop.set_exception_handler(lambda loop, context: None)
    trace: list[str] | None = [] if traced else None
    world = World(scenario, loop, chance, trace)
    asyncio.set_event_loop(loop)
    try:
        loop.run_until_complete(_Run(world).live())
    except Stalled as error:
        world.broken(f"everybody waits for ever: {error}")
    except Exception:  # noqa: BLE001 - a fault of the simulation is told like any other, with its seed
        world.broken(f"the run itself failed: {traceback.format_exc(limit=-4)}")
    finally:
        asyncio.set_event_loop(None)
        loop._ready.clear()  # type: ignore[attr-defined]
        loop._scheduled.clear()  # type: ignore[attr-defined]
        loop.close()
    phases = Counter(str(f.process.phase) for f in world.oracle.processes.values() if f.process is not None)
    return Outcome(
        scenario.seed, world.violation, world.crossings, loop.turns, loop.time(), world.oracle.inputs, phases,
        world.seen, tuple(trace or ()),
    )  # fmt: skip


class _Run:
    def __init__(self, world: World) -> None:
        self._world = world
        self._strikes = Strikes(world)
        self._strangers = Strangers(world)
        self._operators = Operators(world, self._strangers)
        self._started = 0
        self._calm_at_s = world.chance.stream("calm").choice(CALM_AFTER_S)

    async def live(self) -> None:
        world = self._world
        for service in world.services:
            world.add_service(service, "a")
        world.add_orchestrator("orchestrator-a")
        self._schedule_starts()
        self._strangers.speak_early()
        tasks = [asyncio.create_task(self._operators.run())]
        tasks[0].add_done_callback(self._operators_ended)
        try:
            await self._until_rest()
        finally:
            for slot in world.slots.values():
                if slot.program is not None:
                    slot.program.kill()
            for task in tasks:
                task.cancel()
            await _ended()
        if world.violation is None:
            for sentence in verdict(world):
                world.broken(sentence)

    def _operators_ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            self._world.broken(f"the operators have failed: {error!r}")

    def _schedule_starts(self) -> None:
        """Every start event once at least; some shops repeat themselves."""
        world, random = self._world, self._world.chance.stream("starts")
        for event in (*world.scenario.orders, *world.scenario.jobs, *world.scenario.intruders):
            first_s = STARTS_WITHIN_S * random.random() * random.choice((0.01, 1.0))
            times = [first_s, *(first_s + 5 * random.random() for _ in range(random.choice((0, 0, 1))))]
            again = random.random() < 0.5
            for number, at_s in enumerate(times):
                identity = f"start-{event.key}" if again else f"start-{event.key}-{number}"
                world.loop.call_later(at_s, world.publish, event, identity)
            self._started = max(self._started, int(max(times)) + 1)

    async def _until_rest(self) -> None:
        world = self._world
        while world.violation is None:
            await asyncio.sleep(LOOK_S)
            now_s = world.loop.time()
            if not world.calm and (now_s > self._calm_at_s or self._quiet()):
                world.say("*** no more faults, everybody is well")
                self._strikes.heal()
                continue
            self._check_programs()
            if world.calm and now_s > self._started:
                moving = self._at_rest()
                if moving is None and self._operators.done:
                    return
                if now_s > REST_WITHIN_S or world.loop.turns > TURNS_MAX:
                    world.broken(f"the world does not come to rest: {moving or 'operators are busy'}")

    def _quiet(self) -> bool:
        """Nothing will go wrong any more by itself."""
        return not self._world.waiting and self._at_rest() is None and self._operators.idle

    def _check_programs(self) -> None:
        world = self._world
        for slot in list(world.slots.values()):
            program = slot.program
            if program is None or not program.alive:
                continue
            if program.failure is not None:
                world.broken(f"{program.name} has failed: {program.failure!r}")
            refused = slot.host.engine.ownership.refused if isinstance(slot.host, OrchestratorHost) else {}
            for refusal in refused.values():
                world.broken(f"{program.name} refuses: {refusal.text}")

    def _at_rest(self) -> str | None:
        """What still moves; None: nothing."""
        world = self._world
        if world.pending or world.ledger.landing:
            return "something is still on its way outside"
        for process_id in world.scenario.process_ids:
            followed = world.oracle.processes.get(process_id)
            if followed is None or followed.process is None or followed.process.phase == "early":
                return f"{process_id} has not started"
        for process_id, followed in world.oracle.processes.items():
            process = followed.process
            if process is None or (process.phase == "early" and not process.timers):
                continue  # one that never begins, of which nothing is kept any more
            if process.phase == "limiter" and not process.timers:
                continue
            if process.saga == "lab" and world.scenario.saga.keep_ended and may_expire(process):
                return f"{process_id} is not forgotten yet"
            if process.timers or not (process.ended or process.stuck):
                return f"{process_id} is {process.phase}, with timers {sorted(process.timers)}"
        groups = {ENGINE_GROUP: frozenset((INBOX,)), ROUTER_GROUP: router_topics(world.book)}
        groups |= {f"{GROUP_PREFIX}{service.name}": frozenset(service.topics) for service in world.services}
        for group, topics in groups.items():
            for place in world.broker.places(topics):
                committed, end = world.broker.committed_of(group, place) or 0, world.broker.bounds_of(place)[1]
                if committed < end:
                    return f"{group} is at {committed} of {end} of {place.topic}/{place.partition}"
        for place in world.broker.places(frozenset((INBOX,))):
            position = world.images.store._shard(place.partition).position
            if (position.next if position else 0) < world.broker.bounds_of(place)[1]:
                return f"shard {place.partition} is stored up to {position}"
        return None


async def _ended() -> None:
    """Let the tasks of the killed programs come to their ends."""
    ours = asyncio.current_task()
    for _ in range(ENDING_TURNS_MAX):
        others = [task for task in asyncio.all_tasks() if task is not ours]
        if not others:
            return
        for task in others:
            task.cancel()
        await asyncio.sleep(0)
