"""Started marks in the services' Redis.

A record there is `cpi:{<service>}:r:<identity>`: state (1 byte), fence (24), and more that is no business of ours; `b`
is begun. How old it is, its time to live tells.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager
from typing import cast

from redis.asyncio import Redis
from redis.exceptions import RedisError

from orchestrator.runtime.audit_marks import COMMAND_PREFIX, MARKS_MAX, MINUTE_MS, Mark
from orchestrator.runtime.store import StoreUnavailable

KEEP_MS = 26 * 60 * MINUTE_MS
"""What the SDK keeps a record for (24 h and a margin of 2 h). Of a service with a longer `retention_hours` marks look
younger than they are."""
SCAN_COUNT = 1_000
TIMEOUT_S = 10.0
BEGUN = b"b"
FENCE = slice(1, 25)
HEAD_END = 24


@asynccontextmanager
async def open_marks(url: str) -> AsyncIterator[RedisMarks]:
    """Nothing is asked of Redis yet."""
    redis = Redis.from_url(url, protocol=2, socket_timeout=TIMEOUT_S, socket_connect_timeout=TIMEOUT_S)
    try:
        yield RedisMarks(redis)
    finally:
        await redis.aclose()


class RedisMarks:
    """Implements MarkStore."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    async def started(self, services: Collection[str], age_ms: int) -> Sequence[Mark]:
        found: list[Mark] = []
        try:
            for service in sorted(services):
                cursor, more = 0, True
                while more and len(found) < MARKS_MAX:
                    pattern = f"{_prefix(service)}{COMMAND_PREFIX}*"
                    cursor, keys = await self._redis.scan(cursor, match=pattern, count=SCAN_COUNT)
                    found += [
                        mark for mark in await self._marks(service, cast("list[bytes]", keys)) if mark.age_ms >= age_ms
                    ]
                    more = cursor != 0
        except (RedisError, OSError) as error:
            raise StoreUnavailable(repr(error)) from error
        # A scan may tell a key twice.
        return list({(mark.service, mark.command_id): mark for mark in found}.values())[:MARKS_MAX]

    async def still(self, marks: Sequence[Mark]) -> Sequence[Mark]:
        try:
            left = []
            for mark in marks:
                now = await self._marks(mark.service, [_key(mark)])
                left += [mark for one in now if one.fence == mark.fence]
        except (RedisError, OSError) as error:
            raise StoreUnavailable(repr(error)) from error
        return left

    async def _marks(self, service: str, keys: Sequence[bytes]) -> list[Mark]:
        if not keys:
            return []
        async with self._redis.pipeline(transaction=False) as pipeline:
            for key in keys:
                pipeline.getrange(key, 0, HEAD_END)
                pipeline.pttl(key)
            answers = await pipeline.execute()
        skipped = len(_prefix(service)) + len(COMMAND_PREFIX)
        return [
            Mark(service, key.decode()[skipped:], head[FENCE].decode(), KEEP_MS - left_ms)
            for key, head, left_ms in zip(keys, answers[::2], answers[1::2], strict=True)
            if head[:1] == BEGUN and left_ms >= 0
        ]


def _prefix(service: str) -> str:
    return f"cpi:{{{service}}}:r:"


def _key(mark: Mark) -> bytes:
    return f"{_prefix(mark.service)}{COMMAND_PREFIX}{mark.command_id}".encode()
