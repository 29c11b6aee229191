"""A day's orders from real baskets, with everything that goes wrong in an order's life."""

from __future__ import annotations

from collections import Counter
from functools import partial

from rich.console import Console
from rich.rule import Rule

from contracts.catalog import standard_catalog
from contracts.process import Phase
from deploy.demo.baskets import read_baskets
from deploy.demo.checks import fate_rows, fates_line, messages_line, shelves_line
from deploy.demo.flow import Flow, Outcome, Scene, Standing
from deploy.demo.gather import Gathered, Story, read_story
from deploy.demo.orders import Fate, plan_orders
from deploy.demo.reconciliation import Line, reconcile
from deploy.demo.run import FINAL, Run, perform
from deploy.demo.screen import print_fates, print_numbers
from deploy.demo.tally import counted, dead_letter_reasons, ignored_reasons, make_report
from deploy.demo.traffic import plan_traffic, process_of
from deploy.local.site import SERVICES
from operations.endpoints import Endpoints
from orchestrator.cli.story import tell
from orchestrator.cli.story_view import print_story

LIMIT_SECONDS = 60.0
LIMIT_SECONDS_PER_ORDER = 0.06
RATE_DEFAULT = 30.0
"""Messages a second: what two cores carry that also run Kafka and everything else, with some room."""
COUNT_DEFAULT = 1_000
SHOWN: tuple[Phase, ...] = ("completed", "compensated", "stuck")
STORIES: tuple[tuple[Phase, Fate], ...] = (("completed", "plain"), ("compensated", "rejected"))


async def play(scene: Scene) -> Outcome:
    planned = plan_orders(read_baskets(), scene.count, scene.seed)
    run = Run(planned, plan_traffic(planned, scene.seed))
    publishing_s = scene.count / scene.rate if scene.rate else 0
    gathered = await perform(
        run,
        scene.endpoints,
        rate=scene.rate,
        limit_seconds=LIMIT_SECONDS + LIMIT_SECONDS_PER_ORDER * scene.count + publishing_s + scene.patience_s,
        look=lambda run: scene.tell(_standing(run)),
        calm=scene.calm,
    )
    report = make_report(gathered.evidence, run.seen, gathered.ignored, gathered.ignored_elsewhere)
    stories = [await _story(scene.endpoints, run, phase, fate) for phase, fate in STORIES]
    return Outcome(_lines(run, gathered), report.json(), partial(_show, run, gathered, stories))


def _standing(run: Run) -> Standing:
    phases = Counter(run.phases.values())
    ended = sum(phases[phase] for phase in FINAL)
    detail = ", ".join(f"{phases[phase]} {phase}" for phase in SHOWN)
    return Standing(len(run.published), len(run.sendings), ended, len(run.orders), detail)


def _lines(run: Run, gathered: Gathered) -> tuple[Line, ...]:
    return (
        *reconcile(gathered.evidence),
        shelves_line(gathered.levels, run.seen.shelves),
        fates_line(run.orders, run.seen.phases),
        messages_line(run.published, run.seen, gathered.ignored),
    )


async def _story(endpoints: Endpoints, run: Run, phase: Phase, fate: Fate) -> tuple[Phase, Story | None]:
    """The first order that ended so, of that fate if there is one."""
    ended = [order for order in run.orders if run.seen.phases.get(process_of(order.placed.order_id)) == phase]
    order = next((order for order in ended if order.fate == fate), next(iter(ended), None))
    return phase, None if order is None else await read_story(endpoints, process_of(order.placed.order_id))


def _show(run: Run, gathered: Gathered, stories: list[tuple[Phase, Story | None]], console: Console) -> None:
    report = make_report(gathered.evidence, run.seen, gathered.ignored, gathered.ignored_elsewhere)
    ignored = dict(ignored_reasons(gathered.ignored))
    if gathered.ignored_elsewhere:
        ignored["no-process"] = gathered.ignored_elsewhere
    print_numbers(console, report, counted(ignored), counted(dead_letter_reasons(run.seen)))
    print_fates(console, fate_rows(run.orders, run.seen.phases))
    for phase, story in stories:
        if story is not None:
            console.print()
            console.print(Rule(f"one {'fulfilled' if phase == 'completed' else 'undone'} order", align="left"))
            print_story(console, tell(*story, standard_catalog()), None)


FLOW = Flow(name="orders", cases="orders", parts=SERVICES, count=COUNT_DEFAULT, rate=RATE_DEFAULT, perform=play)
