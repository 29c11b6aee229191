"""From a due time to the record that says so. Pure, and deterministic to the byte: whoever announces a due time, and
however often, it is the same message."""

from __future__ import annotations

from typing import Any, Final

import orjson

from contracts.envelope import Envelope, encode_headers, format_time
from contracts.ids import handler_message_id, service_source
from contracts.message import Event
from contracts.record import OutgoingRecord
from contracts.schedules import ScheduleTick
from services.scheduler.schedule import Schedule
from services.scheduler.timing import moment_of

NAME: Final = "scheduler"
PLACEHOLDERS: Final = ("{schedule_id}", "{due_at}", "{due_id}")
"""In the texts of a schedule's `fields`. `{due_at}` is RFC 3339, `{due_id}` the same as an identifier is written."""


def event_of(schedule: Schedule, due_ms: int) -> Event:
    """Raises pydantic's ValidationError if the schedule's fields do not make its event."""
    if schedule.event is ScheduleTick:
        return ScheduleTick(schedule_id=schedule.id, due_at=moment_of(due_ms))
    values = (schedule.id, format_time(due_ms), _due_id(due_ms))
    return schedule.event.model_validate_json(orjson.dumps(_filled(dict(schedule.fields), values)))


def record_of(schedule: Schedule, due_ms: int, run_id: str | None = None) -> OutgoingRecord:
    """`run_id`: a person asked for this run. Its time may be that of a due time, and it is another event."""
    event = event_of(schedule, due_ms)
    due_at = format_time(due_ms)
    cause = due_at if run_id is None else f"{due_at} {run_id}"
    identity = handler_message_id(NAME, schedule.id, cause, event.type, 0)
    envelope = Envelope(id=identity, source=service_source(NAME), type=event.type, time=due_at)
    return OutgoingRecord(event.topic, event.key.encode(), event.to_json(), encode_headers(envelope))


def _due_id(due_ms: int) -> str:
    """`20260101T030000Z`; with milliseconds where there are any."""
    moment = moment_of(due_ms)
    thousandths = due_ms % 1_000
    return f"{moment:%Y%m%dT%H%M%S}{f'.{thousandths:03d}' if thousandths else ''}Z"


def _filled(value: Any, values: tuple[str, ...]) -> Any:
    if isinstance(value, str):
        for name, text in zip(PLACEHOLDERS, values, strict=True):
            value = value.replace(name, text)
        return value
    if isinstance(value, dict):
        return {name: _filled(part, values) for name, part in value.items()}
    if isinstance(value, list):
        return [_filled(part, values) for part in value]
    return value
