"""One id is executed once and answered the same way ever after; what must not start, does not."""

from __future__ import annotations

from typing import Any

import pytest

from contracts.envelope import Envelope, encode_headers, format_time
from contracts.record import OutgoingRecord
from contracts.technical import CommandFailed
from services.sdk import NotDone, Service
from services.sdk.handler import Unfinished
from services.sdk.inbox_retention import RETENTION_MS
from services.sdk.testing import START_MS, CrashPoint, Harness, Published
from tests.sdk.sample import CATALOG, Heard, Noticed, Ping, Pinged, Unping, Unpinged, World, make_service

DO: dict[str, Any] = {"id": "saga:a/ping/1", "process_id": "saga:a"}
UNDO: dict[str, Any] = {"id": "saga:a/ping/undo/1", "process_id": "saga:a"}


def failure_of(published: list[Published]) -> tuple[str, str, bool]:
    [only] = published
    assert isinstance(only.message, CommandFailed)
    return only.message.code, only.message.effect, only.message.retryable


async def test_a_repeat_publishes_the_stored_bytes() -> None:
    world = World()
    async with Harness(make_service(), [world]) as harness:
        first = await harness.deliver(Ping(name="a"), **DO)
        harness.clock.advance(60)
        again = await harness.deliver(Ping(name="a"), **DO)
        assert [(p.record.value, p.record.headers) for p in again] == [
            (p.record.value, p.record.headers) for p in first
        ]
        assert len(world.calls) == 1
        assert harness.metric("duplicates_total", type="sample.ping.v1") == 1
        assert harness.metric("handled_total", type="sample.ping.v1", result="repeat") == 1


async def test_headers_do_not_make_another_payload() -> None:
    world = World()
    async with Harness(make_service(), [world]) as harness:
        await harness.deliver(Ping(name="a"), **DO)
        [again] = await harness.deliver(Ping(name="a"), traceparent=f"00-{'1' * 32}-{'2' * 16}-01", **DO)
        assert again.message == Pinged(name="a")
        assert len(world.calls) == 1


async def test_a_repeated_event_is_executed_once() -> None:
    world = World()
    async with Harness(make_service(), [world]) as harness:
        for _ in range(3):
            assert [p.message for p in await harness.deliver(Noticed(name="a"), id="1")] == [Heard(name="a")]
    assert len(world.calls) == 1


async def test_a_command_past_its_deadline_is_refused_and_the_refusal_is_stored() -> None:
    world = World()
    async with Harness(make_service(), [world]) as harness:
        late = format_time(START_MS - 1)
        first = await harness.deliver(Ping(name="a"), deadline=late, **DO)
        assert failure_of(first) == ("deadline-exceeded", "none", False)
        # A later copy with a longer deadline gets the same answer: the refusal was given for the id.
        again = await harness.deliver(Ping(name="a"), deadline=format_time(START_MS + 10**6), **DO)
        assert again[0].record.headers == first[0].record.headers
        assert not world.calls
        assert harness.dead_letters() == []


async def test_a_command_at_its_deadline_is_executed() -> None:
    async with Harness(make_service(), [World()]) as harness:
        [outcome] = await harness.deliver(Ping(name="a"), deadline=format_time(START_MS), **DO)
        assert outcome.message == Pinged(name="a")


@pytest.mark.parametrize("unfinished", ["repeat", "unknown"])
async def test_a_deadline_never_speaks_of_an_id_that_has_a_mark(unfinished: Unfinished) -> None:
    """The interleaving it prevents: charged, crashed, deadline passed, "effect none", and nobody refunds."""
    world = World()
    async with Harness(make_service(unfinished=unfinished), [world]) as harness:
        harness.crash_at = CrashPoint.AFTER_EFFECT
        await harness.deliver(Ping(name="a"), deadline=format_time(START_MS + 1000), **DO)
        assert world.effects == ["saga:a/ping/1"]
        harness.clock.advance(3600)
        published = await harness.restart()
        if unfinished == "repeat":
            assert [p.message for p in published] == [Pinged(name="a")]
            assert world.calls[-1].unfinished
        else:
            assert failure_of(published) == ("unfinished", "unknown", False)
            assert len(world.calls) == 1
        assert world.effects == ["saga:a/ping/1"]


async def test_what_was_started_and_must_not_be_executed_now_is_unknown() -> None:
    """Started by one release, and the next does not handle the type any more: never "effect none", never executed."""
    world = World()
    async with Harness(make_service(), [world]) as harness:
        harness.crash_at = CrashPoint.AFTER_EFFECT
        await harness.deliver(Ping(name="a"), **DO)
        harness.service = Service("sample", contexts=("sample",), catalog=CATALOG)
        answer, letter = await harness.restart()
        assert failure_of([answer]) == ("unknown-command", "unknown", False)
        assert dict(letter.record.headers)["dl_reason"] == b"unknown-command"
        assert harness.inbox.state("k:saga:a/ping/1") == "settled"


async def test_what_was_started_and_is_too_old_by_now_is_unknown() -> None:
    world = World()
    async with Harness(make_service(), [world]) as harness:
        await harness.deliver(Noticed(name="z"))
        harness.crash_at = CrashPoint.AFTER_EFFECT
        await harness.deliver(Ping(name="a"), **DO)
        harness.clock.advance(RETENTION_MS / 1000 + 60)
        published = await harness.restart()
        assert failure_of(published[:1]) == ("too-old", "unknown", False)
        assert len(world.calls) == 2


async def test_a_finished_id_is_answered_after_its_deadline_as_before() -> None:
    async with Harness(make_service(), [World()]) as harness:
        deadline = format_time(START_MS + 1000)
        first = await harness.deliver(Ping(name="a"), deadline=deadline, **DO)
        harness.clock.advance(3600)
        again = await harness.deliver(Ping(name="a"), deadline=deadline, **DO)
        assert again[0].record.headers == first[0].record.headers


async def test_a_do_that_comes_after_its_undo_does_nothing() -> None:
    world = World()
    async with Harness(make_service(), [world]) as harness:
        [undone] = await harness.deliver(Unping(name="a"), undoes=("saga:a/ping/1", "saga:a/ping/2"), **UNDO)
        assert undone.message == Unpinged(name="a")
        assert world.calls[-1].undoes == ("saga:a/ping/1", "saga:a/ping/2")
        first = await harness.deliver(Ping(name="a"), **DO)
        assert failure_of(first) == ("undone", "none", False)
        assert first[0].envelope.process_id == "saga:a"
        harness.clock.advance(60)
        again = await harness.deliver(Ping(name="a"), **DO)
        assert again[0].record.headers == first[0].record.headers
        assert len(world.calls) == 1


async def test_an_undo_leaves_what_was_done_on_record() -> None:
    world = World()
    async with Harness(make_service(), [world]) as harness:
        first = await harness.deliver(Ping(name="a"), **DO)
        await harness.deliver(Unping(name="a"), undoes=("saga:a/ping/1",), **UNDO)
        again = await harness.deliver(Ping(name="a"), **DO)
        assert again[0].record.headers == first[0].record.headers
        assert len(world.calls) == 2


async def test_an_undo_that_crashed_has_already_closed_the_ids() -> None:
    """The revoked records are written with the undo's started mark, not with its outcome."""
    world = World()
    async with Harness(make_service(), [world]) as harness:
        harness.crash_at = CrashPoint.BEFORE_EFFECT
        await harness.deliver(Unping(name="a"), undoes=("saga:a/ping/1",), **UNDO)
        assert harness.inbox.state("k:saga:a/ping/1") == "revoked"
        assert not world.calls


async def test_an_undo_refused_by_its_deadline_closes_nothing() -> None:
    async with Harness(make_service(), [World()]) as harness:
        late = format_time(START_MS - 1)
        published = await harness.deliver(Unping(name="a"), undoes=("saga:a/ping/1",), deadline=late, **UNDO)
        assert failure_of(published) == ("deadline-exceeded", "none", False)
        assert [p.message for p in await harness.deliver(Ping(name="a"), **DO)] == [Pinged(name="a")]


async def test_an_undo_covers_commands_without_an_idempotency_key() -> None:
    async with Harness(make_service(), [World()]) as harness:
        await harness.deliver(Unping(name="a"), undoes=("do-1",), id="undo-1", process_id="saga:a", source="/plain")
        headers = encode_headers(Envelope(id="do-1", source="/plain", type=Ping.type, process_id="saga:a"))
        published = await harness.deliver_record(OutgoingRecord("sample.commands", b"a", b'{"name":"a"}', headers))
        assert failure_of(published) == ("undone", "none", False)


def old(message: Ping | Noticed, identity: str) -> OutgoingRecord:
    key = identity if isinstance(message, Ping) else None
    headers = encode_headers(
        Envelope(id=identity, source="/test", type=message.type, process_id="saga:a", idempotency_key=key)
    )
    return OutgoingRecord(message.topic, b"a", message.to_json(), headers)


async def test_an_old_command_is_never_executed_and_its_effect_is_unknown() -> None:
    world = World()
    async with Harness(make_service(), [world]) as harness:
        await harness.deliver(Noticed(name="z"))  # the group has a position: the old record is met, not skipped
        record = old(Ping(name="a"), "saga:a/ping/1")
        answer, letter = await harness.deliver_record(record, age_s=RETENTION_MS / 1000 + 1)
        assert failure_of([answer]) == ("too-old", "unknown", False)
        assert dict(letter.record.headers)["dl_reason"] == b"too-old"
        assert [p.record.headers for p in await harness.replay(letter)] == [answer.record.headers]
        assert len(world.calls) == 1


async def test_an_old_event_is_dead_lettered_and_its_replay_is_executed() -> None:
    world = World()
    async with Harness(make_service(), [world]) as harness:
        await harness.deliver(Noticed(name="z"))
        [letter] = await harness.deliver_record(old(Noticed(name="a"), "1"), age_s=RETENTION_MS / 1000 + 1)
        assert dict(letter.record.headers)["dl_reason"] == b"too-old"
        assert [p.message for p in await harness.replay(letter)] == [Heard(name="a")]
        assert [p.message for p in await harness.replay(letter)] == [Heard(name="a")]
        assert len(world.calls) == 2


async def test_a_replay_is_exempt_from_the_age_check() -> None:
    """It may wait in the replays topic as long as it likes: a person asked for it."""
    async with Harness(make_service(), [World()]) as harness:
        await harness.deliver(Noticed(name="z"))
        record = old(Noticed(name="a"), "1")
        replay = OutgoingRecord("sample.replays", record.key, record.value, record.headers)
        [heard] = await harness.deliver_record(replay, age_s=RETENTION_MS / 1000 * 2)
        assert heard.message == Heard(name="a")


async def test_a_record_as_old_as_the_retention_is_executed() -> None:
    async with Harness(make_service(), [World()]) as harness:
        await harness.deliver(Noticed(name="z"))
        [outcome] = await harness.deliver_record(old(Ping(name="a"), "saga:a/ping/1"), age_s=RETENTION_MS / 1000)
        assert outcome.message == Pinged(name="a")


async def test_a_late_copy_meets_the_mark_of_the_first() -> None:
    """The interleaving that the margin prevents: the first copy's mark expires while a copy sent ten minutes later is
    still young enough to be executed; it would be refused by its deadline as "effect none" although it was done."""
    world = World()
    async with Harness(make_service(), [world]) as harness:
        await harness.deliver(Ping(name="a"), deadline=format_time(START_MS + 900_000), **DO)
        harness.clock.advance(RETENTION_MS / 1000 + 300)
        headers = encode_headers(
            Envelope(
                id="saga:a/ping/1",
                source="/counterpoint/orchestrator",
                type=Ping.type,
                process_id="saga:a",
                idempotency_key="saga:a/ping/1",
                deadline=format_time(START_MS + 900_000),
            )
        )
        copy = OutgoingRecord("sample.commands", b"a", Ping(name="a").to_json(), headers)
        [answer] = await harness.deliver_record(copy, age_s=RETENTION_MS / 1000 - 300)
        assert answer.message == Pinged(name="a")


async def test_a_failed_event_is_dead_lettered_and_its_replay_is_executed_once() -> None:
    world = World(before=[NotDone("closed", "the shop is closed"), None])
    async with Harness(make_service(), [world]) as harness:
        [letter] = await harness.deliver(Noticed(name="a"), id="1")
        headers = dict(letter.record.headers)
        assert (headers["dl_reason"], headers["dl_detail"]) == (b"handler-failed", b"the shop is closed")
        # Delivered again, it stays a dead letter, with the same bytes; only a replay executes it.
        [repeated] = await harness.deliver(Noticed(name="a"), id="1")
        assert repeated.record.headers == letter.record.headers
        assert len(world.calls) == 1
        assert [p.message for p in await harness.replay(letter)] == [Heard(name="a")]
        assert [p.message for p in await harness.replay(letter)] == [Heard(name="a")]
        assert [p.message for p in await harness.deliver(Noticed(name="a"), id="1")] == [Heard(name="a")]
        assert len(world.calls) == 2
        assert world.calls[1].unfinished


async def test_a_replay_of_a_finished_event_does_not_execute_it() -> None:
    world = World()
    async with Harness(make_service(), [world]) as harness:
        await harness.deliver(Noticed(name="a"), id="1")
        source = harness.bus.read("sample.events")[0]
        record = OutgoingRecord("sample.replays", source.key, source.value or b"", source.headers)
        assert [p.message for p in await harness.deliver_record(record)] == [Heard(name="a")]
        assert len(world.calls) == 1


async def test_an_unfinished_event_that_may_not_be_repeated_is_dead_lettered() -> None:
    world = World()
    async with Harness(make_service(unfinished="unknown"), [world]) as harness:
        harness.crash_at = CrashPoint.AFTER_EFFECT
        await harness.deliver(Noticed(name="a"), id="1")
        [letter] = await harness.restart()
        assert dict(letter.record.headers)["dl_reason"] == b"unfinished"
        assert len(world.calls) == 1
        # A person decided to run it again.
        assert [p.message for p in await harness.replay(letter)] == [Heard(name="a")]
        assert world.calls[-1].unfinished
