"""`python -m deploy.demo`: the business flows on a stack of their own, reconciled. The composition root.

Exits with 0 if every line reconciles, with 1 if one does not (and says which) or if the stack does not start.
"""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.rule import Rule

from deploy.demo.board import Board
from deploy.demo.disturbance import PATIENCE_SECONDS, Chaos, disturb
from deploy.demo.flow import Flow, Outcome, Scene
from deploy.demo.flows import NAMES, chosen
from deploy.demo.screen import make_console, print_lines, print_verdict
from deploy.local.errors import StackError
from deploy.local.progress import Progress
from deploy.local.stack import Stack
from operations.endpoints import Endpoints, read_endpoints

DEFAULT_DATA = Path(".local/demo")
REPORT = "report.json"
MINUTE_SECONDS = 60


@dataclass(frozen=True, slots=True)
class Wanted:
    """`count` and `rate` are of each flow, None = its own; `minutes` of publishing decides over `count`."""

    count: int | None
    rate: float | None
    minutes: float | None
    seed: int
    chaos: Chaos | None

    def rate_of(self, flow: Flow) -> float:
        return flow.rate if self.rate is None else self.rate

    def count_of(self, flow: Flow) -> int:
        if self.minutes is not None:
            return max(1, round(self.minutes * MINUTE_SECONDS * self.rate_of(flow)))
        return self.count or flow.count


def demo(
    flow: Annotated[str, typer.Option(help=f"What is played: {', '.join(NAMES)}.")] = "orders",
    count: Annotated[
        int | None,
        typer.Option("--count", "--orders", min=1, max=100_000, help="How many orders, signups, ... of each flow."),
    ] = None,
    seed: Annotated[int, typer.Option(help="The same seed gives the same day.")] = 7,
    keep: Annotated[bool, typer.Option("--keep", help="Leave the stack up, to look around with the CLI.")] = False,
    rate: Annotated[
        float | None, typer.Option(min=0, help="Messages published per second and flow; 0: all at once.")
    ] = None,
    minutes: Annotated[
        float | None, typer.Option(min=0.1, max=24 * 60, help="Publish for so long, instead of a number of cases.")
    ] = None,
    chaos: Annotated[
        Chaos | None, typer.Option(help="What is killed in the middle of the load, and restarted.")
    ] = None,
    data: Annotated[Path, typer.Option(help="The folder of the demo's stack; it is emptied first.")] = DEFAULT_DATA,
) -> None:
    """Play the business flows, let everything go wrong that can, and reconcile with the outside world's ledger."""
    if flow not in NAMES:
        raise typer.BadParameter(f"There is no flow {flow!r}; the flows are: {', '.join(NAMES)}.", param_hint="--flow")
    if minutes is not None and rate == 0:
        raise typer.BadParameter("Publishing for some minutes needs a rate above 0.", param_hint="--minutes")
    console = make_console()
    flows = chosen(flow)
    parts = tuple(dict.fromkeys(part for one in flows for part in one.parts))
    stack = Stack(data, services=parts, report=lambda progress: _tell(console, progress))
    try:
        holds = _run(console, stack, flows, parts, Wanted(count, rate, minutes, seed, chaos))
    except StackError as error:
        console.print(error.sentence, style="red", markup=False, soft_wrap=True)
        console.print(error.tail, style="dim", markup=False, soft_wrap=True)
        holds = False
    finally:
        _leave(console, stack, keep)
    raise typer.Exit(0 if holds else 1)


def _run(console: Console, stack: Stack, flows: Sequence[Flow], parts: Sequence[str], wanted: Wanted) -> bool:
    stack.down()
    stack.erase()
    stack.up()
    console.print()
    for flow in flows:
        console.print(f"{wanted.count_of(flow):,} {flow.cases} (seed {wanted.seed})")
    outcomes = asyncio.run(_play(console, stack, flows, parts, wanted))
    lines = [line for outcome in outcomes.values() for line in outcome.lines]
    for name, outcome in outcomes.items():
        if len(outcomes) > 1:
            console.print()
            console.print(Rule(name, style="bold"))
        outcome.show(console)
        print_lines(console, outcome.lines)
    (stack.site.data / REPORT).write_text(json.dumps(_report(outcomes), indent=2) + "\n")
    print_verdict(console, lines)
    return all(line.holds for line in lines)


async def _play(
    console: Console, stack: Stack, flows: Sequence[Flow], parts: Sequence[str], wanted: Wanted
) -> dict[str, Outcome]:
    """All flows at once, and what disturbs them. Raises the first failure of any."""
    endpoints, calm = read_endpoints(stack.site.endpoints), asyncio.Event()

    async def disturbed(board: Board, chaos: Chaos) -> None:
        await disturb(chaos, stack, parts, wanted.seed, board, lambda what: console.print(what, style="yellow"))
        calm.set()

    with Board(console, flows) as board:
        async with asyncio.TaskGroup() as group:
            played = {
                flow.name: group.create_task(flow.perform(_scene(flow, board, stack, endpoints, calm, wanted)))
                for flow in flows
            }
            if wanted.chaos is None:
                calm.set()
            else:
                group.create_task(disturbed(board, wanted.chaos))
                await asyncio.wait(played.values())
                board.over()
    return {name: task.result() for name, task in played.items()}


def _scene(flow: Flow, board: Board, stack: Stack, endpoints: Endpoints, calm: asyncio.Event, wanted: Wanted) -> Scene:
    return Scene(
        endpoints=endpoints,
        data=stack.site.data,
        count=wanted.count_of(flow),
        seed=wanted.seed,
        rate=wanted.rate_of(flow),
        patience_s=0.0 if wanted.chaos is None else PATIENCE_SECONDS,
        calm=calm,
        tell=board.teller(flow.name),
    )


def _report(outcomes: Mapping[str, Outcome]) -> dict[str, object]:
    """One flow's numbers, or those of each by its name."""
    if len(outcomes) == 1:
        return dict(next(iter(outcomes.values())).report)
    return {name: dict(outcome.report) for name, outcome in outcomes.items()}


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
