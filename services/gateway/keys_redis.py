"""The memory of keys in the services' Redis (6.2+, Valkey, Cluster), one key an entry: `cpg:key:<digest of the name>`.

The digest, since a key is a stranger's text: what is stored under it has a bounded length.
"""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable
from typing import Any, cast

import orjson
from redis.asyncio import Redis
from redis.exceptions import RedisError

from services.gateway.keys import Entry
from services.sdk.failures import StoreAwayError
from services.sdk.inbox_redis import TRANSPORT_CLOSED

RESERVE = """
local found = redis.call('GET', KEYS[1])
if found then return found end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return ARGV[1]
"""
"""`SET ... NX GET` in one command needs Redis 7."""


class RedisKeys:
    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._reserve = redis.register_script(RESERVE)

    async def reserve(self, name: str, entry: Entry, keep_ms: int) -> Entry:
        stored = await _reached(self._reserve(keys=[_key(name)], args=[_packed(entry), keep_ms]))
        return Entry(*orjson.loads(stored))

    async def settle(self, name: str, entry: Entry, keep_ms: int) -> None:
        value = _packed(entry._replace(answered=True))
        await _reached(self._redis.set(_key(name), value, px=keep_ms))

    async def ping(self) -> str | None:
        """For `/readyz`: None, or why Redis does not answer."""
        try:
            await _reached(cast("Awaitable[Any]", self._redis.ping()))
        except StoreAwayError as error:
            return str(error)
        return None


def _packed(entry: Entry) -> bytes:
    return orjson.dumps(tuple(entry))


def _key(name: str) -> str:
    return f"cpg:key:{hashlib.sha256(name.encode()).hexdigest()}"


async def _reached(call: Awaitable[Any]) -> Any:
    try:
        return await call
    except (RedisError, OSError) as error:
        raise StoreAwayError(f"the memory of keys is away: {type(error).__name__}: {error}") from error
    except RuntimeError as error:
        if TRANSPORT_CLOSED not in str(error):
            raise
        raise StoreAwayError(f"the memory of keys is away: {error}") from error
