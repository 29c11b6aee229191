"""Handlers of batches: one call for many messages, and each of them with its own fate."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from contracts.technical import CommandFailed
from services.sdk import Deliveries, Delivery, NotDone, RegistrationError, Retry, Service, Unknown
from services.sdk.batch import RECORDS_MAX
from services.sdk.handler import Unfinished
from services.sdk.testing import CrashPoint, Harness, Published
from tests.sdk.sample import CATALOG, Heard, Noticed, Ping, Pinged


@dataclass
class Desk:
    """What the batches were, and what was done once under each key."""

    batches: list[list[str]] = field(default_factory=list)
    done: list[str] = field(default_factory=list)
    unsure: list[str] = field(default_factory=list)
    raising: Callable[[list[str]], BaseException | None] = lambda names: None
    answer: Callable[[str], object] = lambda name: Pinged(name=name)
    partly: bool = False
    """The effects of a batch that raises have happened."""

    def handle(self, names: list[str], deliveries: Deliveries) -> list[object]:
        self.batches.append(names)
        self.unsure += [name for name, one in zip(names, deliveries, strict=True) if one.unfinished]
        error = self.raising(names)
        if error is None or self.partly:
            self.done += [one.idempotency_key for one in deliveries if one.idempotency_key not in self.done]
        if error is not None:
            raise error
        return [self.answer(name) for name in names]


def desk_service(unfinished: Unfinished = "repeat", *, max_records: int = 4, timeout_s: float = 5.0) -> Service:
    service = Service("sample", contexts=("sample",), catalog=CATALOG)
    retry = Retry(attempts=2, first=0.1, jitter=0)

    @service.handles_batch(
        Ping, max_records=max_records, max_wait_s=0.05, retry=retry, unfinished=unfinished, timeout_s=timeout_s
    )
    async def ping(commands: list[Ping], desk: Desk, deliveries: Deliveries) -> list[Pinged]:
        return desk.handle([command.name for command in commands], deliveries)  # type: ignore[return-value]

    @service.handles_batch(Noticed, max_records=max_records, max_wait_s=0.05, retry=retry, unfinished=unfinished)
    async def hear(events: list[Noticed], desk: Desk, deliveries: Deliveries) -> list[Heard | None]:
        desk.handle([event.name for event in events], deliveries)
        return [Heard(name=event.name) for event in events]

    return service


async def delivered(harness: Harness, *names: str, process: bool = True) -> list[Published]:
    """Commands that are there at once, of as many keys; what was published for them."""
    await asyncio.gather(
        *(
            harness.deliver(Ping(name=name), id=f"id-{name}", process_id=f"p:{name}" if process else None)
            for name in names
        )
    )
    return [harness._parsed(record) for record in harness.bus.published]


def answers(published: list[Published]) -> dict[str, object]:
    """By key: the event's name, or code and effect of a failure."""
    found: dict[str, object] = {}
    for one in published:
        key = (one.record.key or b"").decode()
        message = one.message
        found[key] = (message.code, message.effect) if isinstance(message, CommandFailed) else type(message).__name__
    return found


async def test_messages_of_different_keys_are_handled_by_one_call() -> None:
    desk = Desk()
    async with Harness(desk_service(), [desk]) as harness:
        published = await delivered(harness, *"abcdefgh")
    assert sorted(map(len, desk.batches)) == [4, 4]
    assert answers(published) == dict.fromkeys("abcdefgh", "Pinged")
    assert all(one.envelope.causation_id == f"id-{(one.record.key or b'').decode()}" for one in published)


async def test_a_batch_that_is_not_full_is_handled_after_its_time() -> None:
    desk = Desk()
    async with Harness(desk_service(), [desk]) as harness:
        assert answers(await delivered(harness, "a", "b")) == dict.fromkeys("ab", "Pinged")
    assert [sorted(batch) for batch in desk.batches] == [["a", "b"]]


async def test_messages_of_one_key_stay_in_order_and_are_never_in_one_batch() -> None:
    desk = Desk()
    async with Harness(desk_service(), [desk]) as harness:
        await asyncio.gather(*(harness.deliver(Ping(name="a", text=str(number))) for number in range(5)))
    assert desk.batches == [["a"]] * 5
    offsets = [one.removeprefix("test-") for one in desk.done]
    assert offsets == sorted(offsets)


async def test_a_repeat_within_a_batch_is_answered_from_the_inbox() -> None:
    desk = Desk()
    async with Harness(desk_service(), [desk]) as harness:
        first = await delivered(harness, "a", "b")
        again = (await delivered(harness, "a", "b", "c"))[len(first) :]
    assert sorted(desk.done) == ["id-a", "id-b", "id-c"]
    assert sorted(one.envelope.id for one in again if one.envelope.causation_id != "id-c") == sorted(
        one.envelope.id for one in first
    )


def poisoned(error: BaseException) -> Callable[[list[str]], BaseException | None]:
    return lambda names: error if "bad" in names else None


@pytest.mark.parametrize("error", [RuntimeError("a bug"), SystemExit(3), NotDone("closed", "not now")])
async def test_one_poisoned_message_does_not_sink_the_others(error: BaseException) -> None:
    desk = Desk(raising=poisoned(error))
    async with Harness(desk_service(), [desk]) as harness:
        found = answers(await delivered(harness, "a", "b", "bad", "c"))
    expected = ("closed", "none") if isinstance(error, NotDone) else ("handler-failed", "unknown")
    assert found == {**dict.fromkeys("abc", "Pinged"), "bad": expected}
    assert sorted(desk.done) == ["id-a", "id-b", "id-c"]
    assert sorted(map(len, desk.batches))[-1] == 4


async def test_a_poisoned_event_is_dead_lettered_alone() -> None:
    desk = Desk(raising=poisoned(RuntimeError("a bug")))
    async with Harness(desk_service(), [desk]) as harness:
        await asyncio.gather(*(harness.deliver(Noticed(name=name)) for name in ("a", "bad", "b")))
        (letter,) = harness.dead_letters()
        assert letter.key == b"bad"
        heard = [record.key for record in harness.bus.published if record.topic == "sample.events"]
    assert sorted(key or b"" for key in heard) == [b"a", b"b"]


async def test_after_a_batch_whose_effects_are_in_doubt_nobody_says_that_nothing_was_done() -> None:
    """The batch did its work and broke; alone, the message is refused as not done."""
    desk = Desk(partly=True)
    desk.raising = lambda names: RuntimeError("broke") if len(names) > 1 else NotDone("closed", "not now")
    async with Harness(desk_service(), [desk]) as harness:
        found = answers(await delivered(harness, "a", "b"))
    assert found == dict.fromkeys("ab", ("closed", "unknown"))
    assert set(desk.unsure) == {"a", "b"}


async def test_a_handler_that_may_not_be_repeated_is_not_after_a_batch_in_doubt() -> None:
    desk = Desk(raising=poisoned(RuntimeError("a bug")))
    async with Harness(desk_service("unknown"), [desk]) as harness:
        found = answers(await delivered(harness, "a", "b", "bad", "c"))
    assert len(desk.batches) == 1
    assert found == dict.fromkeys(("a", "b", "bad", "c"), ("handler-failed", "unknown"))


async def test_but_it_is_after_one_that_did_nothing() -> None:
    desk = Desk(raising=poisoned(NotDone("closed", "not now")))
    async with Harness(desk_service("unknown"), [desk]) as harness:
        found = answers(await delivered(harness, "a", "bad"))
    assert found == {"a": "Pinged", "bad": ("closed", "none")}


async def test_a_message_may_fail_by_its_own_outcome() -> None:
    fates: dict[str, object] = {"no": NotDone("closed", "not now"), "maybe": Unknown("lost", "no answer")}
    desk = Desk(answer=lambda name: fates.get(name, Pinged(name=name)))
    async with Harness(desk_service("unknown"), [desk]) as harness:
        found = answers(await delivered(harness, "a", "no", "maybe"))
    assert found == {"a": "Pinged", "no": ("closed", "none"), "maybe": ("lost", "unknown")}
    assert len(desk.batches) == 1


async def test_a_wrong_number_of_outcomes_is_a_mistake_of_the_handler() -> None:
    service = Service("sample", contexts=("sample",), catalog=CATALOG)

    @service.handles_batch(Ping, max_wait_s=0.05, retry=Retry(attempts=1))
    async def ping(commands: list[Ping]) -> list[Pinged]:
        return [Pinged(name=commands[0].name)] * (len(commands) + 1)

    async with Harness(service) as harness:
        found = answers(await delivered(harness, "a", "b"))
    assert found == dict.fromkeys("ab", ("handler-failed", "unknown"))


async def test_a_call_without_end_is_cut_off() -> None:
    service = Service("sample", contexts=("sample",), catalog=CATALOG)

    @service.handles_batch(Ping, max_wait_s=0.05, timeout_s=0.1, retry=Retry(attempts=1))
    async def ping(commands: list[Ping]) -> list[Pinged]:
        await asyncio.Event().wait()
        return []

    async with Harness(service) as harness:
        found = answers(await delivered(harness, "a", "b"))
    assert found == dict.fromkeys("ab", ("timed-out", "unknown"))


@pytest.mark.parametrize("point", CrashPoint)
async def test_a_crash_at_any_point_does_each_once(point: CrashPoint) -> None:
    desk = Desk()
    async with Harness(desk_service(), [desk]) as harness:
        harness.crash_at = point
        await delivered(harness, "a", "b", "c")
        await harness.restart()
        found = answers([harness._parsed(record) for record in harness.bus.published])
        ids = {dict(record.headers)["ce_id"] for record in harness.bus.published}
    assert found == dict.fromkeys("abc", "Pinged")
    assert (sorted(desk.done), len(ids)) == (["id-a", "id-b", "id-c"], 3)


def test_mistakes_are_found_at_registration() -> None:
    async def single(command: Ping) -> Pinged:
        return Pinged(name=command.name)

    async def many(commands: list[Ping], delivery: Delivery) -> list[Pinged]:
        return []

    async def deliveries(command: Ping, deliveries: Deliveries) -> Pinged:
        return Pinged(name=command.name)

    async def good(commands: list[Ping]) -> list[Pinged]:
        return []

    service = Service("sample", contexts=("sample",), catalog=CATALOG)
    with pytest.raises(RegistrationError, match=r"first parameter must be annotated with list\[.*Ping\]"):
        service.handles_batch(Ping)(single)
    with pytest.raises(RegistrationError, match="it has Deliveries, not Delivery"):
        service.handles_batch(Ping)(many)
    with pytest.raises(RegistrationError, match="it has Delivery, not Deliveries"):
        service.handles(Ping)(deliveries)
    service.handles_batch(Ping)(good)
    with pytest.raises(RegistrationError, match="good already handles"):
        service.handles(Ping)(single)
    for numbers in ({"max_records": 0}, {"max_records": RECORDS_MAX + 1}, {"max_wait_s": 0.0}, {"max_wait_s": 60.0}):
        with pytest.raises(ValueError, match="not a batch"):
            service.handles_batch(Ping, **numbers)  # type: ignore[arg-type]
