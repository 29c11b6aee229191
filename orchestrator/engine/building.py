"""Calling a saga author's builders: parameters gathered from the process, every fault turned into `BuilderFailed`."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from pydantic import ValidationError

from contracts.message import Message
from orchestrator.engine.plan import Slot
from orchestrator.engine.process import Outcome, Start, StepState
from orchestrator.language.injection import Ending

PARSED_MAX = 4_096
"""Parsed payloads kept: one order's payload is wanted by several builders, in several decisions."""
DETAIL_LENGTH_MAX = 500


class BuilderFailed(Exception):
    """A builder raised, made something else than it declares, or lacks an outcome. The step is stuck."""


@lru_cache(maxsize=PARSED_MAX)
def parse_payload(model: type[Message], data: bytes) -> Message:
    """Raises pydantic.ValidationError."""
    return model.model_validate_json(data)


def build(
    builder: Any,
    makes: type[Message],
    slots: tuple[Slot, ...],
    start: Start,
    steps: dict[str, StepState],
    ending: Ending | None,
    own: dict[str, Outcome | None],
) -> Message:
    """Call `builder`. `own` overrides what steps have captured (an undo of one try sees that try's outcome).

    Raises:
        BuilderFailed: with what the builder did wrong, in one line.
    """
    try:
        arguments = {slot.parameter: _value(slot, start, steps, ending, own) for slot in slots}
        made = builder(**arguments)
    except BuilderFailed:
        raise
    except Exception as error:
        text = f"{type(error).__name__}: {error}"
        raise BuilderFailed(f"{builder.__name__} raised {text}"[:DETAIL_LENGTH_MAX]) from error
    if type(made) is not makes:
        raise BuilderFailed(f"{builder.__name__} made {type(made).__name__}, but declares {makes.__name__}")
    return made


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
    except ValidationError as error:
        raise BuilderFailed(f"a captured {model.type} does not fit its contract any more: {error}") from error
