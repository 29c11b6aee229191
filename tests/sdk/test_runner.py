"""The runner: faults of the store and the bus, rebalances, start and stop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress

import pytest

from contracts.message import Message
from contracts.record import OutgoingRecord
from services.sdk import Delivery, Service, StartRefused
from services.sdk.inbox_retention import RETENTION_MS
from services.sdk.memory import MemoryBus
from services.sdk.ports import Place
from services.sdk.testing import CrashPoint, Harness
from services.sdk.wiring import Limits
from tests.sdk.sample import CATALOG, Heard, Noticed, Ping, Pinged, World, make_service

GROUP = "counterpoint.sample"


async def until(condition: Callable[[], object], limit_s: float = 5.0) -> None:
    async with asyncio.timeout(limit_s):
        while not condition():  # noqa: ASYNC110 - conditions have no event of their own
            await asyncio.sleep(0.001)


async def test_a_store_that_went_back_in_time_is_replayed_from_where_it_stands() -> None:
    world = World()
    async with Harness(make_service(), [world]) as harness:
        await harness.deliver(Ping(name="a"), id="p/a/1", process_id="p")
        snapshot = harness.inbox.snapshot()
        first = await harness.deliver(Ping(name="a", text="2"), id="p/a/2", process_id="p")
        harness.inbox.restore(snapshot)
        assert harness.inbox.state("k:p/a/2") is None
        published = await harness.deliver(Ping(name="a", text="3"), id="p/a/3", process_id="p")
        # The lost one was executed again with the same key, and published again with the same id.
        assert first[0].envelope.id in [p.envelope.id for p in published]
        assert harness.inbox.state("k:p/a/2") == "settled"
        assert harness.inbox.state("k:p/a/3") == "settled"
        assert sorted(world.effects) == ["p/a/1", "p/a/2", "p/a/3"]
        assert harness.metric("position_resets_total") == 1
        assert harness.runner.problem is None


async def test_a_rewind_is_found_before_anything_is_executed_on_it() -> None:
    """A re-sent command whose mark was lost: without the check it would be taken for new. The replay restores its mark
    first, since it is the earlier record."""
    world = World()
    async with Harness(make_service(), [world]) as harness:
        await harness.deliver(Ping(name="b"), id="p/b/1", process_id="p")
        snapshot = harness.inbox.snapshot()
        await harness.deliver(Ping(name="a"), id="p/a/1", process_id="p")
        harness.inbox.restore(snapshot)
        await harness.deliver(Ping(name="a"), id="p/a/1", process_id="p")
        assert [call.offset for call in world.calls if call.idempotency_key == "p/a/1"] == [0, 0]
        assert sorted(world.effects) == ["p/a/1", "p/b/1"]


async def test_another_owner_is_noticed() -> None:
    """Two OS processes under one name, or a member that has not heard of its rebalance: the elder one is refused."""
    world = World()
    async with Harness(make_service(), [world]) as harness:
        await harness.deliver(Ping(name="a"), id="p/a/1", process_id="p")
        positions = await harness.inbox.positions()
        await harness.inbox.take("somebody-else", "ffffffff", positions)
        await harness.deliver(Ping(name="a"), id="p/a/2", process_id="p")
        assert harness.metric("position_resets_total") == 1
        assert sorted(world.effects) == ["p/a/1", "p/a/2"]


async def test_two_processes_under_one_name_are_found_out() -> None:
    """They would take the partitions from each other for ever: one of them ends, the other goes on."""
    world = World()
    async with Harness(make_service(), [world]) as harness:
        await harness.deliver(Ping(name="a0"), process_id="p")
        twin = harness.second("test")
        running = asyncio.create_task(twin.run())
        await until(lambda: twin.behind() == 0)
        for number in range(1, 50):
            with suppress(StartRefused):
                await harness.deliver(Ping(name=f"a{number}"), process_id="p")
            await asyncio.sleep(0.005)
            refused = [problem for problem in (twin.problem, harness.runner.problem) if "another OS" in (problem or "")]
            if refused:
                break
        assert refused == ["sample: another OS process runs as instance 'test' of it"]
        twin.stop()
        await asyncio.gather(running, return_exceptions=True)
        with suppress(StartRefused):
            await harness.kill()


async def test_an_empty_store_is_refused_while_the_group_has_offsets() -> None:
    harness = Harness(make_service(), [World()])
    async with harness:
        await harness.deliver(Ping(name="a"), process_id="p")
    harness.inbox.clear()
    with pytest.raises(StartRefused, match="dedupe store knows nothing of sample"):
        await harness.restart()


async def test_a_position_past_the_end_of_the_log_is_refused() -> None:
    harness = Harness(make_service(), [World()])
    async with harness:
        await harness.deliver(Ping(name="a"), process_id="p")
    far = {Place("sample.commands", number): 99 for number in range(12)}
    await harness.inbox.take("test", "0", far)
    harness.bus._group(GROUP).committed.update(far)
    with pytest.raises(StartRefused, match="past the log's end"):
        await harness.restart()


async def test_missing_topics_are_named() -> None:
    harness = Harness(make_service(), [World()])
    harness.bus._topics = frozenset({"sample.commands", "sample.events"})
    with pytest.raises(StartRefused, match=r"missing topics sample.dead-letters, sample.replays"):
        await harness.settled()
    with suppress(StartRefused):
        await harness.kill()


async def test_the_start_is_the_lower_of_position_and_offset() -> None:
    """What was stored and not published is published; what was published and not stored is stored."""
    world = World()
    async with Harness(make_service(), [world]) as harness:
        await harness.deliver(Ping(name="a"), id="p/a/1", process_id="p")
        await harness.kill()
        [place] = [place for place, end in harness.bus.ends(["sample.commands"]).items() if end]
        # The group behind the store.
        harness.bus._group(GROUP).committed[place] = 0
        assert [p.message for p in await harness.restart()] == [Pinged(name="a")]
        await harness.kill()
        # The store behind the group.
        await harness.inbox.take("test", "0", {place: 0})
        assert [p.message for p in await harness.restart()] == [Pinged(name="a")]
        assert len(world.calls) == 1


async def test_a_new_group_does_not_read_what_it_would_refuse() -> None:
    world = World()
    harness = Harness(make_service(), [world])
    old = Noticed(name="a")
    source = Harness(make_service(), [World()])
    async with source:
        await source.deliver(old, id="1")
        headers = source.bus.read("sample.events")[0].headers
    harness.bus.append(
        OutgoingRecord("sample.events", b"a", old.to_json(), headers), harness.clock.now_ms - RETENTION_MS - 1
    )
    async with harness:
        assert await harness.deliver(Noticed(name="a"), id="2") != []
        assert harness.dead_letters() == []
        assert len(world.calls) == 1


async def test_a_store_that_is_away_is_waited_out() -> None:
    world = World()
    async with Harness(make_service(), [world]) as harness:
        await harness.deliver(Ping(name="a"), process_id="p")
        assert harness.runner.problem is None
        harness.inbox.away = True
        delivery = asyncio.create_task(harness.deliver(Ping(name="b"), process_id="p"))
        await until(lambda: harness.runner.problem is not None)
        assert "sample: waiting for the store" in (harness.runner.problem or "")
        assert len(world.calls) == 1
        harness.inbox.away = False
        assert [p.message for p in await delivery] == [Pinged(name="b")]
        assert harness.runner.problem is None
        assert harness.metric("faults_total", what="store") >= 1
        assert [call.attempt for call in world.calls] == [1, 1]


async def test_a_bus_that_is_away_is_waited_out() -> None:
    world = World()
    async with Harness(make_service(), [world]) as harness:
        await harness.deliver(Ping(name="a"), process_id="p")
        harness.bus.away = True
        await until(lambda: harness.runner.problem is not None)
        delivery = asyncio.create_task(harness.deliver(Ping(name="b"), process_id="p"))
        await asyncio.sleep(0.01)
        harness.bus.away = False
        assert [p.message for p in await delivery] == [Pinged(name="b")]
        await until(lambda: harness.runner.problem is None)


async def test_a_slow_message_holds_back_the_commit_and_not_its_neighbours() -> None:
    service, gate = gated_service()
    async with Harness(service, [gate]) as harness:
        keys = same_partition_keys(harness.bus, 3)
        for number, key in enumerate(keys):
            message: Message = Noticed(name=key)
            if number:
                gate.open_keys.add(key)
            record = record_of(harness, message, str(number))
            harness.bus.append(record)
        task = asyncio.create_task(harness.settled())
        await until(lambda: len(gate.done) == 2)
        await asyncio.sleep(0.05)
        assert keys[0] not in gate.done
        # Its neighbours' outcomes came after it on the same partition, and were skipped; the commit stays before it.
        assert not any(harness.bus.committed(GROUP).values())
        gate.open_keys.add(keys[0])
        assert len(await task) == 3
        [place] = {Place(record.topic, record.partition) for record in harness.bus.read("sample.events")}
        assert harness.bus.committed(GROUP)[place] == harness.bus.ends(["sample.events"])[place] == 6


async def test_a_rebalance_finishes_what_runs_and_hands_the_rest_over() -> None:
    service, gate = gated_service()
    async with Harness(service, [gate]) as harness:
        gate.open_keys = {f"k{number}" for number in range(40)} - {"k7"}
        for number in range(40):
            harness.bus.append(record_of(harness, Noticed(name=f"k{number}"), str(number)))
        await until(lambda: len(gate.done) == 39)
        other = harness.second("other")
        running = asyncio.create_task(other.run())
        await asyncio.sleep(0.01)
        assert other.behind() is None, "nobody gets the partitions while a message runs"
        gate.open_keys.add("k7")
        await until(lambda: other.behind() == 0 and harness.runner.behind() == 0)
        assert sorted(gate.done) == sorted(gate.open_keys), "each once"
        assert not any(gate.unfinished)

        for number in range(40, 80):
            gate.open_keys.add(f"k{number}")
            harness.bus.append(record_of(harness, Noticed(name=f"k{number}"), str(number)))
        await until(lambda: len(gate.done) == 80)
        await until(lambda: other.behind() == 0 and harness.runner.behind() == 0)
        heard = [record for record in harness.bus.published if record.topic == "sample.events"]
        assert len(heard) == 80
        other.stop()
        await running


async def test_what_outlasts_a_rebalance_is_abandoned_to_the_next_owner() -> None:
    service, gate = gated_service()
    limits = Limits(poll_s=0.005, commit_s=0.005, drain_s=0.02)
    async with Harness(service, [gate], limits) as harness:
        harness.bus.append(record_of(harness, Noticed(name="a"), "1"))
        await until(lambda: gate.started == ["a"])
        other = harness.second("other")
        running = asyncio.create_task(other.run())
        await until(lambda: gate.started == ["a", "a"])
        gate.open_keys.add("a")
        await until(lambda: other.behind() == 0 and harness.runner.behind() == 0)
        assert gate.unfinished == [False, True]
        assert gate.done == ["a"], "the first execution was cancelled"
        other.stop()
        await running


async def test_an_abandoned_execution_cannot_store_its_result() -> None:
    """A member that lost its partitions while a handler ran: the next owner's result counts."""
    service, gate = gated_service()
    async with Harness(service, [gate]) as harness:
        harness.bus.append(record_of(harness, Noticed(name="a"), "1"))
        task = asyncio.create_task(harness.settled())
        await until(lambda: gate.started == ["a"])
        positions = await harness.inbox.positions()
        await harness.inbox.take("other", "ffffffff", positions)
        gate.open_keys.add("a")
        published = await task
        # Ours was refused; it took the partitions back and executed again, as an unfinished one.
        assert [p.message for p in published] == [Heard(name="a")]
        assert gate.unfinished == [False, True]


async def test_a_graceful_stop_finishes_what_runs_and_commits() -> None:
    service, gate = gated_service()
    harness = Harness(service, [gate])
    async with harness:
        harness.bus.append(record_of(harness, Noticed(name="a"), "1"))
        task = asyncio.create_task(harness.settled())
        await until(lambda: gate.started == ["a"])
        harness.runner.stop()
        await asyncio.sleep(0.01)
        gate.open_keys.add("a")
        await until(lambda: sum(harness.bus.committed(GROUP).values()) == 1)
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        assert gate.done == ["a"]
        assert harness.bus.read("sample.events")[-1].value == b'{"name":"a"}'


async def test_a_rebalance_in_the_middle_of_a_stop_waits_for_what_is_being_finished() -> None:
    """Of two replicas that end at once one leaves first: the other is given its partitions, and must not begin anew."""
    service, gate = gated_service()
    async with Harness(service, [gate]) as harness:
        harness.bus.append(record_of(harness, Noticed(name="a"), "1"))
        await until(lambda: gate.started == ["a"])
        harness.runner.stop()
        await asyncio.sleep(0.01)
        rebalance = asyncio.create_task(harness.bus.rebalance(GROUP))
        await asyncio.sleep(0.01)
        assert not rebalance.done(), "nobody gets the partitions while a message runs"
        gate.open_keys.add("a")
        await rebalance
        await until(lambda: harness.runner_ended)

        assert (gate.done, gate.unfinished) == (["a"], [False])
        assert sum(harness.bus.committed(GROUP).values()) == 1
        assert harness.bus.read("sample.events")[-1].value == b'{"name":"a"}'


async def test_a_stop_does_not_wait_for_messages_that_another_owner_has_taken() -> None:
    """They cannot end here any more: their results are the new owner's business."""
    service, gate = gated_service()
    limits = Limits(poll_s=0.005, commit_s=0.005, drain_s=0.02, stop_s=3600.0)
    async with Harness(service, [gate], limits) as harness:
        harness.bus.append(record_of(harness, Noticed(name="a"), "1"))
        harness.bus.append(record_of(harness, Noticed(name="b"), "2"))
        await until(lambda: sorted(gate.started) == ["a", "b"])
        harness.runner.stop()
        await asyncio.sleep(0.01)
        await harness.inbox.take("other", "ffffffff", await harness.inbox.positions())
        gate.open_keys.add("a")

        await until(lambda: harness.runner_ended)
        assert not any(harness.bus.committed(GROUP).values())


async def test_an_outcome_stored_and_not_published_is_published_by_the_next_start() -> None:
    async with Harness(make_service(), [World()]) as harness:
        harness.crash_at = CrashPoint.AFTER_STORE
        assert await harness.deliver(Ping(name="a"), id="p/a/1", process_id="p") == []
        assert harness.inbox.state("k:p/a/1") == "settled"
        assert [p.message for p in await harness.restart()] == [Pinged(name="a")]


class Gate:
    """Lets a key through once it is open."""

    def __init__(self) -> None:
        self.open_keys: set[str] = set()
        self.started: list[str] = []
        self.done: list[str] = []
        self.unfinished: list[bool] = []

    async def pass_through(self, key: str, delivery: Delivery) -> None:
        self.started.append(key)
        self.unfinished.append(delivery.unfinished)
        while key not in self.open_keys:  # noqa: ASYNC110 - a fake may be simple
            await asyncio.sleep(0.001)
        self.done.append(key)


def gated_service() -> tuple[Service, Gate]:
    service = Service("sample", contexts=("sample",), catalog=CATALOG)

    @service.handles(Noticed, unfinished="repeat")
    async def hear(event: Noticed, gate: Gate, delivery: Delivery) -> Heard:
        await gate.pass_through(event.name, delivery)
        return Heard(name=event.name)

    return service, Gate()


def same_partition_keys(bus: MemoryBus, count: int) -> list[str]:
    from contracts.ids import partition_of

    return [f"k{number}" for number in range(1_000) if partition_of(f"k{number}", 12) == 3][:count]


def record_of(harness: Harness, message: Message, identity: str) -> OutgoingRecord:
    from contracts.envelope import Envelope, encode_headers

    headers = encode_headers(Envelope(id=identity, source="/test", type=message.type))
    return OutgoingRecord(message.topic, message.key.encode(), message.to_json(), headers)
