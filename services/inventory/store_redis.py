"""Stock in Redis: three Lua scripts over one hash of levels and one hash per order (decision 0030).

Keys carry one hash tag, `{stock}`, so that a reservation over many skus is one script in one slot of a cluster:
`inventory:{stock}:levels` (sku -> numbers per warehouse), `inventory:{stock}:floor` (the first revision of a
level that opens, if not 1: decision 0015) and `inventory:{stock}:order:<order_id>` (what every request
did, which reservations are open, which are revoked).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final, cast

import msgspec
import orjson
from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import ExponentialBackoff
from redis.exceptions import ResponseError

from operations.packing_redis import packed
from services.inventory.opening import OpeningRule
from services.inventory.stock import (
    EARLY_DISPATCH_MS,
    Change,
    Demand,
    Level,
    Movement,
    ReservationRevokedError,
    floor_of,
)
from services.sdk.scripts_redis import Argument, Script, ScriptLine

DAY_MS: Final = 24 * 60 * 60 * 1000
ENDED_RETENTION_MS: Final = 8 * DAY_MS
"""How long an order with nothing reserved is remembered: a day more than the commands' topic (contracts.topics), so
whatever can still be read from the log finds its first answer."""
SCAN_COUNT: Final = 1_000
LEVEL_STRIDE: Final = 5
"""Entries per warehouse in a level's JSON array: name, on_hand, reserved, dispatched, revision."""
CONNECTIONS_MAX: Final = 8
"""All scripts share one at a time; the rest is for scans. A call that finds no free connection waits."""
AWAY_PAUSE_SECONDS_MAX: Final = 1.0
FULL: Final = "OOM command not allowed"
FULL_PAUSE_SECONDS: Final = 0.05
AWAY_RETRIES_MAX: Final = 900
"""A Redis that is away is waited out (DESIGN section 5); the handler's time limit comes first."""

LEVELS_KEY: Final = "inventory:{stock}:levels"
FLOOR_KEY: Final = "inventory:{stock}:floor"
RENEWED_SKUS: Final = 200
"""Of one script: it must not hold Redis for long, and its answer is one page of events."""


def order_key(order_id: str) -> str:
    return f"inventory:{{stock}}:order:{order_id}"


def open_client(url: str) -> Redis:
    """A client that waits while Redis is away: a script may then run twice, which its request id makes harmless."""
    backoff = ExponentialBackoff(cap=AWAY_PAUSE_SECONDS_MAX, base=0.01)
    pool = BlockingConnectionPool.from_url(
        url, max_connections=CONNECTIONS_MAX, timeout=None, protocol=2, retry=Retry(backoff, AWAY_RETRIES_MAX)
    )
    return Redis.from_pool(packed(pool))


class RedisStock:
    """The StockStore over redis.asyncio (RESP2, bytes). The client is the caller's to close."""

    def __init__(self, client: Redis, opening: OpeningRule) -> None:
        self._client = client
        self._opening = opening
        self._line = ScriptLine(client)
        self._reserve = _script("reserve.lua")
        self._settle = _script("settle.lua")
        self._renew = _script("renew.lua")

    async def reserve(self, order_id: str, reservation_id: str, demands: tuple[Demand, ...], *, at_ms: int) -> Movement:
        openings, lines = _numbered_openings(demands, self._opening)
        answer = await self._run(
            self._reserve,
            (LEVELS_KEY, order_key(order_id), FLOOR_KEY),
            reservation_id,
            at_ms,
            ENDED_RETENTION_MS,
            EARLY_DISPATCH_MS,
            orjson.dumps(openings),
            *lines,
        )
        if answer is None:
            raise ReservationRevokedError(reservation_id)
        return _movement(answer)

    async def release(
        self, order_id: str, request_id: str, reservation_ids: tuple[str, ...] | None, *, at_ms: int
    ) -> Movement:
        scope = ("all",) if reservation_ids is None else ("named", *reservation_ids)
        return await self._end(order_id, request_id, at_ms, "release", *scope)

    async def dispatch(self, order_id: str, request_id: str, *, at_ms: int) -> Movement:
        return await self._end(order_id, request_id, at_ms, "dispatch")

    async def _end(self, order_id: str, request_id: str, at_ms: int, *how: str) -> Movement:
        keys = (LEVELS_KEY, order_key(order_id))
        answer = await self._run(self._settle, keys, request_id, at_ms, ENDED_RETENTION_MS, *how)
        assert answer is not None, "settle.lua always answers"
        return _movement(answer)

    async def renew(self, *, at_ms: int) -> AsyncIterator[tuple[Change, ...]]:
        await self._run(self._renew, (LEVELS_KEY, FLOOR_KEY), at_ms, floor_of(at_ms))
        skus: list[str] = []
        async for sku, _ in self._client.hscan_iter(LEVELS_KEY, count=SCAN_COUNT):
            skus.append(sku.decode())
            if len(skus) == RENEWED_SKUS:
                yield await self._renewed(skus, at_ms)
                skus = []
        if skus:
            yield await self._renewed(skus, at_ms)

    async def _renewed(self, skus: list[str], at_ms: int) -> tuple[Change, ...]:
        answer = await self._run(self._renew, (LEVELS_KEY, FLOOR_KEY), at_ms, floor_of(at_ms), *skus)
        assert answer is not None, "renew.lua always answers"
        return _movement(answer).changes

    async def _run(self, script: Script, keys: tuple[str, ...], *arguments: Argument) -> bytes | None:
        """A Redis that is full is waited out like one that is away: it refuses a script at its first write, so nothing
        was done. Counted as the handler's failure, a reaction to an event would be given up."""
        for turn in range(AWAY_RETRIES_MAX):
            try:
                return cast("bytes | None", await self._line.call(script, keys, arguments))
            except ResponseError as error:
                if FULL not in str(error):
                    raise
            await asyncio.sleep(min(FULL_PAUSE_SECONDS * 2 ** min(turn, 10), AWAY_PAUSE_SECONDS_MAX))
        return cast("bytes | None", await self._line.call(script, keys, arguments))

    async def levels(self) -> AsyncIterator[Level]:
        async for sku, raw in self._client.hscan_iter(LEVELS_KEY, count=SCAN_COUNT):
            entries = orjson.loads(raw)
            for at in range(0, len(entries), LEVEL_STRIDE):
                yield Level(sku.decode(), *entries[at : at + LEVEL_STRIDE])


def _script(name: str) -> Script:
    folder = Path(__file__).parent
    return Script.of("\n".join((folder / part).read_text() for part in ("levels.lua", name)))


def _numbered_openings(demands: tuple[Demand, ...], rule: OpeningRule) -> tuple[list[list[str | int]], list[str | int]]:
    """The distinct openings, and per demand: sku, quantity, the number of its opening from 1 (0: none)."""
    numbers: dict[tuple[tuple[str, int], ...], int] = {}
    lines: list[str | int] = []
    for demand in demands:
        opening = tuple(rule(demand.sku).items())
        number = numbers.setdefault(opening, len(numbers) + 1) if opening else 0
        lines += (demand.sku, demand.quantity, number)
    return [[entry for pair in opening for entry in pair] for opening in numbers], lines


_movement = msgspec.json.Decoder(Movement).decode
"""What a script answers; its arrays are the fields in order."""
