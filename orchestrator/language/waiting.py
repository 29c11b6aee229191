"""Blocks that wait for somebody: an event of another service, a signal to this process, a person's approval."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict

from contracts.message import Event, Message
from orchestrator.language.location import Location

SIGNAL_NAME_PATTERN = re.compile(r"^[a-z][a-z0-9]*(-[a-z0-9]+)*$")
EventKey = Callable[[Any], str]


def _caller() -> Location:
    frame = sys._getframe(2)
    return Location(frame.f_code.co_filename, frame.f_lineno)


class Signal(BaseModel):
    """What a person or a program tells one process by its id: `class GoodsArrived(Signal, name="goods-arrived")`.

    Sent by `counterpoint signal PROCESS NAME`. Unknown fields are ignored on reading, as in messages.

    Raises:
        TypeError: the name is not lower-case words joined by hyphens.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    signal: ClassVar[str] = ""

    def __init_subclass__(cls, *, name: str | None = None, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if name is not None and not SIGNAL_NAME_PATTERN.fullmatch(name):
            raise TypeError(f"{cls.__name__}: signal name {name!r}: lower-case words joined by hyphens are wanted")
        cls.signal = name or cls.signal


@dataclass(frozen=True, slots=True)
class WaitFor:
    """`key`: the business key in an awaited event; None for a signal, which names its process.
    `choreographed`: written as `observe`."""

    name: str
    wants: type[Event] | type[Signal]
    key: EventKey | None
    limit: timedelta
    choreographed: bool
    location: Location = field(compare=False)


@dataclass(frozen=True, slots=True)
class Escalation:
    """After so long without a decision, `role` may decide as well, and the world is told."""

    after: timedelta
    role: str


@dataclass(frozen=True, slots=True)
class Approval:
    name: str
    role: str
    form: type[BaseModel] | None
    limit: timedelta
    escalation: Escalation | None
    location: Location = field(compare=False)


Wait = WaitFor | Approval
"""Blocks that are settled by what comes from outside, and that capture it."""


def captured_as(model: type[BaseModel]) -> str:
    """The type name under which what `model` describes is captured, in a stored state and on the wire."""
    if issubclass(model, Message):
        return model.type
    return signal_type(model.signal) if issubclass(model, Signal) else f"form/{model.__name__}"


def signal_type(signal: str) -> str:
    """Told apart from every message type by its slash."""
    return f"signal/{signal}"


def yields_of(block: Wait) -> type[BaseModel] | None:
    """What the block captures."""
    return block.wants if isinstance(block, WaitFor) else block.form


def wait_for(
    wants: type[Event] | type[Signal], *, key: EventKey | None = None, limit: timedelta, name: str | None = None
) -> WaitFor:
    """Wait for an event whose business key is this process', or for a signal to it. Later builders may ask for it.

    Args:
        wants: The event or signal class.
        key: The business key in the event: that of the process which it is for. Not for a signal.
        limit: After so long the block has failed (reason `silent`).
        name: The block's name; default: the class name.

    Raises:
        ValueError: an event without a key, a signal with one, a class without a type name, or no positive limit.
    """
    return _wait(wants, key, limit, name, choreographed=False, location=_caller())


def observe(wants: type[Event], *, key: EventKey, limit: timedelta, name: str | None = None) -> WaitFor:
    """A choreographed event that no command asked for: the process goes on when another service has done its part by
    itself. Otherwise as `wait_for`.

    Raises:
        ValueError: as `wait_for`.
    """
    return _wait(wants, key, limit, name, choreographed=True, location=_caller())


def _wait(
    wants: type[Event] | type[Signal],
    key: EventKey | None,
    limit: timedelta,
    name: str | None,
    *,
    choreographed: bool,
    location: Location,
) -> WaitFor:
    is_signal = issubclass(wants, Signal)
    if is_signal == (key is not None):
        raise ValueError(f"{wants.__name__}: an awaited event has a key=, a signal has none")
    if not (wants.signal if issubclass(wants, Signal) else wants.type):
        raise ValueError(f"{wants.__name__} has no type name that it could be recognised by")
    _check_limit(wants.__name__, limit)
    return WaitFor(name or wants.__name__, wants, key, limit, choreographed, location)


def approval(
    name: str,
    *,
    role: str,
    limit: timedelta,
    form: type[BaseModel] | None = None,
    escalation: tuple[timedelta, str] | None = None,
) -> Approval:
    """A person with `role` approves or rejects. Rejected, the block has failed (reason `refused`).

    Args:
        name: The block's name; `counterpoint approve PROCESS NAME`.
        role: Who may decide.
        limit: After so long the block has failed (reason `silent`).
        form: What the person fills in; later builders may ask for it (of a rejection: as `Form | None`).
        escalation: (after, role): after so long that role may decide as well.

    Raises:
        ValueError: no role, no positive limit, or an escalation that is not before the limit.
    """
    _check_limit(name, limit)
    if not role or (escalation is not None and not escalation[1]):
        raise ValueError(f"{name}: an approval names the role that decides")
    if escalation is not None and not timedelta(0) < escalation[0] < limit:
        raise ValueError(f"{name}: escalation comes after the start and before the limit, not after {escalation[0]}")
    return Approval(name, role, form, limit, Escalation(*escalation) if escalation else None, _caller())


def _check_limit(name: str, limit: timedelta) -> None:
    if limit <= timedelta(0):
        raise ValueError(f"{name}: the limit must be positive, not {limit}")
