"""Calling a saga author's builders: parameters gathered from the process, every fault turned into `BuilderFailed`."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from contracts.message import Message
from orchestrator.engine.plan import Slot
from orchestrator.engine.process import Outcome, Start, StepState
from orchestrator.language.injection import Ending

PARSED_MAX = 4_096
"""Parsed payloads kept: one order's payload is wanted by several builders, in several decisions."""
PARSED_BYTES_MAX = 16 * 1024
"""A larger payload is parsed every time, so that the cache has at most 64 MiB of payloads."""
DETAIL_LENGTH_MAX = 500
"""Characters of an author's exception that are kept."""


class BuilderFailed(Exception):
    """A builder raised, made something else than it declares, or lacks an outcome. The step is stuck.

    Its text is one line that fits into a history, a lifecycle event and a state, whatever the author's exception says.
    """

    def __init__(self, text: str) -> None:
        super().__init__(text[:DETAIL_LENGTH_MAX].encode(errors="replace").decode())


class PayloadInvalid(ValueError):
    """A payload does not fit its contract."""


@dataclass(frozen=True, slots=True)
class Built:
    """A message that a builder has made, ready to be sent."""

    key: str
    data: bytes


def parse_payload(model: type[Message], data: bytes) -> Message:
    """Raises PayloadInvalid, whatever a contract's own validators raise."""
    try:
        return _parse_small(model, data) if len(data) <= PARSED_BYTES_MAX else model.model_validate_json(data)
    except Exception as error:
        raise PayloadInvalid(_said(error)) from error


@lru_cache(maxsize=PARSED_MAX)
def _parse_small(model: type[Message], data: bytes) -> Message:
    return model.model_validate_json(data)


def build(
    builder: Any,
    makes: type[Message],
    slots: tuple[Slot, ...],
    start: Start,
    steps: dict[str, StepState],
    ending: Ending | None,
    own: dict[str, Outcome | None],
) -> Built:
    """Call `builder`. `own` overrides what steps have captured (an undo of one try sees that try's outcome).

    Raises:
        BuilderFailed: with what the builder did wrong, in one line.
    """
    try:
        arguments = {slot.parameter: _value(slot, start, steps, ending, own) for slot in slots}
        made = builder(**arguments)
        if type(made) is not makes:
            raise BuilderFailed(f"{builder.__name__} made {type(made).__name__}, but declares {makes.__name__}")
        built = Built(made.key, made.to_json())
        built.key.encode()
    except BuilderFailed:
        raise
    except Exception as error:
        raise BuilderFailed(f"{builder.__name__} raised {_said(error)}") from error
    return built


def _said(error: Exception) -> str:
    """The exception in one line, even if it cannot say what it is."""
    try:
        return f"{type(error).__name__}: {error}".replace("\n", " ")
    except Exception:  # noqa: BLE001 - whatever an author's __str__ does, the process is stuck and the shard goes on
        return type(error).__name__


def _value(
    slot: Slot, start: Start, steps: dict[str, StepState], ending: Ending | None, own: dict[str, Outcome | None]
) -> object:
    if slot.kind == "ending":
        return ending
    if slot.kind == "start":
        return _parsed(slot.wants, start.data)
    captured = [outcome for name in slot.steps for outcome in _captured(name, steps, own) if _is(outcome, slot.wants)]
    if len(captured) == 1:
        return _parsed(slot.wants, captured[0].data)
    if not captured and slot.optional:
        return None
    found = "nothing has captured it" if not captured else "several steps have captured it"
    raise BuilderFailed(f"parameter {slot.parameter!r} wants {slot.wants.type}, but {found}")


def _captured(name: str, steps: dict[str, StepState], own: dict[str, Outcome | None]) -> list[Outcome]:
    if name in own:
        outcome = own[name]
        return [] if outcome is None else [outcome]
    state = steps.get(name)
    return [] if state is None else [outcome for outcome in (state.outcome, state.refusal) if outcome is not None]


def _is(outcome: Outcome, wants: type[Message]) -> bool:
    return outcome.type == wants.type


def _parsed(model: type[Message], data: bytes) -> Message:
    try:
        return parse_payload(model, data)
    except PayloadInvalid as error:
        raise BuilderFailed(f"a captured {model.type} does not fit its contract any more: {error}") from error
