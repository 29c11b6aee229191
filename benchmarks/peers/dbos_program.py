"""The flow on DBOS: one asynchronous workflow an order, each step a durable step. Runs in the peers' environment.

    python dbos_program.py DATABASE_URL RESULT_FILE ORDERS LIGHT_ORDERS LIGHT_RATE

Workflows are started in the program that runs them (`start_workflow_async`), which is faster than a queue.
"""

from __future__ import annotations

import asyncio
import sys
import time
from pathlib import Path
from typing import Any

from dbos import DBOS, SetWorkflowID
from flow import order_of, write_result

UNDER_WAY_MAX = 100
"""Workflows at once; more did not raise the throughput."""


class Declined(Exception):
    """A business answer: the payment was declined."""


@DBOS.step()
async def reserve(order: dict[str, Any]) -> str:
    return "reservation-" + order["order_id"]


@DBOS.step()
async def charge(order: dict[str, Any]) -> str | None:
    return None if order["declined"] else "payment-" + order["order_id"]


@DBOS.step()
async def create_label(order: dict[str, Any]) -> str:
    return "label-" + order["order_id"]


@DBOS.step()
async def dispatch(label: str) -> str:
    return "tracking-" + label


@DBOS.step()
async def void_label(label: str) -> str:
    return label


@DBOS.step()
async def release(reservation: str) -> str:
    return reservation


@DBOS.workflow()
async def fulfil(order: dict[str, Any]) -> bool:
    reservation, payment, label = await asyncio.gather(reserve(order), charge(order), create_label(order))
    if payment is None:
        await void_label(label)
        await release(reservation)
        return False
    await dispatch(label)
    return True


async def run_one(number: int, run: str) -> tuple[bool, float]:
    began = time.perf_counter()
    order = order_of(number, run)
    with SetWorkflowID(order["order_id"]):
        handle = await DBOS.start_workflow_async(fulfil, order)
    completed = await handle.get_result()
    return completed, time.perf_counter() - began


async def at_full_speed(orders: int, run: str) -> tuple[float, int]:
    """Seconds taken, orders completed."""
    free = asyncio.Semaphore(UNDER_WAY_MAX)

    async def bounded(number: int) -> bool:
        async with free:
            return (await run_one(number, run))[0]

    began = time.perf_counter()
    ended = await asyncio.gather(*(bounded(number) for number in range(orders)))
    return time.perf_counter() - began, sum(ended)


async def at_rate(orders: int, rate: float, run: str) -> list[float]:
    """Seconds that each order took."""
    began = time.perf_counter()
    tasks = []
    for number in range(orders):
        await asyncio.sleep(max(0.0, began + number / rate - time.perf_counter()))
        tasks.append(asyncio.create_task(run_one(number, run)))
    return [took for _, took in await asyncio.gather(*tasks)]


async def main(url: str, result: Path, orders: int, light_orders: int, rate: float) -> None:
    DBOS(config={"name": "bench", "system_database_url": url, "log_level": "ERROR", "sys_db_pool_size": 20})
    DBOS.launch()
    await at_full_speed(50, "warm")
    took = await at_rate(light_orders, rate, "light")
    seconds, completed = await at_full_speed(orders, "load")
    write_result(result, seconds, orders, completed, took)
    DBOS.destroy()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]), float(sys.argv[5])))
