"""`deadline-too-short`: a saga's deadline leaves time for the limits that its own blocks have.

The longest path before the pivot: patience and back-offs of each step, sleeps, limits of waits; the longest of parallel
blocks and branches; all alternatives of a fallback; a loop as often as its bound allows, less what runs at once. A
shorter deadline cuts off what the author allows elsewhere. A child takes as long as its own deadline, or else its own
limits, allow. What `sleep_until` waits for is not known here.

Back-offs that alone reach the deadline are reported by `retry-never-happens`, and not once more here.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from math import ceil

from orchestrator.language.blocks import Block, CommandStep, Parallel, Pivot, Sequence, Subsaga, children_of
from orchestrator.language.flow import Choice, ForEach, Repeat, Sleep
from orchestrator.language.waiting import Approval, WaitFor
from orchestrator.verify.finding import Finding
from orchestrator.verify.handlers import Handlers
from orchestrator.verify.rules.retry import back_off
from orchestrator.verify.subject import Subject

RULE = "deadline-too-short"


@dataclass(frozen=True, slots=True)
class Longest:
    """`path`: what takes so long, in order."""

    time: timedelta
    path: tuple[str, ...] = ()

    def __add__(self, other: Longest) -> Longest:
        return Longest(self.time + other.time, self.path + other.path)


NOTHING = Longest(timedelta(0))


def check(subject: Subject, handlers: Handlers) -> Iterator[Finding]:
    saga = subject.saga
    if saga.deadline is None or saga.deadline <= timedelta(0):
        return
    if any(back_off(step.retry) >= saga.deadline for step in saga.steps() if isinstance(step, CommandStep)):
        return
    longest = longest_path(saga.body)
    if longest.time > saga.deadline:
        message = f"the deadline is {saga.deadline}, but the limits of its own blocks add up to {longest.time}"
        fix = f"raise the deadline to at least {longest.time}, or lower a patience, sleep, limit or bound on the path"
        yield subject.at(RULE, saga.location, message, fix, " > ".join(longest.path))


def longest_path(block: Block, *, to_pivot: bool = True) -> Longest:
    """The most time that a block may take by its own limits, up to a pivot in it or all of it."""
    if isinstance(block, CommandStep):
        time = block.patience + back_off(block.retry)
        return Longest(time, (f"{block.name} ({time})",))
    if isinstance(block, Subsaga):
        time = block.child.deadline or longest_path(block.child.body, to_pivot=False).time
        return Longest(time, (f"{block.name} ({time})",))
    if isinstance(block, Sleep):
        return NOTHING if block.duration is None else Longest(block.duration, (f"{block.name} ({block.duration})",))
    if isinstance(block, WaitFor | Approval):
        return Longest(block.limit, (f"{block.name} ({block.limit})",))
    if isinstance(block, ForEach | Repeat):
        times = ceil(block.bound / block.concurrency) if isinstance(block, ForEach) else block.bound
        inside = longest_path(block.body, to_pivot=to_pivot)
        return Longest(inside.time * times, (f"{block.name} ({times} times {inside.time})",))
    if isinstance(block, Parallel | Choice):
        inside_each = (longest_path(child, to_pivot=to_pivot) for child in children_of(block))
        return max(inside_each, key=lambda one: one.time, default=NOTHING)
    total = NOTHING
    for child in children_of(block):
        if to_pivot and isinstance(child, Pivot) and isinstance(block, Sequence):
            break
        total += longest_path(child, to_pivot=to_pivot)
    return total
