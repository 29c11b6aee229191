"""The audit reads marks that the services' own inbox has written in a real Redis: one layout, two programs."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest
from redis.asyncio import Redis

from orchestrator.runtime.audit_marks import MINUTE_MS, UNTOLD_MS, Mark, MarkStore
from orchestrator.runtime.audit_marks_memory import MemoryMarks
from orchestrator.runtime.audit_marks_redis import KEEP_MS, open_marks
from services.sdk.inbox_redis import RedisInbox, open_redis
from services.sdk.inbox_retention import RETENTION_MS, kept_ms
from tests.conformance.test_sdk_inbox import PLACE, Session, padded
from tests.runtime.real import private_redis

pytestmark = pytest.mark.stack
COMMAND = "order-fulfilment:o1/charge/1"
KEY = f"cpi:{{payment}}:r:k:{COMMAND}"
PAYMENT = frozenset(("payment", "shipping"))


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with private_redis() as found:
        yield found


@pytest.fixture
async def redis(url: str) -> AsyncIterator[Redis]:
    redis = open_redis(url)
    await redis.flushall()
    yield redis
    await redis.aclose()


@pytest.fixture
async def session(redis: Redis) -> Session:
    session = Session(RedisInbox(redis, "payment"), "one", "aaaaaaaa")
    await session.take({PLACE: 10})
    return session


@pytest.fixture
async def marks(url: str) -> AsyncIterator[MarkStore]:
    async with open_marks(url) as marks:
        yield marks


async def age(redis: Redis, age_ms: int) -> None:
    await redis.pexpire(KEY, KEEP_MS - age_ms)


def test_a_record_is_kept_as_long_as_the_audit_believes() -> None:
    assert kept_ms(RETENTION_MS) == KEEP_MS


async def test_a_command_that_was_begun_is_told_when_it_is_old_enough(
    redis: Redis, session: Session, marks: MarkStore
) -> None:
    await session.claim(f"k:{COMMAND}", "f1")
    assert list(await marks.started(PAYMENT, UNTOLD_MS)) == []
    await age(redis, UNTOLD_MS)
    (found,) = await marks.started(PAYMENT, UNTOLD_MS)
    assert (found.service, found.command_id, found.fence) == ("payment", COMMAND, padded("f1"))
    assert UNTOLD_MS <= found.age_ms < UNTOLD_MS + MINUTE_MS
    assert list(await marks.still([found])) == [found]
    assert list(await marks.started(frozenset(("inventory",)), UNTOLD_MS)) == []


async def test_one_that_has_ended_is_none(redis: Redis, session: Session, marks: MarkStore) -> None:
    await session.claim(f"k:{COMMAND}", "f1")
    await age(redis, UNTOLD_MS)
    (found,) = await marks.started(PAYMENT, UNTOLD_MS)
    assert await session.settle(f"k:{COMMAND}", "f1", b"answers")
    await age(redis, UNTOLD_MS)
    assert list(await marks.started(PAYMENT, UNTOLD_MS)) == []
    assert list(await marks.still([found])) == []


async def test_one_that_is_executed_again_is_young_and_another(
    redis: Redis, session: Session, marks: MarkStore
) -> None:
    await session.claim(f"k:{COMMAND}", "f1")
    await age(redis, UNTOLD_MS)
    (found,) = await marks.started(PAYMENT, UNTOLD_MS)
    await session.claim(f"k:{COMMAND}", "f2")
    assert list(await marks.started(PAYMENT, UNTOLD_MS)) == []
    assert list(await marks.still([found])) == []


async def test_revoked_ids_and_events_are_none(redis: Redis, session: Session, marks: MarkStore) -> None:
    await session.claim("k:order-fulfilment:o1/charge/undo/1", "f1", revokes=(f"k:{COMMAND}",))
    await session.claim("m:/shipping 17", "f2")
    await age(redis, UNTOLD_MS)
    assert [mark.command_id for mark in await marks.started(PAYMENT, 0)] == ["order-fulfilment:o1/charge/undo/1"]


async def test_memory_answers_alike() -> None:
    one = Mark("payment", COMMAND, padded("f1"), UNTOLD_MS)
    marks = MemoryMarks([one])
    assert await marks.started(PAYMENT, UNTOLD_MS) == [one]
    assert await marks.started(PAYMENT, UNTOLD_MS + 1) == []
    assert await marks.started(frozenset(("inventory",)), 0) == []
    assert await marks.still([one]) == [one]
    marks.marks = [Mark("payment", COMMAND, padded("f2"), 0)]
    assert await marks.still([one]) == []
