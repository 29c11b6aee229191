"""A failing run as something to read: what world it was, and what concerns the process that went wrong."""

from __future__ import annotations

import re
from collections.abc import Iterator

from contracts.ids import partition_of
from contracts.topics import SHARDS
from orchestrator.language.blocks import CommandStep
from orchestrator.language.limits import limits_text
from orchestrator.language.saga import Saga
from orchestrator.testkit.grammar import describe
from tests.simulation.run import Outcome
from tests.simulation.scenario import Scenario

WHOLE_LINES_MAX = 60
"""A trace as short as this is told whole."""
LINES_MAX = 250
PROCESS = re.compile(r"(lab|lab-child|lab-sure|order-fulfilment):[a-z]+\d*-\d+|limiter:[a-z:]+")


def head(scenario: Scenario) -> Iterator[str]:
    """What the world is made of."""
    if scenario.jobs:
        saga = scenario.saga
        yield f"saga lab: {describe(saga.body)}"
        if saga.cancelled is not None:
            yield f"  cancelled: {describe(saga.cancelled)}"
        if saga.cancelled_by is not None:
            yield f"  cancelled_by: {saga.cancelled_by[0].__name__}"
        if saga.keep_ended is not None:
            yield f"  forgotten {saga.keep_ended.total_seconds():.0f} s after its end"
        if saga.on_stuck is not None:
            yield f"  on_stuck: {describe(saga.on_stuck)}"
        if scenario.limiters:
            limited = ", ".join(f"{step.name} ({limits_text(step.limits)})" for step in _limited(saga))
            yield f"  limits: {limits_text(saga.limits) or 'none'} of the whole; {limited}"
        if saga.deadline is not None:
            yield f"  deadline: {saga.deadline.total_seconds():.0f} s"
    yield f"processes: {', '.join(scenario.process_ids)}"
    if scenario.ghosts:
        yield f"never begins: {', '.join(f'lab:{ghost}' for ghost in scenario.ghosts)}"
    if scenario.holders:
        yield f"hold places: {', '.join(scenario.holders)}"
    if scenario.intruders:
        yield f"started by somebody else: {', '.join(one.child_id for one in scenario.intruders)}"
    if scenario.snapshots:
        yield "snapshots are taken"
    yield "faults:" if scenario.faults else "faults: none are needed"
    for fault in scenario.faults:
        yield f"  {fault}"


def _limited(saga: Saga) -> Iterator[CommandStep]:
    return (step for step in saga.steps() if isinstance(step, CommandStep) and step.limits)


def story(outcome: Outcome) -> Iterator[str]:
    """The trace up to the violation; if that names a process, only what concerns it, its shard and the programs."""
    assert outcome.violation is not None
    lines = list(outcome.trace)
    broken = next((place for place, line in enumerate(lines) if "BROKEN: " in line), len(lines) - 1)
    lines = lines[: broken + 1]
    concerned = PROCESS.search(outcome.violation)
    if concerned is not None and len(lines) > WHOLE_LINES_MAX:
        kept = [line for line in lines if _concerns(line, concerned[0])]
        yield f"(of {len(lines)} lines those about {concerned[0]}; --verbose shows all)"
        lines = kept
    if len(lines) > LINES_MAX:
        yield f"(the first {len(lines) - LINES_MAX} lines are left out)"
    yield from lines[-LINES_MAX:]


def _concerns(line: str, process_id: str) -> bool:
    key, shard = process_id.partition(":")[2], partition_of(process_id, SHARDS)
    if key in line or "***" in line or "BROKEN: " in line or line.endswith(" starts"):
        return True
    return f"checkpoint of shard {shard} " in line or ("the engine's group is at" in line and f" {shard}/" in line)
