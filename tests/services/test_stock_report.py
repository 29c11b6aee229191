"""The totals that a reconciliation reads."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import orjson
import pytest
from redis.asyncio import Redis

from operations.endpoints import Endpoints, RedisEndpoints
from services.inventory.opening import open_local
from services.inventory.report import read_report, report_of
from services.inventory.stock import Demand, StockStore
from services.inventory.store_redis import RedisStock


async def given_one_reserved_and_one_dispatched_order(stock: StockStore) -> None:
    await stock.reserve("o1", "r1", (Demand("milk", 4), Demand("scarce-tea", 1)), at_ms=1)
    await stock.reserve("o2", "r2", (Demand("milk", 6_000),), at_ms=2)
    await stock.dispatch("o2", "d2", at_ms=3)


async def test_totals_per_sku_over_all_warehouses(stock: StockStore) -> None:
    await given_one_reserved_and_one_dispatched_order(stock)

    report = await report_of(stock.levels())

    assert [(one.sku, one.on_hand, one.reserved, one.dispatched) for one in report.skus] == [
        ("milk", 3_996, 4, 6_000),
        ("scarce-tea", 4, 1, 0),
    ]
    assert [one.units for one in report.skus] == [10_000, 5]
    assert (report.on_hand_units, report.reserved_units, report.dispatched_units) == (4_000, 5, 6_000)


async def program(*arguments: str) -> bytes:
    command = (sys.executable, "-m", "services.inventory", *arguments)
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    output, _ = await process.communicate()
    assert process.returncode == 0
    return output


@pytest.mark.stack
async def test_the_report_as_a_program(redis_url: str, redis_client: Redis, tmp_path: Path) -> None:
    await given_one_reserved_and_one_dispatched_order(RedisStock(redis_client, open_local))
    file = tmp_path / "endpoints.json"
    stack = Endpoints(kafka="127.0.0.1:1", redis=RedisEndpoints(orchestrator=redis_url, services=redis_url))
    file.write_text(stack.model_dump_json())

    as_json = await program("--endpoints", str(file), "--json")
    as_text = await program("--endpoints", str(file))

    assert orjson.loads(as_json) == (await read_report(redis_url)).as_json()
    assert as_text.splitlines()[-1].split() == [b"total", b"4000", b"5", b"6000"]
