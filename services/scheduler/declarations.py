"""The file in which schedules are declared, read and checked whole: every mistake is named, with file, key and reason.

[[schedule]]
id = "nightly-stock-report"
cron = "0 3 * * *"           # or: at = 2026-12-24T18:00:00+01:00
zone = "Europe/Berlin"       # default UTC
misfire = "once"             # or "skip", "catch-up" (with catch_up_max, default 100)
jitter = "30s"               # spread over so much time, each schedule at a place of its own
event = "orders.placed.v1"   # default schedules.tick.v1
fields = { order_id = "standing-{due_id}" }
"""

from __future__ import annotations

import hashlib
import re
import tomllib
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal
from zoneinfo import ZoneInfoNotFoundError

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from contracts.catalog import CONTEXTS, Catalog
from contracts.message import Event, Identifier
from contracts.schedules import ScheduleTick
from services.scheduler.announce import event_of
from services.scheduler.schedule import CATCH_UP_DEFAULT, CATCH_UP_MAX, Misfire, Schedule
from services.scheduler.timing import Cron, CronMistake, Once, Timing, checked_cron, ms_of, zone_of

FILE_BYTES_MAX = 1024 * 1024
SCHEDULES_MAX = 1_000
JITTER_MS_MAX = 60 * 60 * 1_000
SAMPLE_MS = 1_767_225_600_000
"""2026-01-01T00:00:00Z: the due time for which a schedule's event is made to see whether it can be."""
_SPAN = re.compile(r"^(\d{1,6})(s|m|h)$")
_SPAN_MS = {"s": 1_000, "m": 60_000, "h": 3_600_000}
_IDENTIFIER: TypeAdapter[str] = TypeAdapter(Identifier)


class DeclarationsError(ValueError):
    """The file declares something that makes no sense. `mistakes`: one line each, `FILE: key: reason`."""

    def __init__(self, mistakes: Sequence[str]) -> None:
        super().__init__("; ".join(mistakes))
        self.mistakes = tuple(mistakes)


class _Mistake(ValueError):
    def __init__(self, key: str, reason: str) -> None:
        super().__init__(reason)
        self.key = key
        self.reason = reason


class _Declared(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    id: str
    cron: str | None = None
    at: datetime | None = None
    zone: str | None = None
    misfire: Literal["once", "skip", "catch-up"] = "once"
    catch_up_max: int | None = Field(default=None, ge=1, le=CATCH_UP_MAX)
    jitter: str | None = None
    event: str | None = None
    fields: dict[str, Any] | None = None


def read_declarations(file: Path, catalog: Catalog) -> tuple[Schedule, ...]:
    """The schedules in `file`, in its order. Raises DeclarationsError."""
    try:
        with file.open("rb") as opened:
            text = opened.read(FILE_BYTES_MAX + 1)
    except OSError as error:
        raise DeclarationsError([f"{file}: cannot be read: {error.strerror}"]) from None
    if len(text) > FILE_BYTES_MAX:
        raise DeclarationsError([f"{file}: is larger than {FILE_BYTES_MAX} bytes"])
    try:
        return parse_declarations(text.decode(), catalog)
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise DeclarationsError([f"{file}: is not TOML: {error}"]) from None
    except DeclarationsError as error:
        raise DeclarationsError([f"{file}: {mistake}" for mistake in error.mistakes]) from None


def parse_declarations(text: str, catalog: Catalog) -> tuple[Schedule, ...]:
    """Raises tomllib.TOMLDecodeError, DeclarationsError (without the file's name)."""
    content = tomllib.loads(text)
    strangers = [
        f"{name}: is not known; schedules are declared as [[schedule]]" for name in content.keys() - {"schedule"}
    ]
    tables = content.get("schedule", [])
    if strangers or not isinstance(tables, list):
        raise DeclarationsError(sorted(strangers) or ["schedule: is one table; write [[schedule]], in two brackets"])
    if len(tables) > SCHEDULES_MAX:
        raise DeclarationsError([f"schedule: {len(tables)} of them, at most {SCHEDULES_MAX} are allowed"])
    mistakes: list[str] = []
    found: dict[str, Schedule] = {}
    for number, table in enumerate(tables):
        try:
            schedule = _schedule(_declared(table), catalog)
            if schedule.id in found:
                raise _Mistake("id", f"{schedule.id!r} is declared twice")
            found[schedule.id] = schedule
        except _Mistake as mistake:
            mistakes.append(f"schedule[{number}]{_named(table)}.{mistake.key}: {mistake.reason}")
        except ValidationError as error:
            mistakes += [f"schedule[{number}]{_named(table)}.{line}" for line in _lines(error)]
    if mistakes:
        raise DeclarationsError(mistakes)
    return tuple(found.values())


def _declared(table: Any) -> _Declared:
    if not isinstance(table, dict):
        raise _Mistake("", "is not a table")
    return _Declared.model_validate(table)


def _named(table: Any) -> str:
    """The schedule's own name behind its number, since nobody counts."""
    name = table.get("id") if isinstance(table, dict) else None
    return f" ({name[:128]})" if isinstance(name, str) and name else ""


def _lines(error: ValidationError, prefix: str = "") -> Iterable[str]:
    for one in error.errors(include_url=False, include_input=False, include_context=False):
        where = ".".join(str(part) for part in one["loc"])
        yield f"{prefix}{where}: {'is not known' if one['type'] == 'extra_forbidden' else one['msg']}"


def _schedule(declared: _Declared, catalog: Catalog) -> Schedule:
    try:
        _IDENTIFIER.validate_python(declared.id)
    except ValidationError:
        raise _Mistake("id", f"{declared.id[:200]!r} is not 1-128 of A-Z, a-z, 0-9, '.', '_', '-'") from None
    misfire = Misfire(declared.misfire)
    if declared.catch_up_max is not None and misfire is not Misfire.CATCH_UP:
        raise _Mistake("catch_up_max", f'goes with misfire = "catch-up", and it is "{misfire}"')
    event = _event(declared, catalog)
    schedule = Schedule(
        id=declared.id,
        timing=_timing(declared),
        misfire=misfire,
        catch_up_max=declared.catch_up_max or CATCH_UP_DEFAULT,
        delay_ms=_delay_ms(declared),
        event=event,
        fields=declared.fields or {},
    )
    try:
        event_of(schedule, SAMPLE_MS)
    except ValidationError as error:
        raise _Mistake("fields", f"make no {event.type}: {'; '.join(_lines(error))}") from None
    except TypeError as error:
        raise _Mistake("fields", f"cannot be written as JSON: {error}") from None
    return schedule


def _event(declared: _Declared, catalog: Catalog) -> type[Event]:
    if declared.event is None:
        if declared.fields is not None:
            raise _Mistake("fields", "belong to an event; name it with `event`")
        return ScheduleTick
    found = catalog.get(declared.event)
    if found is None:
        raise _Mistake("event", f"there is no message type {declared.event!r}")
    if not issubclass(found, Event) or declared.event.split(".", 1)[0] not in CONTEXTS:
        raise _Mistake(
            "event", f"{declared.event} is no event of a business context; a schedule publishes nothing else"
        )
    if found is ScheduleTick and declared.fields is not None:
        raise _Mistake("fields", f"{declared.event} has the fields that the scheduler gives it")
    return found


def _timing(declared: _Declared) -> Timing:
    zone = "UTC" if declared.zone is None else declared.zone
    try:
        zone_of(zone)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise _Mistake(
            "zone", f"{zone[:100]!r} is no time zone; write one of the IANA list, as Europe/Berlin"
        ) from None
    if (declared.cron is None) == (declared.at is None):
        raise _Mistake("cron", "give either `cron` or `at`" + ("" if declared.cron is None else ", not both"))
    if declared.at is not None:
        return Once(_at_ms(declared.at, declared.zone))
    assert declared.cron is not None
    try:
        return checked_cron(declared.cron, zone)
    except CronMistake as error:
        raise _Mistake("cron", str(error)) from None


def _at_ms(at: datetime, zone: str | None) -> int:
    """A local time is one of `zone`; where it comes twice, the first."""
    if at.tzinfo is None:
        if zone is None:
            raise _Mistake("at", f"{at.isoformat()} says no offset: write one, or name a `zone`")
        at = at.replace(tzinfo=zone_of(zone))
        if at.astimezone(UTC).astimezone(at.tzinfo).replace(tzinfo=None) != at.replace(tzinfo=None):
            raise _Mistake(
                "at", f"{at.replace(tzinfo=None).isoformat()} does not exist in {zone}: the clock leaps over it"
            )
    elif zone is not None:
        raise _Mistake("zone", "`at` says its own offset; leave one of them out")
    if at.microsecond:
        raise _Mistake("at", "is a whole second")
    return ms_of(at)


def _delay_ms(declared: _Declared) -> int:
    """The schedule's place within its jitter, by its id: schedules of one minute spread, and each stays where it is."""
    if declared.jitter is None:
        return 0
    found = _SPAN.match(declared.jitter)
    span_ms = int(found[1]) * _SPAN_MS[found[2]] if found else 0
    if not 0 < span_ms <= JITTER_MS_MAX:
        raise _Mistake("jitter", f"{declared.jitter[:50]!r} is no time span up to an hour; write 30s, 5m or 1h")
    return int.from_bytes(hashlib.sha256(declared.id.encode()).digest()[:8], "big") % span_ms


def declared_json(schedule: Schedule) -> dict[str, Any]:
    """What the command line shows of a declaration; the leader leaves it in the store."""
    timing = schedule.timing
    when = {"cron": timing.expression, "zone": timing.zone} if isinstance(timing, Cron) else {"at_ms": timing.at_ms}
    return {
        **when,
        "misfire": str(schedule.misfire),
        "catch_up_max": schedule.catch_up_max,
        "delay_ms": schedule.delay_ms,
        "event": schedule.event.type,
    }


def from_declared_json(schedule_id: str, content: dict[str, Any]) -> Schedule:
    """The schedule without its event: for when it is next due."""
    timing: Timing = Once(content["at_ms"]) if "at_ms" in content else Cron(content["cron"], content["zone"])
    return Schedule(
        id=schedule_id,
        timing=timing,
        misfire=Misfire(content["misfire"]),
        catch_up_max=content["catch_up_max"],
        delay_ms=content["delay_ms"],
    )
