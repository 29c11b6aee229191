"""Gathers the evidence when everything is at rest."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import httpx
from prometheus_client.parser import text_string_to_metric_families

from deploy.demo.checks import IgnoredInputs
from deploy.demo.evidence import Evidence
from deploy.demo.observation import Observation
from deploy.demo.orders import PlannedOrder
from deploy.demo.outside import opening_units, per_sku, read_ledger, read_shelves
from deploy.demo.traffic import process_of
from operations.endpoints import Endpoints
from orchestrator.cli.connections_real import RealConnections
from orchestrator.cli.ports import ProcessReader
from orchestrator.engine.history import HistoryEntry
from orchestrator.engine.process import Process
from services.inventory.stock import Level

READERS = 16
"""Histories that are read at a time."""
METRICS_SECONDS = 5

Story = tuple[Process, list[HistoryEntry]]


@dataclass(frozen=True, slots=True)
class Gathered:
    evidence: Evidence
    levels: tuple[Level, ...]
    ignored: IgnoredInputs
    ignored_elsewhere: int


async def gather(endpoints: Endpoints, orders: Sequence[PlannedOrder], seen: Observation) -> Gathered:
    """Everything that the reconciliation and the table need."""
    assert endpoints.sandbox is not None, "a local stack has one"
    ledger = await read_ledger(endpoints.sandbox)
    shelves = await read_shelves(endpoints.redis.services)
    evidence = Evidence(
        placed={order.placed.order_id: order.placed for order in orders},
        endings={order: tuple(endings) for order, endings in seen.endings.items()},
        ledger=ledger,
        stock=per_sku(shelves),
        opening=opening_units(one.sku for one in shelves.skus),
    )
    ignored = await _ignored(endpoints, [process_of(order.placed.order_id) for order in orders])
    levels = tuple(level for one in shelves.skus for level in one.warehouses)
    return Gathered(evidence, levels, ignored, await _without_process(endpoints))


async def read_story(endpoints: Endpoints, process_id: str) -> Story | None:
    """None: there is no such process."""
    async with RealConnections().processes(endpoints) as reader:
        process = await reader.get(process_id)
        return None if process is None else (process, list(await reader.history(process_id, 0)))


async def _ignored(endpoints: Endpoints, processes: Sequence[str]) -> IgnoredInputs:
    places, found = asyncio.Semaphore(READERS), dict[str, Counter[str]]()

    async def read(reader: ProcessReader, process: str) -> None:
        async with places:
            entries = await reader.history(process, 0)
        reasons = Counter(entry.reason or "?" for entry in entries if entry.result == "ignored")
        if reasons:
            found[process] = reasons

    async with RealConnections().processes(endpoints) as reader:
        await asyncio.gather(*(read(reader, process) for process in processes))
    return found


async def _without_process(endpoints: Endpoints) -> int:
    """Inputs ignored because there was no process: known to the orchestrator's counter only, since its last start."""
    process = endpoints.processes.get("orchestrator")
    if process is None or process.metrics is None:
        return 0
    async with httpx.AsyncClient(timeout=METRICS_SECONDS, trust_env=False) as client:
        answer = await client.get(process.metrics)
    samples = (one for family in text_string_to_metric_families(answer.text) for one in family.samples)
    return round(
        sum(
            one.value
            for one in samples
            if one.name == "counterpoint_inputs_total" and one.labels.get("reason") == "no-process"
        )
    )
