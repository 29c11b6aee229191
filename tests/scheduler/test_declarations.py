"""The file of schedules: what it may say, and every mistake with its place and reason."""

from __future__ import annotations

from pathlib import Path

import pytest

from contracts.catalog import standard_catalog
from contracts.envelope import decode_headers
from contracts.schedules import ScheduleTick
from contracts.shipping import LabelVoided
from services.scheduler.announce import event_of, record_of
from services.scheduler.declarations import (
    FILE_BYTES_MAX,
    SCHEDULES_MAX,
    DeclarationsError,
    declared_json,
    from_declared_json,
    parse_declarations,
    read_declarations,
)
from services.scheduler.schedule import Misfire, Schedule
from services.scheduler.timing import Cron, Once, moment_of

CATALOG = standard_catalog()
DUE_MS = 1_767_225_600_000


def one(body: str, name: str = "s") -> Schedule:
    (found,) = parse_declarations(f'[[schedule]]\nid = "{name}"\n{body}', CATALOG)
    return found


def test_the_smallest_schedule() -> None:
    assert one('cron = " 0 3  * * *"') == Schedule("s", Cron("0 3 * * *", "UTC"), Misfire.ONCE)


def test_a_schedule_with_everything() -> None:
    found = one(
        'cron = "0 3 * * *"\nzone = "Europe/Berlin"\nmisfire = "catch-up"\ncatch_up_max = 7\njitter = "5m"\n'
        'event = "shipping.label-voided.v1"\nfields = { order_id = "standing-{due_id}" }'
    )
    assert (found.timing, found.misfire, found.catch_up_max) == (Cron("0 3 * * *", "Europe/Berlin"), "catch-up", 7)
    assert 0 <= found.delay_ms < 300_000
    assert found.delay_ms != one('cron = "0 3 * * *"\njitter = "5m"', "other").delay_ms
    assert event_of(found, DUE_MS) == LabelVoided(order_id="standing-20260101T000000Z")
    assert event_of(found, DUE_MS + 5) == LabelVoided(order_id="standing-20260101T000000.005Z")


@pytest.mark.parametrize(
    ("body", "at"),
    [
        ("at = 2026-12-24T18:00:00+01:00", "2026-12-24T17:00:00+00:00"),
        ('at = 2026-12-24T18:00:00\nzone = "Europe/Berlin"', "2026-12-24T17:00:00+00:00"),
        ('at = 2026-10-25T02:30:00\nzone = "Europe/Berlin"', "2026-10-25T00:30:00+00:00"),
    ],
)
def test_one_moment(body: str, at: str) -> None:
    timing = one(body).timing
    assert isinstance(timing, Once)
    assert moment_of(timing.at_ms).isoformat() == at


MISTAKES = (
    ('cron = "61 * * * *"', "schedule[0] (s).cron: '61' is no minute"),
    ('cron = "* * * * *"\nzone = "Mars/Base"', "schedule[0] (s).zone: 'Mars/Base' is no time zone"),
    ('cron = "* * * * *"\nzone = "../etc"', "schedule[0] (s).zone: '../etc' is no time zone"),
    ("", "schedule[0] (s).cron: give either `cron` or `at`"),
    ('cron = "* * * * *"\nat = 2026-01-01T00:00:00Z', "schedule[0] (s).cron: give either `cron` or `at`, not both"),
    ("at = 2026-01-01T00:00:00", "schedule[0] (s).at: 2026-01-01T00:00:00 says no offset"),
    ('at = 2026-01-01T00:00:00Z\nzone = "UTC"', "schedule[0] (s).zone: `at` says its own offset"),
    ("at = 2026-01-01T00:00:00.5Z", "schedule[0] (s).at: is a whole second"),
    ('at = 2026-03-29T02:30:00\nzone = "Europe/Berlin"', "does not exist in Europe/Berlin"),
    ('at = "tomorrow"', "schedule[0] (s).at: Input should be a valid datetime"),
    ('cron = "* * * * *"\nmisfire = "all"', "schedule[0] (s).misfire: Input should be 'once', 'skip' or 'catch-up'"),
    ('cron = "* * * * *"\ncatch_up_max = 3', 'catch_up_max: goes with misfire = "catch-up"'),
    ('cron = "* * * * *"\nmisfire = "catch-up"\ncatch_up_max = 100000', "catch_up_max: Input should be less than"),
    ('cron = "* * * * *"\njitter = "2h"', "schedule[0] (s).jitter: '2h' is no time span up to an hour"),
    ('cron = "* * * * *"\nfields = {}', "schedule[0] (s).fields: belong to an event"),
    ('cron = "* * * * *"\nevent = "orders.plced.v1"', "schedule[0] (s).event: there is no message type"),
    ('cron = "* * * * *"\nevent = "payment.charge.v1"', "payment.charge.v1 is no event of a business context"),
    (
        'cron = "* * * * *"\nevent = "orchestrator.cancel.v1"',
        "orchestrator.cancel.v1 is no event of a business context",
    ),
    (
        'cron = "* * * * *"\nevent = "shipping.label-voided.v1"\nfields = { order_id = "o:{due_id}" }',
        "schedule[0] (s).fields: make no shipping.label-voided.v1: order_id: String should match",
    ),
    ('cron = "* * * * *"\ncorn = 1', "schedule[0] (s).corn: is not known"),
    ('cron = "* * * * *"\n[[schedule]]\nid = "s"\ncron = "* * * * *"', "schedule[1] (s).id: 's' is declared twice"),
    ('cron = "* * * * *"\n[[schedule]]\nid = "a b"\ncron = "* * * * *"', "schedule[1] (a b).id: 'a b' is not 1-128"),
    ('cron = "* * * * *"\n[[schedule]]\ncron = "* * * * *"', "schedule[1].id: Field required"),
)


@pytest.mark.parametrize(("body", "complaint"), MISTAKES)
def test_a_mistake_is_named_with_file_place_and_reason(body: str, complaint: str, tmp_path: Path) -> None:
    file = tmp_path / "schedules.toml"
    file.write_text(f'[[schedule]]\nid = "s"\n{body}')
    with pytest.raises(DeclarationsError) as error:
        read_declarations(file, CATALOG)
    (mistake,) = error.value.mistakes
    assert mistake.startswith(f"{file}: schedule[") and complaint in mistake


def test_all_mistakes_come_at_once() -> None:
    text = '[[schedule]]\nid = "a"\ncron = "x * * * *"\n[[schedule]]\nid = "b"\nzone = "Nowhere"\nwhat = 1\ncron = "x"'
    with pytest.raises(DeclarationsError) as error:
        parse_declarations(text, CATALOG)
    assert len(error.value.mistakes) == 2


def test_what_is_no_file_of_schedules(tmp_path: Path) -> None:
    file = tmp_path / "schedules.toml"
    with pytest.raises(DeclarationsError, match="cannot be read: No such file"):
        read_declarations(file, CATALOG)
    for content, complaint in (
        (b"= 1", "is not TOML"),
        (b"\xff", "is not TOML"),
        (b"schedules = 1", "schedules: is not known"),
        (b"schedule = 1", "is one table"),
        (b"schedule = [1]", "is not a table"),
        (b"#" * (FILE_BYTES_MAX + 1), "is larger than"),
        (b'[[schedule]]\nid="s"\ncron="* * * * *"\n' * (SCHEDULES_MAX + 1), "at most 1000 are allowed"),
    ):
        file.write_bytes(content)
        with pytest.raises(DeclarationsError, match=complaint):
            read_declarations(file, CATALOG)
    file.write_text("")
    assert read_declarations(file, CATALOG) == ()


def test_what_is_left_for_the_command_line_says_when_it_is_due() -> None:
    for body in ('cron = "0 3 * * *"\nzone = "Europe/Berlin"\njitter = "1m"', "at = 2026-12-24T18:00:00Z"):
        found = one(body)
        assert from_declared_json("s", declared_json(found)) == found


def test_a_tick_is_the_same_to_the_byte_whoever_announces_it() -> None:
    tick = one('cron = "* * * * *"')
    record = record_of(tick, DUE_MS)
    assert record == record_of(one('cron = "0 0 1 1 *"'), DUE_MS)
    assert (record.topic, record.key) == ("schedules.events", b"s")
    assert ScheduleTick.model_validate_json(record.value) == ScheduleTick(schedule_id="s", due_at=moment_of(DUE_MS))
    envelope = decode_headers(record.headers)
    assert (envelope.source, envelope.type) == ("/counterpoint/scheduler", "schedules.tick.v1")
    others = [record_of(tick, DUE_MS + 1_000), record_of(one('cron = "* * * * *"', "t"), DUE_MS)]
    others += [record_of(tick, DUE_MS, "r1"), record_of(tick, DUE_MS, "r2")]
    assert len({decode_headers(one.headers).id for one in (record, *others)}) == 5
