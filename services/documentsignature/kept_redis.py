"""Kept documents in the services' Redis, one key a request: `document-signature:request:<request id>`."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Final

import msgspec
from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import ExponentialBackoff
from redis.exceptions import ResponseError

from operations.packing_redis import packed
from services.documentsignature.kept import KEPT_DAYS, Kept

CONNECTIONS_MAX: Final = 8
AWAY_PAUSE_SECONDS_MAX: Final = 1.0
AWAY_RETRIES_MAX: Final = 900
"""A Redis that is away is waited out; the handler's time limit comes first."""
FULL: Final = "OOM command not allowed"

_reader = msgspec.json.Decoder(Kept)


def open_client(url: str) -> Redis:
    """A client that waits while Redis is away: what it does may be done twice."""
    backoff = ExponentialBackoff(cap=AWAY_PAUSE_SECONDS_MAX, base=0.01)
    pool = BlockingConnectionPool.from_url(
        url, max_connections=CONNECTIONS_MAX, timeout=None, protocol=2, retry=Retry(backoff, AWAY_RETRIES_MAX)
    )
    return Redis.from_pool(packed(pool))


class RedisKeptDocuments:
    """The client is the caller's to close."""

    def __init__(self, client: Redis) -> None:
        self._client = client

    async def keep(self, request_id: str, document: Kept) -> None:
        value = msgspec.json.encode(document)
        for _ in range(AWAY_RETRIES_MAX):
            try:
                await self._client.set(_key(request_id), value, ex=timedelta(days=KEPT_DAYS))
                return
            except ResponseError as error:
                # A Redis that is full has done nothing, and is waited out like one that is away.
                if FULL not in str(error):
                    raise
            await asyncio.sleep(AWAY_PAUSE_SECONDS_MAX)
        raise TimeoutError("the store was full for too long")

    async def find(self, request_id: str) -> Kept | None:
        value = await self._client.get(_key(request_id))
        return None if value is None else _reader.decode(value)


def _key(request_id: str) -> str:
    return f"document-signature:request:{request_id}"
