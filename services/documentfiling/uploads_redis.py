"""Uploads in the services' Redis, one key a document and path: `document-filing:upload:<document id>:<path>`."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Final, cast

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import ExponentialBackoff
from redis.exceptions import ResponseError

from operations.packing_redis import packed
from services.documentfiling.uploads import KEPT_DAYS

CONNECTIONS_MAX: Final = 8
AWAY_PAUSE_SECONDS_MAX: Final = 1.0
AWAY_RETRIES_MAX: Final = 900
"""A Redis that is away is waited out; the handler's time limit comes first."""
FULL: Final = "OOM command not allowed"


def open_client(url: str) -> Redis:
    """A client that waits while Redis is away: what it does may be done twice."""
    backoff = ExponentialBackoff(cap=AWAY_PAUSE_SECONDS_MAX, base=0.01)
    pool = BlockingConnectionPool.from_url(
        url, max_connections=CONNECTIONS_MAX, timeout=None, protocol=2, retry=Retry(backoff, AWAY_RETRIES_MAX)
    )
    return Redis.from_pool(packed(pool))


class RedisUploads:
    """The client is the caller's to close."""

    def __init__(self, client: Redis) -> None:
        self._client = client

    async def note(self, document_id: str, path: str, sha256: str) -> None:
        for _ in range(AWAY_RETRIES_MAX):
            try:
                await self._client.set(_key(document_id, path), sha256, ex=timedelta(days=KEPT_DAYS))
                return
            except ResponseError as error:
                # A Redis that is full has done nothing, and is waited out like one that is away.
                if FULL not in str(error):
                    raise
            await asyncio.sleep(AWAY_PAUSE_SECONDS_MAX)
        raise TimeoutError("the store was full for too long")

    async def find(self, document_id: str, path: str) -> str | None:
        value = cast("bytes | None", await self._client.get(_key(document_id, path)))
        return None if value is None else value.decode()


def _key(document_id: str, path: str) -> str:
    # No id has a colon.
    return f"document-filing:upload:{document_id}:{path}"
