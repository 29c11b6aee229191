"""The flow on Restate: one handler that runs each step durably (`ctx.run_typed`). Runs in the peers' environment.

    python restate_program.py serve PORT
    python restate_program.py load INGRESS RESULT_FILE ORDERS LIGHT_ORDERS LIGHT_RATE

Steps run inside of the handler; as services of their own they cost several times more.
"""

from __future__ import annotations

import asyncio
import sys
import time
from pathlib import Path
from typing import Any

import httpx
import restate
from flow import order_of, write_result
from hypercorn.asyncio import serve
from hypercorn.config import Config

UNDER_WAY_MAX = 100
"""Invocations at once; more did not raise the throughput."""
PATIENCE_SECONDS = 60.0

fulfilment = restate.Service("fulfilment")


async def reserve(order: dict[str, Any]) -> str:
    return "reservation-" + order["order_id"]


async def charge(order: dict[str, Any]) -> str:
    return "" if order["declined"] else "payment-" + order["order_id"]


async def create_label(order: dict[str, Any]) -> str:
    return "label-" + order["order_id"]


async def dispatch(label: str) -> str:
    return "tracking-" + label


async def void_label(label: str) -> str:
    return label


async def release(reservation: str) -> str:
    return reservation


@fulfilment.handler()
async def fulfil(ctx: restate.Context, order: dict[str, Any]) -> bool:
    reserving = ctx.run_typed("reserve", reserve, restate.RunOptions(), order=order)
    charging = ctx.run_typed("charge", charge, restate.RunOptions(), order=order)
    labelling = ctx.run_typed("create_label", create_label, restate.RunOptions(), order=order)
    await restate.gather(reserving, charging, labelling)
    reservation, payment, label = await reserving, await charging, await labelling
    if not payment:
        await ctx.run_typed("void_label", void_label, restate.RunOptions(), label=label)
        await ctx.run_typed("release", release, restate.RunOptions(), reservation=reservation)
        return False
    await ctx.run_typed("dispatch", dispatch, restate.RunOptions(), label=label)
    return True


async def run_one(client: httpx.AsyncClient, number: int, run: str) -> tuple[bool, float]:
    began = time.perf_counter()
    order = order_of(number, run)
    answer = await client.post("/fulfilment/fulfil", json=order, headers={"idempotency-key": order["order_id"]})
    answer.raise_for_status()
    return bool(answer.json()), time.perf_counter() - began


async def at_full_speed(client: httpx.AsyncClient, orders: int, run: str) -> tuple[float, int]:
    """Seconds taken, orders completed."""
    free = asyncio.Semaphore(UNDER_WAY_MAX)

    async def bounded(number: int) -> bool:
        async with free:
            return (await run_one(client, number, run))[0]

    began = time.perf_counter()
    ended = await asyncio.gather(*(bounded(number) for number in range(orders)))
    return time.perf_counter() - began, sum(ended)


async def at_rate(client: httpx.AsyncClient, orders: int, rate: float, run: str) -> list[float]:
    """Seconds that each order took."""
    began = time.perf_counter()
    tasks = []
    for number in range(orders):
        await asyncio.sleep(max(0.0, began + number / rate - time.perf_counter()))
        tasks.append(asyncio.create_task(run_one(client, number, run)))
    return [took for _, took in await asyncio.gather(*tasks)]


async def load(ingress: str, result: Path, orders: int, light_orders: int, rate: float) -> None:
    limits = httpx.Limits(max_connections=UNDER_WAY_MAX)
    async with httpx.AsyncClient(base_url=ingress, limits=limits, timeout=PATIENCE_SECONDS) as client:
        await at_full_speed(client, 50, "warm")
        took = await at_rate(client, light_orders, rate, "light")
        seconds, completed = await at_full_speed(client, orders, "load")
    write_result(result, seconds, orders, completed, took)


def main(arguments: list[str]) -> None:
    if arguments[0] == "serve":
        config = Config()
        config.bind = [f"127.0.0.1:{arguments[1]}"]
        config.errorlog = "-"
        asyncio.run(serve(restate.app([fulfilment]), config))
    else:
        ingress, result, orders, light_orders, rate = arguments[1:]
        asyncio.run(load(ingress, Path(result), int(orders), int(light_orders), float(rate)))


if __name__ == "__main__":
    main(sys.argv[1:])
