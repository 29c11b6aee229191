"""`counterpoint recover`: says why shards refuse to work, what a repair keeps and loses, and orders it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import typer
from rich.text import Text

from contracts.topics import SHARDS
from orchestrator.cli.failures import Refused, Usage
from orchestrator.cli.options import AsJson, EndpointsFile
from orchestrator.cli.output import print_json, say, screen
from orchestrator.cli.repair import confirm
from orchestrator.cli.session import Session, session_of
from orchestrator.runtime.recovery import Plan, plan_repair

INSPECT_SECONDS = 600.0
"""An inspection may read a shard's snapshots, or go back through its inbox."""
WAIT_SECONDS = 75.0
"""Engines look at refused shards every 30 s, and a restore takes its time."""
WAIT_SECONDS_MAX = 3_600.0
POLL_SECONDS = 0.5


def recover(
    context: typer.Context,
    shards: Annotated[list[int] | None, typer.Argument(metavar="SHARD...", help="0 to 63.", show_default=False)] = None,
    every: Annotated[bool, typer.Option("--all", help="All shards that refuse to work.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be done.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do it.")] = False,
    wait: Annotated[
        float, typer.Option("--wait", min=0, max=WAIT_SECONDS_MAX, help="Seconds to wait for the engines.")
    ] = WAIT_SECONDS,
    operator: Annotated[str | None, typer.Option(help="Who decides. Default: the user of this machine.")] = None,
    endpoints: EndpointsFile = None,
    as_json: AsJson = False,
) -> None:
    """Repair shards that refuse to work since Redis, the inbox or the group's offsets are not what they were.

    Says first why each refuses, what the repair keeps and what it loses. The engine that owns a shard carries it out
    within half a minute; without one, at the next start.

    \b
    Examples:
      counterpoint recover --all --dry-run
      counterpoint recover 17 --yes
      counterpoint recover --all --yes --wait 600
    """
    session = session_of(context, endpoints, as_json)
    wanted = _wanted(shards or [], every)
    plans = _plans(session, wanted, operator or session.around.operator)
    if session.as_json and (dry_run or not plans):
        print_json({"shards": [_json(plan) for plan in plans]})
    elif not session.as_json:
        _tell(plans)
    if not plans or dry_run:
        return
    helpless = [plan for plan in plans if plan.order is None]
    orders = [plan.order for plan in plans if plan.order is not None]
    if orders and not yes and not session.around.interactive:
        raise Refused("nothing was done: say --yes")
    if orders:
        confirm(session, f"Recover {len(orders)} shards?", yes)
    left = _carry_out(session, plans, wait) if orders else {}
    if session.as_json:
        print_json({"shards": [_json(plan) | {"recovered": _done(plan, left)} for plan in plans]})
    _conclude(len(orders), left, helpless)


def _wanted(shards: Sequence[int], every: bool) -> list[int]:
    if every == bool(shards):
        raise Usage("name shards, or say --all")
    for number in shards:
        if not 0 <= number < SHARDS:
            raise Usage(f"there is no shard {number}: they are numbered from 0 to {SHARDS - 1}")
    return sorted(set(shards)) or list(range(SHARDS))


def _plans(session: Session, wanted: Sequence[int], operator: str) -> list[Plan]:
    session.kafka()
    endpoints, now_ms = session.redis(), session.around.now_ms()

    async def work() -> list[Plan]:
        async with session.around.connections.shards(endpoints) as keeper:
            return [plan_repair(damage, operator, now_ms) for damage in await keeper.damages(wanted)]

    return session.run(work, INSPECT_SECONDS)


def _carry_out(session: Session, plans: Sequence[Plan], wait: float) -> Mapping[int, str]:
    """Leave the orders, and wait for the engines. Returns the shards that are not at work again, with the reason."""
    endpoints = session.redis()
    orders = [plan.order for plan in plans if plan.order is not None]

    async def work() -> Mapping[int, str]:
        async with session.around.connections.shards(endpoints) as keeper:
            await keeper.order(orders)
            loop = asyncio.get_running_loop()
            until = loop.time() + wait
            while True:
                left = await keeper.unfinished([order.shard for order in orders])
                if not left or loop.time() >= until:
                    return left
                await asyncio.sleep(POLL_SECONDS)

    return session.run(work, wait + 30)


def _done(plan: Plan, left: Mapping[int, str]) -> bool:
    return plan.order is not None and plan.order.shard not in left


def _conclude(ordered: int, left: Mapping[int, str], helpless: Sequence[Plan]) -> None:
    if ordered > len(left):
        say(f"{ordered - len(left)} shards are recovered", style="green")
    details = (
        *(f"shard {number}: {why}" for number, why in sorted(left.items())),
        *(f"shard {plan.damage.facts.shard}: {plan.does}" for plan in helpless),
    )
    if details:
        raise Refused(f"{len(details)} shards still wait", details)


def _tell(plans: Sequence[Plan]) -> None:
    if not plans:
        say("no shard refuses to work")
    console = screen()
    for plan in plans:
        console.print(Text(plan.damage.refusal.text, style="red"))
        for word, text in (("does", plan.does), ("keeps", plan.kept), ("loses", plan.lost)):
            console.print(Text(f"  {word:<6}{text}"))


def _json(plan: Plan) -> dict[str, Any]:
    facts, order = plan.damage.facts, plan.order
    return {
        "shard": facts.shard,
        "code": plan.damage.refusal.code,
        "reason": plan.damage.refusal.text,
        "stored": None if facts.stored is None else facts.stored.next,
        "committed": facts.committed,
        "log_start": facts.log_start,
        "log_end": facts.log_end,
        "cut": None if plan.damage.cut is None else plan.damage.cut.offset,
        "action": None if order is None else order.action,
        "next": None if order is None else order.next,
        "published": None if order is None else order.published,
        "does": plan.does,
        "keeps": plan.kept,
        "loses": plan.lost,
    }
