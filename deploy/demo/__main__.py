"""`python -m deploy.demo`: a day's orders on a stack of its own, reconciled. The composition root.

Exits with 0 if every line reconciles, with 1 if one does not (and says which) or if the stack does not start.
"""

from __future__ import annotations

import asyncio
import json
import signal
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.rule import Rule

from contracts.catalog import standard_catalog
from contracts.process import Phase
from deploy.demo.baskets import read_baskets
from deploy.demo.checks import fate_rows, fates_line, messages_line, shelves_line
from deploy.demo.gather import Gathered, read_story
from deploy.demo.orders import Fate, plan_orders
from deploy.demo.reconciliation import Line, reconcile
from deploy.demo.run import Disturbance, Run, perform
from deploy.demo.screen import Watch, make_console, print_fates, print_lines, print_numbers, print_verdict
from deploy.demo.tally import counted, dead_letter_reasons, ignored_reasons, make_report
from deploy.demo.traffic import plan_traffic, process_of
from deploy.local.errors import StackError
from deploy.local.progress import Progress
from deploy.local.stack import Stack
from operations.endpoints import Endpoints, read_endpoints
from orchestrator.cli.story import tell
from orchestrator.cli.story_view import print_story

DEFAULT_DATA = Path(".local/demo")
REPORT = "report.json"
RATE_DEFAULT = 30.0
"""Messages a second: what two cores carry that also run Kafka and everything else, with some room."""
LIMIT_SECONDS = 60.0
LIMIT_SECONDS_PER_ORDER = 0.06
DOWN_SECONDS = 1.0
"""How long a killed orchestrator stays dead."""


class Chaos(StrEnum):
    """What goes wrong in the middle of the load."""

    KILL_ORCHESTRATOR = "kill-orchestrator"


def demo(
    orders: Annotated[int, typer.Option(min=1, max=100_000, help="How many orders are placed.")] = 1_000,
    seed: Annotated[int, typer.Option(help="The same seed gives the same day.")] = 7,
    keep: Annotated[bool, typer.Option("--keep", help="Leave the stack up, to look around with the CLI.")] = False,
    rate: Annotated[float, typer.Option(min=0, help="Messages published per second; 0: all at once.")] = RATE_DEFAULT,
    chaos: Annotated[Chaos | None, typer.Option(help="Kill a part in the middle of the load, and restart it.")] = None,
    data: Annotated[Path, typer.Option(help="The folder of the demo's stack; it is emptied first.")] = DEFAULT_DATA,
) -> None:
    """Place a day's orders, let everything go wrong that can, and reconcile with the outside world's ledger."""
    console = make_console()
    stack = Stack(data, report=lambda progress: _tell(console, progress))
    try:
        holds = _run(console, stack, orders, seed, rate, chaos)
    except StackError as error:
        console.print(error.sentence, style="red", markup=False, soft_wrap=True)
        console.print(error.tail, style="dim", markup=False, soft_wrap=True)
        holds = False
    finally:
        _leave(console, stack, keep)
    raise typer.Exit(0 if holds else 1)


def _run(console: Console, stack: Stack, count: int, seed: int, rate: float, chaos: Chaos | None) -> bool:
    stack.down()
    stack.erase()
    stack.up()
    endpoints = read_endpoints(stack.site.endpoints)
    planned = plan_orders(read_baskets(), count, seed)
    run = Run(planned, plan_traffic(planned, seed))
    console.print()
    console.print(f"{count:,} orders (seed {seed}), {len(run.sendings) - count:,} repeats and bad messages among them")
    with Watch(console, run) as watch:
        work = perform(
            run,
            endpoints,
            rate=rate,
            limit_seconds=LIMIT_SECONDS + LIMIT_SECONDS_PER_ORDER * count + (count / rate if rate else 0),
            look=watch.look,
            disturb=_disturbance(console, stack, chaos),
        )
        gathered = asyncio.run(work)
    lines = _lines(run, gathered)
    _print_all(console, endpoints, run, gathered, lines)
    report = make_report(gathered.evidence, run.seen, gathered.ignored, gathered.ignored_elsewhere)
    (stack.site.data / REPORT).write_text(json.dumps(report.json(), indent=2) + "\n")
    print_verdict(console, lines)
    return all(line.holds for line in lines)


def _lines(run: Run, gathered: Gathered) -> tuple[Line, ...]:
    return (
        *reconcile(gathered.evidence),
        shelves_line(gathered.levels, run.seen.shelves),
        fates_line(run.orders, run.seen.phases),
        messages_line(run.published, run.seen, gathered.ignored),
    )


def _disturbance(console: Console, stack: Stack, chaos: Chaos | None) -> Disturbance | None:
    if chaos is None:
        return None

    async def kill_and_restart() -> None:
        console.print("kill -9 of the orchestrator", style="yellow")
        await asyncio.to_thread(stack.kill, "orchestrator")
        await asyncio.sleep(DOWN_SECONDS)
        await asyncio.to_thread(stack.start, "orchestrator")

    return kill_and_restart


def _print_all(console: Console, endpoints: Endpoints, run: Run, gathered: Gathered, lines: tuple[Line, ...]) -> None:
    report = make_report(gathered.evidence, run.seen, gathered.ignored, gathered.ignored_elsewhere)
    ignored = dict(ignored_reasons(gathered.ignored))
    if gathered.ignored_elsewhere:
        ignored["no-process"] = gathered.ignored_elsewhere
    print_numbers(console, report, counted(ignored), counted(dead_letter_reasons(run.seen)))
    print_fates(console, fate_rows(run.orders, run.seen.phases))
    print_lines(console, lines)
    _print_story_of(console, endpoints, run, "completed", "plain")
    _print_story_of(console, endpoints, run, "compensated", "rejected")


def _print_story_of(console: Console, endpoints: Endpoints, run: Run, phase: Phase, fate: Fate) -> None:
    """The first order that ended so, of that fate if there is one."""
    ended = [order for order in run.orders if run.seen.phases.get(process_of(order.placed.order_id)) == phase]
    chosen = next((order for order in ended if order.fate == fate), next(iter(ended), None))
    process_id = None if chosen is None else process_of(chosen.placed.order_id)
    read = None if process_id is None else asyncio.run(read_story(endpoints, process_id))
    if read is None:
        return
    console.print()
    console.print(Rule(f"one {'fulfilled' if phase == 'completed' else 'undone'} order", align="left"))
    print_story(console, tell(*read, standard_catalog()), None)


def _tell(console: Console, progress: Progress) -> None:
    if progress.event in ("ready", "note", "killed", "already-running"):
        seconds = f"{progress.seconds:5.1f} s" if progress.seconds else " " * 7
        console.print(f"{progress.name:<19} {progress.event:<10} {seconds}  {progress.detail}", markup=False)


def _leave(console: Console, stack: Stack, keep: bool) -> None:
    if not keep:
        stack.down()
        return
    console.print()
    console.print("The stack stays up; `make down` stops it. To look around:", markup=False)
    for words in ("list --phase compensated", "dead-letters list"):
        console.print(f"  counterpoint {words} --endpoints {stack.site.endpoints}", markup=False, soft_wrap=True)


def main() -> None:
    signal.signal(signal.SIGTERM, _end)
    typer.run(demo)


def _end(number: int, frame: object) -> None:
    """As Ctrl-C does: what was started is stopped."""
    raise SystemExit(128 + number)


if __name__ == "__main__":
    main()
