"""Every kind of bad input has its fate, its reason and its counter, and stops nothing."""

from __future__ import annotations

import pytest

from contracts.envelope import Envelope, encode_headers
from contracts.record import Headers, OutgoingRecord
from contracts.technical import CommandFailed
from services.sdk.reasons import Reason
from services.sdk.testing import Harness
from tests.sdk.sample import Heard, Noticed, Ping, Pinged, World, make_service

GOOD = encode_headers(
    Envelope(
        id="saga:a/ping/1",
        source="/counterpoint/orchestrator",
        type="sample.ping.v1",
        process_id="saga:a",
        idempotency_key="saga:a/ping/1",
    )
)


def record(
    value: bytes = b'{"name":"a"}', key: bytes | None = b"a", headers: Headers = GOOD, topic: str = "sample.commands"
) -> OutgoingRecord:
    return OutgoingRecord(topic, key, value, headers)


def without(name: str) -> Headers:
    return tuple(header for header in GOOD if header[0] != name)


def having(name: str, value: bytes) -> Headers:
    return (*without(name), (name, value))


UNANSWERED: list[tuple[str, OutgoingRecord, Reason]] = [
    ("no id", record(headers=without("ce_id")), Reason.MISSING_ATTRIBUTE),
    ("no source", record(headers=without("ce_source")), Reason.MISSING_ATTRIBUTE),
    ("no type", record(headers=without("ce_type")), Reason.MISSING_ATTRIBUTE),
    ("no headers at all", record(headers=()), Reason.MISSING_ATTRIBUTE),
    ("no version", record(headers=without("ce_specversion")), Reason.MISSING_ATTRIBUTE),
    ("old version", record(headers=having("ce_specversion", b"0.3")), Reason.WRONG_SPECVERSION),
    ("not JSON content", record(headers=having("content-type", b"application/avro")), Reason.WRONG_CONTENT_TYPE),
    ("id not UTF-8", record(headers=having("ce_id", b"\xff")), Reason.BAD_ATTRIBUTE),
    ("deadline not a time", record(headers=having("ce_deadline", b"soon")), Reason.BAD_ATTRIBUTE),
    ("process id too long", record(headers=having("ce_processid", b"p" * 1_025)), Reason.BAD_ATTRIBUTE),
    ("key too long", record(headers=having("ce_idempotencykey", b"k" * 1_025)), Reason.BAD_ATTRIBUTE),
    ("try not a number", record(headers=having("ce_try", b"two")), Reason.BAD_ATTRIBUTE),
    ("a command of no process", record(value=b"{}", headers=without("ce_processid")), Reason.CONTRACT_VIOLATION),
]


@pytest.mark.parametrize(("bad", "reason"), [pytest.param(b, r, id=name) for name, b, r in UNANSWERED])
async def test_nobody_can_be_answered(bad: OutgoingRecord, reason: Reason) -> None:
    world = World()
    async with Harness(make_service(), [world]) as harness:
        [letter] = await harness.deliver_record(bad)
        assert letter.record.topic == "sample.dead-letters"
        headers = dict(letter.record.headers)
        assert (letter.record.key, letter.record.value) == (bad.key, bad.value)
        assert set(bad.headers) <= set(letter.record.headers)
        assert headers["dl_reason"] == reason.encode()
        assert headers["dl_topic"] == b"sample.commands"
        assert headers["dl_service"] == b"sample"
        assert headers["dl_offset"] == b"0"
        assert headers["dl_at"] == b"2026-01-01T00:00:00.000Z"
        assert int(headers["dl_partition"]) == harness.bus.read("sample.commands")[0].partition
        assert headers["dl_detail"]
        assert harness.metric("dead_letters_total", reason=reason) == 1
        assert not world.calls
        # It stopped nothing.
        [outcome] = await harness.deliver(Ping(name="a"), process_id="saga:a")
        assert outcome.message == Pinged(name="a")


ANSWERED: list[tuple[str, OutgoingRecord, Reason, str]] = [
    ("not JSON", record(value=b"{"), Reason.INVALID_JSON, "invalid-command"),
    ("not UTF-8", record(value=b'{"name":"\xff"}'), Reason.INVALID_JSON, "invalid-command"),
    ("empty", record(value=b""), Reason.INVALID_JSON, "invalid-command"),
    ("not an object", record(value=b"[]"), Reason.CONTRACT_VIOLATION, "invalid-command"),
    ("against the contract", record(value=b'{"name":"a b"}'), Reason.CONTRACT_VIOLATION, "invalid-command"),
    ("other key", record(key=b"b"), Reason.KEY_MISMATCH, "invalid-command"),
    ("unknown", record(headers=having("ce_type", b"sample.nothing.v1")), Reason.UNKNOWN_COMMAND, "unknown-command"),
    ("unhandled", record(headers=having("ce_type", b"sample.unhandled.v1")), Reason.UNKNOWN_COMMAND, "unknown-command"),
]


@pytest.mark.parametrize(("bad", "reason", "code"), [pytest.param(*case[1:], id=case[0]) for case in ANSWERED])
async def test_a_saga_is_not_left_waiting(bad: OutgoingRecord, reason: Reason, code: str) -> None:
    world = World()
    async with Harness(make_service(), [world]) as harness:
        published = await harness.deliver_record(bad)
        answer, letter = published
        assert isinstance(answer.message, CommandFailed)
        assert (answer.message.code, answer.message.effect, answer.message.retryable) == (code, "none", False)
        assert answer.record.topic == "sample.events"
        assert answer.record.key == (b"a" if reason is not Reason.KEY_MISMATCH else b"b")
        assert (answer.envelope.process_id, answer.envelope.causation_id) == ("saga:a", "saga:a/ping/1")
        assert dict(letter.record.headers)["dl_reason"] == reason.encode()
        assert harness.metric("dead_letters_total", reason=reason) == 1
        assert not world.calls

        # The answer is stored: a repeat and a replay get the same bytes, and a replay no second dead letter.
        assert [p.record.headers for p in await harness.deliver_record(bad)] == [p.record.headers for p in published]
        assert [p.record.headers for p in await harness.replay(letter)] == [answer.record.headers]
        assert not world.calls


async def test_an_event_of_an_unknown_type_is_skipped_and_counted() -> None:
    async with Harness(make_service(), [World()]) as harness:
        for type_name, why in (("sample.new-thing.v1", "unknown-type"), ("sample.heard.v1", "not-handled")):
            headers = having("ce_type", type_name.encode())
            assert await harness.deliver_record(record(topic="sample.events", headers=headers)) == []
            assert harness.metric("skipped_total", why=why) >= 1
        assert harness.dead_letters() == []


@pytest.mark.parametrize("key", [None, b"a"])
async def test_a_stranger_s_event_with_the_required_headers_only_is_handled(key: bytes | None) -> None:
    headers = (
        ("ce_specversion", b"1.0"),
        ("ce_id", b"1"),
        ("ce_source", b"/stranger"),
        ("ce_type", b"sample.noticed.v1"),
    )
    async with Harness(make_service(), [World()]) as harness:
        [heard] = await harness.deliver_record(record(topic="sample.events", headers=headers, key=key))
    assert heard.message == Heard(name="a")


async def test_two_producers_that_use_the_same_id_are_two_messages() -> None:
    async with Harness(make_service(), [World()]) as harness:
        first = await harness.deliver(Noticed(name="a"), id="1", source="/one")
        second = await harness.deliver(Noticed(name="b"), id="1", source="/two")
    assert [p.message for p in first + second] == [Heard(name="a"), Heard(name="b")]


async def test_the_same_id_with_another_payload_is_refused_and_unanswered() -> None:
    world = World()
    async with Harness(make_service(), [world]) as harness:
        await harness.deliver(Ping(name="a"), id="saga:a/ping/1", process_id="saga:a")
        [letter] = await harness.deliver(Ping(name="a", text="other"), id="saga:a/ping/1", process_id="saga:a")
        assert dict(letter.record.headers)["dl_reason"] == b"id-conflict"
        assert letter.record.topic == "sample.dead-letters"
        assert len(world.calls) == 1
        # The first one's outcome stands.
        [outcome] = await harness.deliver(Ping(name="a"), id="saga:a/ping/1", process_id="saga:a")
        assert outcome.message == Pinged(name="a")


async def test_a_dead_letter_of_a_broken_record_is_decoded_anew_by_a_replay() -> None:
    async with Harness(make_service(), [World()]) as harness:
        [letter] = await harness.deliver_record(record(topic="sample.events", headers=having("ce_id", b"\xff")))
        [again] = await harness.replay(letter)
        assert dict(again.record.headers)["dl_topic"] == b"sample.events"
        assert dict(again.record.headers)["dl_offset"] == b"0"
        assert len(again.record.headers) == len(letter.record.headers)
