"""One fault, from the load before it to the reconciliation after it."""

from __future__ import annotations

import asyncio
import shutil
import traceback
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from deploy.chaos.fault import Fault
from deploy.chaos.inbox_look import take_look
from deploy.chaos.load import Load
from deploy.chaos.promises import untold_losses
from deploy.chaos.report import Row, Status
from deploy.chaos.scene import Incident, Scene
from deploy.demo.checks import shelves_line
from deploy.demo.evidence import Evidence
from deploy.demo.orders import PlannedOrder
from deploy.demo.outside import opening_units, per_sku, read_ledger, read_shelves
from deploy.demo.publisher_kafka import Publisher
from deploy.demo.reconciliation import Line, reconcile
from deploy.demo.traffic import start_of
from deploy.local.errors import StackError
from orchestrator.runtime.groups import ENGINE_GROUP

FINAL = frozenset(("completed", "compensated", "cancelled"))
WARM_DECISIONS = 20
"""So many decisions after the start of the load, it is steady, and the fault begins."""
WARM_SECONDS_MAX = 60.0
TAIL_SECONDS = 2.0
"""The load goes on for so long after the fault was put right."""
FAULT_SECONDS_MAX = 400.0
END_SECONDS_MAX = 240.0
"""How long all orders may take to end after the load; then those that did not are told."""
REST_SECONDS_MAX = 30.0
QUIET_SECONDS = 1.0
FOLDED_SECONDS = 3.0
"""Nothing was published for so long: whatever start is in the inbox has been folded."""
LOOK_SECONDS = 0.2
RETRY_ROUNDS_MAX = 10
ORDERS_MAX = 5_000
PROBLEMS_MAX = 20


@dataclass(frozen=True, slots=True)
class Plan:
    """How episodes are run. `now_ms`: this machine's clock, which is also the broker's."""

    rate: float
    scale: float
    evidence: Path
    now_ms: Callable[[], int]


class Episode:
    """Use once. `placed` are all orders of the scene so far, by process; this episode's are added."""

    def __init__(self, scene: Scene, fault: Fault, plan: Plan, placed: dict[str, PlannedOrder]) -> None:
        self._scene = scene
        self._fault = fault
        self._plan = plan
        self._placed = placed
        self._load = Load(scene.kafka, scene.book, plan.rate, ORDERS_MAX)
        self._stuck: set[str] = set()
        self._load_end_ms = 0

    async def run(self) -> Row:
        """Never raises for what goes wrong in the stack: that is the row's business."""
        incident = Incident(self._plan.now_ms(), self._plan.scale, self._plan.now_ms)
        publishing = asyncio.create_task(self._load.run())
        reconciled: bool | None = None
        try:
            await self._warm()
            incident.began_ms = self._plan.now_ms()
            async with asyncio.timeout(FAULT_SECONDS_MAX):
                await self._fault.inject(self._scene, incident)
            incident.lift()
            await asyncio.sleep(TAIL_SECONDS)
            reconciled = await self._end(publishing, incident)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is this fault's row, and the run goes on
            incident.problems += told_of(error)
        finally:
            self._load.stop()
            publishing.cancel()
            await asyncio.gather(publishing, return_exceptions=True)
        row = self._row(incident, reconciled)
        if row.status == "failed":
            await asyncio.to_thread(self._keep_evidence, row)
        return row

    async def _warm(self) -> None:
        wanted = self._scene.decisions.count + WARM_DECISIONS
        if not await self._until(lambda: self._scene.decisions.count >= wanted, WARM_SECONDS_MAX):
            raise StackError(f"There were not {WARM_DECISIONS} decisions within {WARM_SECONDS_MAX:.0f} s of the load.")

    async def _end(self, publishing: asyncio.Task[None], incident: Incident) -> bool:
        """Everything published, everything ended, everything at rest; then whether it reconciles."""
        self._load.stop()
        self._load_end_ms = self._plan.now_ms()
        async with asyncio.timeout(END_SECONDS_MAX):
            await publishing
        self._placed.update(self._load.orders)
        if incident.lost_inputs is not None:
            await self._publish_again(incident, incident.lost_inputs)
        if not await self._settle():
            open_now = self._open()
            incident.problems.append(f"{len(open_now)} orders did not end, such as {', '.join(sorted(open_now)[:5])}")
        await self._until(self._at_rest, REST_SECONDS_MAX)
        incident.problems += [f"audit: {finding}" for finding in (await self._scene.operator.audit())[:PROBLEMS_MAX]]
        broken = [line for line in await self._lines() if not line.holds]
        for line in broken:
            incident.problems += [f"{line.name}: {wrong}" for wrong in line.discrepancies[:PROBLEMS_MAX]]
        return not broken

    async def _publish_again(self, incident: Incident, lost: Mapping[int, int | None]) -> None:
        """What the publisher of an order would do of which it hears no end; and only where the loss was told. An order
        that had begun goes on from what it has done: all of its messages have the ids that they had."""
        observer = self._scene.observer
        assert observer is not None
        await self._until(lambda: observer.quiet_seconds >= FOLDED_SECONDS, REST_SECONDS_MAX)
        there = (await take_look(self._scene.kafka, self._scene.orchestrator_redis.url, ENGINE_GROUP)).processes
        missing = [process for process in self._load.orders if process not in there]
        incident.problems += untold_losses(missing, lost)
        starts = [start_of(self._load.orders[process].placed) for process in missing]
        await Publisher(self._scene.kafka, self._plan.rate, lambda published: None).run(starts)
        incident.note(f"{len(missing)} orders whose start was lost were published again")

    async def _settle(self) -> bool:
        """Wait until all have ended. What is stuck waits for a person: it is told, and retried by the command line."""
        give_up = asyncio.get_running_loop().time() + END_SECONDS_MAX
        rounds = 0
        while self._open() and asyncio.get_running_loop().time() < give_up:
            stuck = {process for process in self._open() if self._scene.seen.phases.get(process) == "stuck"}
            self._stuck |= stuck
            if stuck == self._open() and rounds < RETRY_ROUNDS_MAX:
                rounds += 1
                await self._scene.operator.retry_all()
            self._scene.check_observer()
            await asyncio.sleep(LOOK_SECONDS * 5 if stuck else LOOK_SECONDS)
        return not self._open()

    def _open(self) -> set[str]:
        return {process for process in self._load.orders if self._scene.seen.phases.get(process) not in FINAL}

    def _at_rest(self) -> bool:
        observer = self._scene.observer
        assert observer is not None
        reserved = sum(reserved for _, _, reserved in self._scene.seen.shelves.values())
        return reserved == 0 and observer.quiet_seconds >= QUIET_SECONDS

    async def _until(self, holds: Callable[[], bool], seconds: float) -> bool:
        give_up = asyncio.get_running_loop().time() + seconds
        while not holds():
            if asyncio.get_running_loop().time() > give_up:
                return False
            self._scene.check_observer()
            await asyncio.sleep(LOOK_SECONDS)
        return True

    async def _lines(self) -> tuple[Line, ...]:
        endpoints, seen = self._scene.stack.endpoints, self._scene.seen
        assert endpoints.sandbox is not None, "a local stack has one"
        shelves = await read_shelves(endpoints.redis.services)
        evidence = Evidence(
            placed={order.placed.order_id: order.placed for order in self._placed.values()},
            endings={order: tuple(endings) for order, endings in seen.endings.items()},
            ledger=await read_ledger(endpoints.sandbox),
            stock=per_sku(shelves),
            opening=opening_units(one.sku for one in shelves.skus),
        )
        levels = [level for one in shelves.skus for level in one.warehouses]
        return (*reconcile(evidence), shelves_line(levels, seen.shelves))

    def _row(self, incident: Incident, reconciled: bool | None) -> Row:
        seen, lifted = self._scene.seen, incident.lifted_ms
        phases = Counter(seen.phases.get(process, "running") for process in self._load.orders)
        measured = lifted is not None and reconciled is not None
        recovered = self._scene.decisions.first_after_ms(lifted) if measured and lifted is not None else None
        status: Status = "failed" if incident.problems else "held"
        pause_ms = self._scene.decisions.longest_pause_ms(incident.began_ms, self._load_end_ms)
        return Row(
            fault=self._fault.name,
            family=self._fault.family,
            injected=self._fault.title,
            status=status,
            what_happened=tuple(incident.notes),
            recovery_seconds=None if recovered is None or lifted is None else (recovered - lifted) / 1000,
            pause_seconds=pause_ms / 1000 if measured else None,
            drained_seconds=drained_seconds(self._load, seen.ended_ms, self._stuck, lifted) if measured else None,
            orders=len(self._load.orders),
            completed=phases["completed"],
            compensated=phases["compensated"],
            cancelled=phases["cancelled"],
            stuck=len(self._stuck),
            unended=len(self._open()),
            reconciled=reconciled,
            problems=tuple(incident.problems),
        )

    def _keep_evidence(self, row: Row) -> None:
        """Logs and what went wrong; an earlier run's are replaced."""
        target = self._plan.evidence / self._fault.name
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(self._scene.stack.site.data / "logs", target / "logs")
        unended = sorted(self._open())
        text = "\n".join((*row.what_happened, "", *row.problems, "", f"unended: {', '.join(unended) or 'none'}"))
        (target / "problems.txt").write_text(text + "\n")


def told_of(error: Exception) -> tuple[str, ...]:
    """The error and the end of what is known about it, a line each."""
    said = error.tail if isinstance(error, StackError) else "".join(traceback.format_exception(error))
    return (f"{type(error).__name__}: {error}", *said.splitlines()[-PROBLEMS_MAX:])


def drained_seconds(load: Load, ended_ms: Mapping[str, int], stuck: set[str], lifted_ms: int | None) -> float | None:
    """From the lifting of the fault until every order placed before it had ended. Those that a provider's silence holds
    up by design, and those that waited for a person, do not count."""
    if lifted_ms is None:
        return None
    waited = [
        ended_ms[process]
        for process, order in load.orders.items()
        if order.fate != "silent"
        and process not in stuck
        and load.started_ms[process] < lifted_ms
        and process in ended_ms
    ]
    return max(0, max(waited, default=lifted_ms) - lifted_ms) / 1000
