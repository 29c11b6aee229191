"""The inbox in Redis (6.2+, Valkey, Cluster): one Lua script a step, all keys of a service in one slot.

Keys, with hash tag `{<service>}`: `cpi:{s}:owners` (owner -> session:number), `cpi:{s}:positions` (topic/partition ->
next offset:session), `cpi:{s}:r:<identity>` (one record a message; layout in lua/exchange.lua).
"""

from __future__ import annotations

import importlib.resources
from collections.abc import Awaitable, Mapping, Sequence
from typing import Any, TypeVar, cast

import msgpack
from redis.asyncio import ConnectionPool, Redis
from redis.asyncio.retry import Retry as RedisRetry
from redis.backoff import NoBackoff
from redis.exceptions import NoPermissionError, RedisError, ResponseError

from operations.packing_redis import packed
from services.sdk.failures import StartRefused, StoreAwayError, StoreMovedError
from services.sdk.inbox_retention import RETENTION_MS, kept_ms
from services.sdk.ports import Answer, Claim, Exchange, Found, Place, Reply

SOCKET_TIMEOUT_S = 10.0
CONNECT_TIMEOUT_S = 5.0
REQUIRED = {"maxmemory-policy": "noeviction", "appendonly": "yes", "appendfsync": "always"}
"""A service's store is a system of record: what it acknowledged must survive (DESIGN section 5)."""

_FOUND = {found.value.encode(): found for found in Found}
TRANSPORT_CLOSED = "the handler is closed"
"""uvloop raises a bare RuntimeError for a write on a transport that was closed in the same turn of the loop (uvloop
issue 506), and redis-py lets it pass."""

T = TypeVar("T")


def open_redis(url: str) -> Redis:
    """A client without retries of its own: the runner repeats a step and knows that it did."""
    pool: ConnectionPool = ConnectionPool.from_url(
        url,
        protocol=2,
        socket_timeout=SOCKET_TIMEOUT_S,
        socket_connect_timeout=CONNECT_TIMEOUT_S,
        retry=RedisRetry(NoBackoff(), 0),
    )
    return Redis.from_pool(packed(pool))


class RedisInbox:
    def __init__(self, redis: Redis, service: str, retention_ms: int = RETENTION_MS) -> None:
        self._redis = redis
        self._prefix = f"cpi:{{{service}}}:"
        self._keys = [f"{self._prefix}owners", f"{self._prefix}positions"]
        self._keep_ms = kept_ms(retention_ms)
        self._take = redis.register_script(_script("take.lua"))
        self._exchange = redis.register_script(_script("exchange.lua"))

    async def check(self) -> Sequence[str]:
        """Raises StartRefused, StoreAwayError."""
        await _reached(cast("Awaitable[Any]", self._redis.ping()))
        warnings: list[str] = []
        for name, wanted in REQUIRED.items():
            try:
                found = _text(await self._redis.config_get(name)).get(name)
            except (NoPermissionError, ResponseError) as error:
                warnings.append(f"cannot check Redis setting {name} ({error}); it must be {wanted}")
                continue
            except (RedisError, OSError) as error:
                raise StoreAwayError(f"the dedupe store is away: {error}") from error
            if found is not None and found != wanted:
                raise StartRefused(
                    f"Redis setting {name} is {found!r}: the services' store is a system of record and needs {wanted!r}"
                )
        return warnings

    async def positions(self) -> dict[Place, int]:
        stored = await _reached(cast("Awaitable[dict[bytes, bytes]]", self._redis.hgetall(self._keys[1])))
        found: dict[Place, int] = {}
        for field, value in stored.items():
            topic, _, partition = field.decode().rpartition("/")
            found[Place(topic, int(partition))] = int(value.split(b":", 1)[0])
        return found

    async def take(self, owner: str, session: str, positions: Mapping[Place, int]) -> None:
        pairs: list[str | int] = [part for place, offset in positions.items() for part in (str(place), offset)]
        await _reached(self._take(keys=self._keys, args=[owner, session, *pairs]))

    async def exchange(self, owner: str, session: str, exchange: Exchange) -> Reply:
        keys = self._keys + [f"{self._prefix}r:{settlement.identity}" for settlement in exchange.settlements]
        for claim in exchange.claims:
            keys.append(f"{self._prefix}r:{claim.identity}")
            keys.extend(f"{self._prefix}r:{identity}" for identity in claim.revokes)
        args: list[str | int | bytes] = [owner, session, exchange.number, self._keep_ms, _body(exchange)]
        reply = await _reached(self._exchange(keys=keys, args=args))
        if reply[0] == 0:
            raise StoreMovedError(reply[1].decode(), reply[2].decode().partition(":")[0] or None)
        answers = [_answer(claim, answer) for claim, answer in zip(exchange.claims, reply[2], strict=True)]
        return Reply(tuple([stored == 1 for stored in reply[1]]), tuple(answers))


def _body(exchange: Exchange) -> bytes:
    """The shapes are those that lua/exchange.lua names."""
    positions = [(str(place), before, after) for place, (before, after) in exchange.positions.items()]
    settlements = [(f"{'d' if s.dead else 's'}{s.fence}{s.fingerprint}", s.outcomes) for s in exchange.settlements]
    claims = [_claim(claim) for claim in exchange.claims]
    # The old string format: the msgpack library inside Redis 6.2 knows it in any case.
    body: bytes = msgpack.packb((positions, settlements, claims), use_bin_type=False)
    return body


def _claim(claim: Claim) -> str | tuple[str, int, bytes | bool, int]:
    head = f"b{claim.fence}{claim.fingerprint}"
    if claim.refusal is None and not claim.revokes and not claim.replayed:
        return head
    return head, int(claim.replayed), False if claim.refusal is None else claim.refusal, len(claim.revokes)


def _answer(claim: Claim, answer: bytes | list[bytes]) -> Answer:
    if isinstance(answer, bytes):
        return Answer(Found.NEW, claim.fence)
    found, fence, outcomes = answer
    return Answer(_FOUND[found], fence.decode(), outcomes)


async def _reached(call: Awaitable[T]) -> T:
    """Raises StoreAwayError for whatever kept Redis from doing its work: away, loading, full, read-only."""
    try:
        return await call
    except (RedisError, OSError) as error:
        raise StoreAwayError(f"the dedupe store is away: {type(error).__name__}: {error}") from error
    except RuntimeError as error:
        if TRANSPORT_CLOSED not in str(error):
            raise
        raise StoreAwayError(f"the dedupe store is away: {error}") from error


def _text(settings: Mapping[Any, Any]) -> dict[str, str]:
    return {_decoded(name): _decoded(value) for name, value in settings.items()}


def _decoded(value: bytes | str) -> str:
    return value.decode() if isinstance(value, bytes) else value


def _script(name: str) -> str:
    return importlib.resources.files("services.sdk").joinpath("lua", name).read_text()
