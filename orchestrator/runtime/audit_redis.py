"""The audit's store in Redis: a SCAN over all keys, and reads by key. Costs no key of its own."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterator, Sequence
from itertools import chain

from contracts.ids import partition_of
from contracts.topics import SHARDS
from orchestrator.runtime.audit_store import Mend, Name, Sight, Wanted
from orchestrator.runtime.keys_redis import (
    TIMER_SEPARATOR,
    history_key,
    index_key,
    offset_key,
    process_key,
    timers_key,
)
from orchestrator.runtime.store_redis import RedisStore

_KEY = re.compile(r"^cp:\{(\d+)\}:(process|history|index|timers)(?::(.*))?$", re.DOTALL)
ATTEMPTS_MAX = 20
"""How often a shard that is written to is listed again, before it is given up to drop it."""


class RedisAuditStore:
    """Implements AuditStore, over a store's own connections."""

    def __init__(self, store: RedisStore) -> None:
        self._store = store
        self._mend = store.script("mend.lua")
        self._forget = store.script("forget.lua")

    async def names(self, shards: frozenset[int] | None, page: int) -> AsyncIterator[Sequence[Name]]:
        async for keys in self._store.keys("cp:{*", page):
            found: list[Name] = []
            for key in keys:
                matched = _KEY.match(key)
                if matched is None or (shards is not None and int(matched[1]) not in shards):
                    continue
                shard, kind, rest = int(matched[1]), matched[2], matched[3] or ""
                if kind == "process":
                    found.append(Name(shard, rest, "state"))
                elif kind == "history":
                    found.append(Name(shard, rest, "history"))
                else:
                    async for members in self._members(key, page):
                        yield [_member(shard, kind, rest, member) for member in members]
            yield found

    async def _members(self, key: str, page: int) -> AsyncIterator[list[str]]:
        """By score; a member that moves to another score meanwhile may be told twice or not at all: it is alive."""
        first = 0
        while True:
            (reply,) = await self._store.run([("ZRANGE", key, first, first + page - 1)])
            if not reply:
                return
            yield [member.decode() for member in reply]
            first += page

    async def sights(self, wanted: Sequence[Wanted]) -> Sequence[Sight]:
        replies = iter(await self._store.run(list(chain.from_iterable(_commands(one) for one in wanted))))
        return [_sight(one, replies) for one in wanted]

    async def mend(self, mends: Sequence[Mend]) -> Sequence[bool]:
        calls = [("EVALSHA", self._mend.sha, *_mend_call(mend)) for mend in mends]
        return [reply == 1 for reply in await self._store.run(calls, self._mend)]

    async def forget(self, shard: int) -> bool:
        for _ in range(ATTEMPTS_MAX):
            (reply,) = await self._store.run([("HGET", offset_key(shard), "checkpoint_id")])
            before = reply or b""
            keys = [key async for page in self._store.keys(f"cp:{{{shard}}}:*", 1_000) for key in page]
            first = offset_key(shard)
            every = (first, *sorted(set(keys) - {first}))
            call = ("EVALSHA", self._forget.sha, len(every), *every, before)
            (done,) = await self._store.run([call], self._forget)
            if done == 1:
                return True
        return False


def _member(shard: int, kind: str, index: str, member: str) -> Name:
    if kind == "index":
        return Name(shard, member, "index", index)
    process_id, _, timer = member.partition(TIMER_SEPARATOR)
    return Name(shard, process_id, "timer", timer)


def _commands(wanted: Wanted) -> Iterator[tuple[str | int, ...]]:
    process_id, shard = wanted.process_id, partition_of(wanted.process_id, SHARDS)
    yield "GET", process_key(shard, process_id)
    yield "LLEN", history_key(shard, process_id)
    for name in wanted.timers:
        yield "ZSCORE", timers_key(shard), f"{process_id}{TIMER_SEPARATOR}{name}"
    for name in wanted.indexes:
        yield "ZSCORE", index_key(shard, name), process_id


def _sight(wanted: Wanted, replies: Iterator[object]) -> Sight:
    blob, history = next(replies), next(replies)
    timers = {name: int(float(str(_text(due)))) for name in wanted.timers if (due := next(replies)) is not None}
    indexes = frozenset(name for name in wanted.indexes if next(replies) is not None)
    assert blob is None or isinstance(blob, bytes)
    assert isinstance(history, int)
    return Sight(wanted.process_id, blob, history, timers, indexes)


def _text(value: object) -> object:
    return value.decode() if isinstance(value, bytes) else value


def _mend_call(mend: Mend) -> tuple[str | int | bytes, ...]:
    shard = partition_of(mend.process_id, SHARDS)
    keys = [process_key(shard, mend.process_id), timers_key(shard)]
    keys += [index_key(shard, name) for name in (*mend.indexes_set, *mend.indexes_unset)]
    operations: list[str | int] = []
    for name, due_ms in mend.timers_set:
        operations += ["z", f"{mend.process_id}{TIMER_SEPARATOR}{name}", due_ms]
    for name in mend.timers_unset:
        operations += ["x", f"{mend.process_id}{TIMER_SEPARATOR}{name}"]
    fixed = (mend.blob, mend.process_id, mend.updated_at_ms, len(mend.indexes_set))
    return (len(keys), *keys, *fixed, *operations)
