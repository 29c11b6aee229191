"""Levels in the services' Redis: one hash, `stock-report:{levels}` ("<sku> <warehouse>" -> "<revision> <on hand>
<reserved>"). A sku has no blank in it, a warehouse may."""

from __future__ import annotations

import asyncio
import importlib.resources
from collections.abc import AsyncIterator
from typing import Final, cast

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import ExponentialBackoff
from redis.exceptions import ResponseError

from operations.packing_redis import packed
from services.sdk.scripts_redis import Script, ScriptLine
from services.stockreport.levels import Level

LEVELS_KEY: Final = "stock-report:{levels}"
CONNECTIONS_MAX: Final = 4
AWAY_PAUSE_SECONDS_MAX: Final = 1.0
AWAY_RETRIES_MAX: Final = 900
"""A Redis that is away is waited out; the handler's time limit comes first."""
FULL: Final = "OOM command not allowed"
SCAN_COUNT: Final = 1_000


def open_levels(url: str) -> Redis:
    """A client that waits while Redis is away: a script may run twice, which its revision makes harmless."""
    backoff = ExponentialBackoff(cap=AWAY_PAUSE_SECONDS_MAX, base=0.01)
    pool = BlockingConnectionPool.from_url(
        url, max_connections=CONNECTIONS_MAX, timeout=None, protocol=2, retry=Retry(backoff, AWAY_RETRIES_MAX)
    )
    return Redis.from_pool(packed(pool))


class RedisLevels:
    """The client is the caller's to close."""

    def __init__(self, client: Redis) -> None:
        self._client = client
        self._line = ScriptLine(client)
        text = importlib.resources.files("services.stockreport").joinpath("lua", "note.lua").read_text()
        self._note = Script.of(text)

    async def note(self, level: Level) -> bool:
        field = f"{level.sku} {level.warehouse}"
        for _ in range(AWAY_RETRIES_MAX):
            try:
                arguments = (field, level.revision, level.on_hand, level.reserved)
                return cast(int, await self._line.call(self._note, (LEVELS_KEY,), arguments)) == 1
            except ResponseError as error:
                # A Redis that is full has done nothing, and is waited out like one that is away.
                if FULL not in str(error):
                    raise
            await asyncio.sleep(AWAY_PAUSE_SECONDS_MAX)
        return False

    async def levels(self) -> AsyncIterator[Level]:
        seen: set[bytes] = set()
        async for field, value in self._client.hscan_iter(LEVELS_KEY, count=SCAN_COUNT):
            # A scan may show an entry twice while Redis grows the hash.
            if field in seen:
                continue
            seen.add(field)
            sku, _, warehouse = field.decode().partition(" ")
            revision, on_hand, reserved = (int(part) for part in value.split(b" "))
            yield Level(sku, warehouse, on_hand, reserved, revision)
