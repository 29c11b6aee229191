"""From the words of the command line to a link's invitation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import get_args

import orjson

from services.sdk.resume_link import Approval, FieldKind, Invitation, Signal


@dataclass(frozen=True, slots=True)
class Asked:
    """`asks`: `name=kind` each."""

    process_id: str
    signal: str | None
    approval: str | None
    by: str | None
    roles: tuple[str, ...]
    asks: tuple[str, ...]
    text: str


def invitation_of(asked: Asked, content: bytes, expires_s: int) -> Invitation:
    """`content`: a JSON object, the signal's payload or the approval's form. Raises ValueError."""
    values = orjson.loads(content)
    if not isinstance(values, dict):
        raise ValueError("the payload is not a JSON object")
    if (asked.signal is None) == (asked.approval is None):
        raise ValueError("say either --signal or --approval")
    if asked.signal is not None:
        if asked.roles or asked.asks:
            raise ValueError("--role and --ask belong to --approval")
        return Invitation(asked.process_id, Signal(asked.signal, values, asked.by), expires_s, asked.text)
    if asked.by is None or asked.approval is None:
        raise ValueError("an approval is decided in somebody's name: say --by")
    approval = Approval(
        asked.approval, asked.by, asked.roles or None, form=values, asks=dict(_ask(one) for one in asked.asks)
    )
    return Invitation(asked.process_id, approval, expires_s, asked.text)


def _ask(words: str) -> tuple[str, FieldKind]:
    name, _, kind = words.partition("=")
    for known in get_args(FieldKind):
        if kind == known and name:
            return name, known
    raise ValueError(f"--ask {words!r} is not NAME=KIND with a KIND of {', '.join(get_args(FieldKind))}")
