"""The store on Redis 6.2 or newer, Valkey, or Redis Cluster: one script call per shard, pipelined where that is
possible.

RESP2 and hiredis (the faster pair). redis-py may repeat a call by itself: loads do not care, and a repeated
checkpoint is recognised by its id.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Collection, Mapping, Sequence
from typing import Any, cast

from redis.asyncio import ConnectionPool, Redis, RedisCluster
from redis.asyncio.retry import Retry
from redis.backoff import ExponentialBackoff
from redis.exceptions import NoScriptError, RedisError

from contracts.ids import partition_of
from contracts.topics import SHARDS
from operations.packing_redis import packed
from orchestrator.runtime.keys_redis import (
    REFUSED_KEY,
    TIMER_SEPARATOR,
    CheckpointCall,
    history_key,
    index_key,
    offset_key,
    process_key,
    sagas_key,
    timers_key,
)
from orchestrator.runtime.packing import unpack
from orchestrator.runtime.snapshot_store_redis import Command, RedisSnapshots, Reply, Script
from orchestrator.runtime.store import (
    Checkpoint,
    DueTimer,
    IndexEntry,
    Loaded,
    ShardPosition,
    StoreUnavailable,
    WriteResult,
)

VERSION_MIN = (6, 2)
CALL_LIMIT_S = 5.0
"""How long one answer may take before the connection is given up."""
RETRIES = 2
SCAN_PAGE = 1_000
"""Keys that one step of a scan looks at."""
CLUSTER_CALLS_MAX = 16
"""Calls at once in a cluster: its client has at most 31 connections a node."""
TRANSPORT_CLOSED = "the handler is closed"


class StoreRefused(RuntimeError):
    """This Redis cannot be trusted with state; the message says which setting is wrong."""


def open_client(url: str, options: Mapping[str, Any]) -> Redis:
    """A client whose connections pack with hiredis. `options`: as of a redis-py connection pool."""
    pool: ConnectionPool = ConnectionPool.from_url(url, **options)
    return Redis.from_pool(packed(pool))


class RedisStore(RedisSnapshots):
    """Implements ShardStore, TimerStore, ProcessStore and SnapshotStore. `cluster`: the URL names one of its
    nodes."""

    def __init__(self, url: str, *, cluster: bool = False) -> None:
        options: dict[str, Any] = {
            "protocol": 2,
            "socket_timeout": CALL_LIMIT_S,
            "socket_connect_timeout": CALL_LIMIT_S,
            "retry": Retry(ExponentialBackoff(cap=0.5, base=0.05), RETRIES),
        }
        self._client: Redis | None = None if cluster else open_client(url, options)
        self._cluster: RedisCluster | None = RedisCluster.from_url(url, **options) if cluster else None
        self._lanes = asyncio.Semaphore(CLUSTER_CALLS_MAX)
        self._checkpoint = Script("checkpoint.lua")
        self._load = Script("load.lua")
        self._cover = Script("cover.lua")
        self._uncovered = Script("uncovered.lua")
        self._restore = Script("restore.lua")
        self._adopt = Script("adopt.lua")

    async def close(self) -> None:
        """Drop the connections."""
        for client in (self._client, self._cluster):
            if client is not None:
                await client.aclose()

    async def check(self) -> None:
        """Raises StoreRefused if a setting makes this Redis unfit, StoreUnavailable if it cannot be asked."""
        try:
            if self._cluster is not None:
                await self._cluster.initialize()
                infos = [
                    await cast(Awaitable[Any], self._cluster.info(target_nodes=node))
                    for node in self._cluster.get_primaries()
                ]
            else:
                assert self._client is not None
                infos = [await self._client.info()]
        except (RedisError, OSError, RuntimeError) as error:
            raise _away(error) from error
        for info in infos:
            problem = unfit(info)
            if problem is not None:
                raise StoreRefused(problem)

    # ShardStore.

    async def positions(self, shards: Collection[int]) -> Mapping[int, ShardPosition | None]:
        names = ("next", "record_id", "checkpoint_id", "semantics")
        replies = await self._run([("HMGET", offset_key(shard), *names) for shard in shards])
        return {shard: _position(reply) for shard, reply in zip(shards, replies, strict=True)}

    async def load(self, wanted: Mapping[int, Sequence[str]]) -> Mapping[int, Loaded]:
        calls = []
        for shard, ids in wanted.items():
            keys = (offset_key(shard), *(process_key(shard, process_id) for process_id in ids))
            calls.append(("EVALSHA", self._load.sha, len(keys), *keys))
        replies = await self._run(calls, self._load)
        return {
            shard: Loaded(None if reply[0] is None else int(reply[0]), tuple(map(_unpacked, reply[1:])))
            for shard, reply in zip(wanted, replies, strict=True)
        }

    async def write(self, checkpoints: Sequence[Checkpoint]) -> Sequence[WriteResult]:
        calls = []
        for checkpoint in checkpoints:
            call = CheckpointCall(checkpoint)
            calls.append(("EVALSHA", self._checkpoint.sha, len(call.keys), *call.keys, *call.arguments))
        return [WriteResult(reply.decode()) for reply in await self._run(calls, self._checkpoint)]

    async def set_refusals(self, refusals: Mapping[int, bytes | None]) -> None:
        gone = [shard for shard, refusal in refusals.items() if refusal is None]
        commands: list[Command] = [("HDEL", REFUSED_KEY, *gone)] if gone else []
        commands.extend(("HSET", REFUSED_KEY, shard, kept) for shard, kept in refusals.items() if kept is not None)
        await self._run(commands)

    # TimerStore.

    async def due_timers(self, shards: Collection[int], until_ms: int, limit: int) -> Sequence[DueTimer]:
        replies = await self._run(
            [
                ("ZRANGEBYSCORE", timers_key(shard), "-inf", until_ms, "WITHSCORES", "LIMIT", 0, limit)
                for shard in shards
            ]
        )
        found = []
        for shard, reply in zip(shards, replies, strict=True):
            for member, due_ms in _pairs(reply):
                process_id, _, timer_id = member.partition(TIMER_SEPARATOR)
                found.append(DueTimer(shard, process_id, timer_id, due_ms))
        return found

    # ProcessStore.

    async def sagas(self) -> frozenset[str]:
        replies = await self._run([("SMEMBERS", sagas_key(shard)) for shard in range(SHARDS)])
        return frozenset(name.decode() for reply in replies for name in reply)

    async def entries(self, index: str, at_most_ms: int | None, limit: int, skip: int) -> Sequence[IndexEntry]:
        top = "+inf" if at_most_ms is None else at_most_ms
        replies = await self._run(
            [
                ("ZREVRANGEBYSCORE", index_key(shard, index), top, "-inf", "WITHSCORES", "LIMIT", skip, limit)
                for shard in range(SHARDS)
            ]
        )
        return [IndexEntry(member, at_ms) for reply in replies for member, at_ms in _pairs(reply)]

    async def counts(self, indexes: Sequence[str]) -> Sequence[int]:
        replies = await self._run([("ZCARD", index_key(shard, name)) for name in indexes for shard in range(SHARDS)])
        return [sum(replies[first : first + SHARDS]) for first in range(0, len(replies), SHARDS)]

    async def blobs(self, process_ids: Sequence[str]) -> Sequence[bytes | None]:
        replies = await self._run([("GET", process_key(_shard(name), name)) for name in process_ids])
        return [_unpacked(reply) for reply in replies]

    async def history(self, process_id: str, start: int, limit: int) -> Sequence[bytes]:
        key = history_key(_shard(process_id), process_id)
        (reply,) = await self._run([("LRANGE", key, start, start + limit - 1)])
        return [unpack(entry) for entry in reply]

    async def refusals(self) -> Mapping[int, bytes]:
        (reply,) = await self._run([("HGETALL", REFUSED_KEY)])
        flat = [part for pair in reply.items() for part in pair] if isinstance(reply, dict) else reply
        return {int(shard): kept for shard, kept in zip(flat[::2], flat[1::2], strict=True)}

    # For the audit, which reads and mends beside this store (`audit_redis`).

    @staticmethod
    def script(name: str) -> Script:
        """A Lua script of this package."""
        return Script(name)

    async def run(self, commands: Sequence[Command], script: Script | None = None) -> list[Reply]:
        """Replies in order. Raises StoreUnavailable if any of them failed: others may have been done."""
        return await self._run(commands, script)

    async def keys(self, pattern: str, page: int) -> AsyncIterator[list[str]]:
        """All keys that fit, about `page` keys looked at a time; one may be told twice. Raises StoreUnavailable."""
        nodes: Sequence[Any] = (None,) if self._cluster is None else self._cluster.get_primaries()
        for node in nodes:
            cursor = 0
            while True:
                cursor, found = await self._scan(node, cursor, pattern, page)
                yield [key.decode() for key in found]
                if cursor == 0:
                    break

    async def _scan(self, node: Any, cursor: int, pattern: str, page: int) -> tuple[int, Sequence[bytes]]:
        words = ("SCAN", cursor, "MATCH", pattern, "COUNT", page)
        client: Any = self._client if self._cluster is None else self._cluster
        where = {} if node is None else {"target_nodes": node}
        try:
            reply = await client.execute_command(*words, **where)
        except (RedisError, OSError, RuntimeError) as error:
            raise _away(error) from error
        position = next(iter(reply[0].values())) if isinstance(reply[0], dict) else reply[0]  # a cluster's, by node
        return int(position), reply[1]

    # Calls.

    async def _run(self, commands: Sequence[Command], script: Script | None = None) -> list[Reply]:
        """Replies in order. Raises StoreUnavailable if any of them failed: others may have been done."""
        if not commands:
            return []
        try:
            replies = await self._send(commands)
            forgotten = [n for n, reply in enumerate(replies) if isinstance(reply, NoScriptError)]
            if forgotten and script is not None:
                await self._teach(script)
                for number, reply in zip(forgotten, await self._send([commands[n] for n in forgotten]), strict=True):
                    replies[number] = reply
        except (RedisError, OSError, RuntimeError) as error:
            raise _away(error) from error
        for reply in replies:
            if isinstance(reply, Exception):
                raise StoreUnavailable(f"{type(reply).__name__}: {reply}") from reply
        return replies

    async def _send(self, commands: Sequence[Command]) -> list[Reply]:
        """One round trip; in a cluster one each, since its pipelines refuse EVALSHA."""
        if self._cluster is not None:
            calls = (self._send_one(self._cluster, command) for command in commands)
            return list(await asyncio.gather(*calls, return_exceptions=True))
        assert self._client is not None
        async with self._client.pipeline(transaction=False) as pipeline:
            for command in commands:
                pipeline.execute_command(*command)
            return await pipeline.execute(raise_on_error=False)

    async def _send_one(self, cluster: RedisCluster, command: Command) -> Reply:
        async with self._lanes:
            return await cluster.execute_command(*command)

    async def _keys(self, shard: int, pattern: str, cursor: int) -> tuple[int, list[bytes]]:
        """One page of all keys of one node that match: slow where a node has many, so only for what is rare."""
        try:
            if self._cluster is None:
                assert self._client is not None
                found: Any = await self._client.scan(cursor, pattern, SCAN_PAGE)
                return int(found[0]), found[1]
            node = self._cluster.get_node_from_key(offset_key(shard))
            found = await self._cluster.scan(cursor, pattern, SCAN_PAGE, target_nodes=node)
            return int(next(iter(found[0].values()))), found[1]
        except (RedisError, OSError) as error:
            raise StoreUnavailable(f"{type(error).__name__}: {error}") from error

    async def _teach(self, script: Script) -> None:
        client = self._cluster or self._client
        assert client is not None
        await cast(Awaitable[Any], client.script_load(script.text))


def _away(error: Exception) -> Exception:
    """A lost connection as StoreUnavailable, anything else as it is. uvloop raises a bare RuntimeError for a write on a
    transport that was closed in the same turn of the loop (uvloop issue 506), and redis-py lets it pass."""
    if isinstance(error, RuntimeError) and TRANSPORT_CLOSED not in str(error):
        return error
    return StoreUnavailable(f"{type(error).__name__}: {error}")


def unfit(info: Mapping[str, Any]) -> str | None:
    """Why a Redis with this INFO must not be used, in one sentence; None if it may."""
    version = str(info.get("redis_version", "0"))
    numbers = tuple(int(part) for part in re.findall(r"\d+", version)[:2])
    if numbers < VERSION_MIN:
        return f"Redis {version} is too old: 6.2 or newer is needed"
    if info.get("maxmemory_policy") != "noeviction":
        return (
            f"Redis has maxmemory-policy {info.get('maxmemory_policy')}: it must be noeviction, or"
            " states vanish when memory is short"
        )
    if not int(info.get("aof_enabled", 0)):
        return "Redis has no append-only file: set appendonly yes, or every restart of Redis folds the whole log again"
    return None


def _position(reply: Sequence[bytes | None]) -> ShardPosition | None:
    next_offset, record_id, checkpoint_id, semantics = reply
    if next_offset is None:
        return None
    return ShardPosition(
        int(next_offset), (record_id or b"").decode(), (checkpoint_id or b"").decode(), int(semantics or 0)
    )


def _pairs(reply: Sequence[Any]) -> list[tuple[str, int]]:
    """Members and whole-number scores. redis-py gives pairs for some commands and flat lists for others."""
    if reply and isinstance(reply[0], (tuple, list)):
        return [(pair[0].decode(), int(float(pair[1]))) for pair in reply]
    return [(reply[n].decode(), int(float(reply[n + 1]))) for n in range(0, len(reply), 2)]


def _unpacked(stored: bytes | None) -> bytes | None:
    return None if stored is None else unpack(stored)


def _shard(process_id: str) -> int:
    return partition_of(process_id, SHARDS)
