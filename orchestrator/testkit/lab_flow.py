"""The laboratory's blocks that decide which blocks run: their functions are named after what they do, so that a judge
can tell what must have happened without asking the engine."""

# Annotations are evaluated here (no `from __future__ import annotations`): `From` names a closure's step.
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Annotated, TypeVar

from pydantic import BaseModel, ConfigDict

from orchestrator.language.blocks import Block
from orchestrator.language.flow import BOUND_MAX, ForEach, Repeat, Sleep, for_each, repeat, sleep, sleep_until
from orchestrator.language.injection import From
from orchestrator.testkit.lab import Begun, Done

Value = TypeVar("Value")
MOMENT = datetime(2026, 1, 1, 9, 1, tzinfo=UTC)
"""A minute after every test begins."""


class Item(BaseModel):
    """An element of every `for_each` of the laboratory."""

    model_config = ConfigDict(frozen=True)

    number: int


def predicate(name: str, *, raises: Exception | None = None) -> Callable[..., bool]:
    """`always`, `never`, or, inside a `for_each`, `odd` (its element's number)."""

    def always(begun: Begun) -> bool:
        return _raise_or(raises, True)

    def never(begun: Begun) -> bool:
        return _raise_or(raises, False)

    def odd(item: Item) -> bool:
        return _raise_or(raises, item.number % 2 == 1)

    named: dict[str, Callable[..., bool]] = {"always": always, "never": never, "odd": odd}
    return named[name]


def each(
    count: int, body: Block, *, name: str, concurrency: int = 1, bound: int = 50, raises: Exception | None = None
) -> ForEach:
    """The body for `count` elements, numbered from 0."""

    def elements(begun: Begun) -> tuple[Item, ...]:
        return _raise_or(raises, tuple(Item(number=number) for number in range(count)))

    elements.__name__ = f"elements_{count}"
    return for_each(elements, body, bound=bound, concurrency=concurrency, name=name)


def rounds(
    count: int, body: Block, *, counted: str | None, name: str, bound: int = 5, raises: Exception | None = None
) -> Repeat:
    """The body `count` times; `counted` is a step in it whose success marks the round by its command id. A round whose
    step has no such mark is the last. Without such a step: once, or as often as the bound allows, and never enough."""
    if counted is None:
        until: Callable[..., bool] = predicate("always" if count == 1 else "never", raises=raises)
        until.__name__ = f"enough_{1 if count == 1 else BOUND_MAX}"
        return repeat(body, until=until, bound=bound, name=name)

    def enough(done: Annotated[Done | None, From(counted)]) -> bool:
        found = re.search(rf"/(?:.*\.)?{re.escape(name)}\[(\d+)\]", done.mark) if done else None
        return _raise_or(raises, found is None or int(found[1]) + 1 >= count)

    enough.__name__ = f"enough_{count}"
    return repeat(body, until=enough, bound=bound, name=name)


def pause(name: str, time: timedelta) -> Sleep:
    return sleep(time, name=name)


def pause_until(name: str, moment: datetime = MOMENT, *, raises: Exception | None = None) -> Sleep:
    def wanted(begun: Begun) -> datetime:
        return _raise_or(raises, moment)

    return sleep_until(wanted, name=name)


def _raise_or(error: Exception | None, value: Value) -> Value:
    if error is not None:
        raise error
    return value
