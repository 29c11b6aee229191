"""What a person lets happen to a process that is tried, as values: one JSON line each in a recorded session."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

LINES_MAX = 100_000
"""Lines of a session."""


class _Act(msgspec.Struct, frozen=True, tag_field="do", forbid_unknown_fields=True, omit_defaults=True):
    """The kind is told by the field `do`."""


class Start(_Act, frozen=True, tag="start"):
    saga: str
    version: int
    data: dict[str, Any]


class Answer(_Act, frozen=True, tag="answer"):
    """`of`: the command's id after the process, such as `charge/1` or `charge/undo/1`."""

    of: str
    type: str
    data: dict[str, Any]


class Child(_Act, frozen=True, tag="child"):
    """How a process ended that a step started. `of`: the id of its start, or of its undo, such as `ship/1`.
    `data`: what it returned."""

    of: str
    phase: Literal["completed", "compensated", "cancelled", "not-started"]
    reason: str | None = None
    data: dict[str, Any] | None = None


class Silence(_Act, frozen=True, tag="silence"):
    """Time passes until this timer is due."""

    timer: str


class Event(_Act, frozen=True, tag="event"):
    """An event that no command asked for."""

    type: str
    data: dict[str, Any]


class Signal(_Act, frozen=True, tag="signal"):
    name: str
    data: dict[str, Any]


class Approval(_Act, frozen=True, tag="approval"):
    """What a person decides: `approve` or `reject`. `form`: what that person fills in. `role`: as whom; without one,
    as the command line does, which may do anything."""

    step: str
    decision: Literal["approve", "reject"]
    form: dict[str, Any] | None = None
    role: str | None = None


class Cancel(_Act, frozen=True, tag="cancel"):
    """A person calls the process off."""


class Operator(_Act, frozen=True, tag="operator"):
    """`fields` as in `orchestrator.operator-action.v1`, without process, revision and operator."""

    fields: dict[str, Any]


class End(_Act, frozen=True, tag="end"):
    """Where the process stands at last. `sent`: every message that it published, as [id, type], in order."""

    phase: str
    step: str | None = None
    reason: str | None = None
    stuck: dict[str, str] = {}
    sent: list[tuple[str, str]] = []


Act = Start | Answer | Child | Silence | Event | Signal | Approval | Cancel | Operator
_decoder = msgspec.json.Decoder(Act | End)


class SessionError(ValueError):
    """A line of a recorded session cannot be read; the message names it."""


def read_session(text: bytes) -> tuple[tuple[Act, ...], End | None]:
    """The acts, and the asserted end if the session has one. Raises SessionError."""
    acts: list[Act] = []
    end: End | None = None
    lines = [(number, line) for number, line in enumerate(text.splitlines(), 1) if line.strip()]
    if len(lines) > LINES_MAX:
        raise SessionError(f"a session has at most {LINES_MAX} lines, not {len(lines)}")
    for number, line in lines:
        try:
            act = _decoder.decode(line)
        except msgspec.DecodeError as error:
            raise SessionError(f"line {number}: {error}") from error
        if end is not None or isinstance(act, Start) != (not acts):
            raise SessionError(f"line {number}: a session begins with start, once, and nothing comes after end")
        if isinstance(act, End):
            end = act
        else:
            acts.append(act)
    if not acts:
        raise SessionError("the session is empty")
    return tuple(acts), end


def write_session(acts: tuple[Act, ...], end: End) -> bytes:
    return b"".join(msgspec.json.encode(act) + b"\n" for act in (*acts, end))


def differences(wanted: End, found: End) -> tuple[str, ...]:
    """How two ends differ, one line each; none: they are the same."""
    lines = [
        f"{name}: {getattr(wanted, name)!r} was recorded, now it is {getattr(found, name)!r}"
        for name in ("phase", "step", "reason", "stuck")
        if getattr(wanted, name) != getattr(found, name)
    ]
    if wanted.sent != found.sent:
        lines.append(_first_sent(wanted.sent, found.sent))
    return tuple(lines)


def _first_sent(wanted: list[tuple[str, str]], found: list[tuple[str, str]]) -> str:
    """The first message that differs; what comes after it usually follows from it."""
    place = next((n for n, (one, other) in enumerate(zip(wanted, found, strict=False)) if one != other), None)
    if place is None:
        place = min(len(wanted), len(found))
    return f"message {place + 1}: {_named(wanted, place)} was recorded, now it is {_named(found, place)}"


def _named(sent: list[tuple[str, str]], place: int) -> str:
    return " ".join(reversed(sent[place])) if place < len(sent) else "none"
