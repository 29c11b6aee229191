"""`SnapshotStore` on Redis: a part of RedisStore."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping, Sequence
from importlib.resources import files
from typing import Any

from orchestrator.runtime.keys_redis import (
    TIMER_SEPARATOR,
    Argument,
    ahead_key,
    cut_key,
    gone_key,
    history_key,
    index_key,
    marks_key,
    offset_key,
    process_key,
    sagas_key,
    timers_key,
    uncovered_key,
)
from orchestrator.runtime.packing import pack, plain, unpack
from orchestrator.runtime.snapshot_store import (
    Cover,
    CutState,
    Mark,
    Restored,
    Sample,
    ShortHistory,
    StaleRestore,
    Uncovered,
    blob_sha,
)
from orchestrator.runtime.store import ShardPosition

ORDERS_KEY = "cp:orders"
"""Hash: shard number -> what a person has decided about it."""
ENROLL_PAGE = 1_000
Command = tuple[Any, ...]
Reply = Any


class Script:
    def __init__(self, name: str) -> None:
        self.text = files("orchestrator.runtime").joinpath(name).read_text()
        self.sha = hashlib.sha1(self.text.encode(), usedforsecurity=False).hexdigest()


class RedisSnapshots:
    _cover: Script
    _uncovered: Script
    _restore: Script
    _adopt: Script

    async def _run(self, commands: Sequence[Command], script: Script | None = None) -> list[Reply]:
        raise NotImplementedError

    async def _keys(self, shard: int, pattern: str, cursor: int) -> tuple[int, list[bytes]]:
        raise NotImplementedError

    async def cut_states(self, shards: Collection[int]) -> Mapping[int, CutState]:
        names = ("offset", "sample", "sample_id", "sample_at", "complete")
        replies = await self._run([("HMGET", cut_key(shard), *names) for shard in shards])
        return {shard: _cut_state(reply) for shard, reply in zip(shards, replies, strict=True)}

    async def set_cut_state(self, shard: int, state: CutState) -> None:
        key, sample = cut_key(shard), state.sample
        fields: list[Argument] = ["complete", int(state.complete)]
        if state.offset is not None:
            fields += ["offset", state.offset]
        if sample is not None:
            fields += ["sample", sample.offset, "sample_id", sample.record_id, "sample_at", sample.at_ms]
        gone = [] if sample is not None else ["sample", "sample_id", "sample_at"]
        if state.offset is None:
            gone.append("offset")
        commands: list[Command] = [("HSET", key, *fields)]
        if gone:
            commands.append(("HDEL", key, *gone))
        await self._run(commands)

    async def uncovered(self, shard: int, below: int, limit: int) -> Uncovered:
        keys = (offset_key(shard), uncovered_key(shard))
        call = ("EVALSHA", self._uncovered.sha, len(keys), *keys, f"({below}", limit)
        ((next_offset, *names),) = await self._run([call], self._uncovered)
        return Uncovered(None if next_offset is None else int(next_offset), tuple(name.decode() for name in names))

    async def oldest_uncovered(self, shard: int) -> int | None:
        return next(iter((await self._scored(uncovered_key(shard), "-inf", 1)).values()), None)

    async def _scored(self, key: str, above: object, limit: int) -> dict[str, int]:
        (reply,) = await self._run([("ZRANGEBYSCORE", key, above, "+inf", "WITHSCORES", "LIMIT", 0, limit)])
        if reply and isinstance(reply[0], (tuple, list)):
            return {pair[0].decode(): int(float(pair[1])) for pair in reply}
        return {reply[n].decode(): int(float(reply[n + 1])) for n in range(0, len(reply), 2)}

    async def marks(self, shard: int, process_ids: Sequence[str]) -> Sequence[Mark | None]:
        if not process_ids:
            return []
        (reply,) = await self._run([("HMGET", marks_key(shard), *process_ids)])
        return [None if mark is None else Mark.decode(mark.decode()) for mark in reply]

    async def cover(self, shard: int, covers: Sequence[Cover]) -> None:
        """The script compares what is stored, byte for byte; what a snapshot holds is compared here, unpacked."""
        keys = [offset_key(shard), uncovered_key(shard), marks_key(shard), gone_key(shard)]
        processes = [process_key(shard, cover.process_id) for cover in covers]
        arguments: list[Argument] = []
        stored = await self._run([("GET", key) for key in processes])
        for cover, blob in zip(covers, stored, strict=True):
            same = blob_sha(None if blob is None else unpack(blob)) == cover.blob_sha
            sha = blob_sha(blob) if same else cover.blob_sha
            arguments += [cover.process_id, sha, cover.mark.next, cover.mark.encode()]
        keys += processes
        await self._run([("EVALSHA", self._cover.sha, len(keys), *keys, *arguments)], self._cover)

    async def gone(self, shard: int, below: int, limit: int) -> Sequence[str]:
        (reply,) = await self._run([("ZRANGEBYSCORE", gone_key(shard), "-inf", f"({below}", "LIMIT", 0, limit)])
        return [name.decode() for name in reply]

    async def forget_gone(self, shard: int, process_ids: Sequence[str]) -> None:
        if process_ids:
            await self._run([("ZREM", gone_key(shard), *process_ids), ("HDEL", marks_key(shard), *process_ids)])

    async def enroll(self, shard: int, cursor: int) -> int:
        prefix = process_key(shard, "")
        next_cursor, keys = await self._keys(shard, f"{_quoted(prefix)}*", cursor)
        names = [key.decode()[len(prefix) :] for key in keys]
        if names:
            scores: list[Argument] = []
            for name in names:
                scores += [0, name]
            marks = await self.marks(shard, names)
            known: list[Argument] = []
            for name, mark in zip(names, marks, strict=True):
                if mark is not None:
                    known += [name, Mark(0, mark.parts, mark.entries, mark.pieces, mark.born_ms).encode()]
            commands: list[Command] = [("ZADD", uncovered_key(shard), *scores)]
            if known:
                commands.append(("HSET", marks_key(shard), *known))
            await self._run(commands)
        return next_cursor

    async def ahead(self, shard: int, position: int) -> Mapping[str, int]:
        return await self._scored(ahead_key(shard), f"({position}", -1)

    # Restoring.

    async def begin_restore(self, shard: int, token: str) -> None:
        await self._restoring(shard, token, _Operations(shard, "b"))
        cursor = 0
        while True:
            cursor, found = await self._keys(shard, f"{_quoted(f'cp:{{{shard}}}:')}*", cursor)
            operations = _Operations(shard)
            for key in found:
                if key.decode() not in (cut_key(shard), offset_key(shard)):
                    operations.add("d", operations.key(key.decode()))
            if operations.arguments:
                await self._restoring(shard, token, operations)
            if cursor == 0:
                return

    async def restore_history(
        self, shard: int, token: str, process_id: str, first: int, entries: Sequence[bytes]
    ) -> None:
        operations = _Operations(shard)
        key = operations.key(history_key(shard, process_id))
        if first == 0:
            operations.add("d", key)
        operations.add("n", key, first)
        for entry in entries:
            operations.add("h", key, pack(entry))
        await self._restoring(shard, token, operations)

    async def restore(self, shard: int, token: str, processes: Sequence[Restored]) -> None:
        operations = _Operations(shard)
        for one in processes:
            operations.process(one)
        await self._restoring(shard, token, operations)

    async def finish_restore(self, shard: int, token: str, position: ShardPosition) -> None:
        end = ("f", position.next, position.record_id, position.checkpoint_id, position.semantics)
        await self._restoring(shard, token, _Operations(shard, *end))

    async def _restoring(self, shard: int, token: str, operations: _Operations) -> None:
        keys = operations.keys
        call = ("EVALSHA", self._restore.sha, len(keys), *keys, token, *operations.arguments)
        (reply,) = await self._run([call], self._restore)
        if reply == b"stale":
            raise StaleRestore(f"shard {shard} is restored by somebody else, or has a position")
        if reply == b"short":
            raise ShortHistory(f"shard {shard}: a snapshot names more history than the topic has")

    async def adopt(self, shard: int, expected_next: int | None, position: ShardPosition | None) -> bool:
        to: tuple[Argument, ...] = ("", "", "", "")
        if position is not None:
            to = (position.next, position.record_id, position.checkpoint_id, position.semantics)
        keys = (offset_key(shard), ahead_key(shard))
        expected = "" if expected_next is None else expected_next
        (reply,) = await self._run([("EVALSHA", self._adopt.sha, len(keys), *keys, expected, *to)], self._adopt)
        return bool(reply)

    async def orders(self, shards: Collection[int]) -> Mapping[int, bytes]:
        (reply,) = await self._run([("HGETALL", ORDERS_KEY)])
        flat = [part for pair in reply.items() for part in pair] if isinstance(reply, dict) else reply
        found = {int(shard): order for shard, order in zip(flat[::2], flat[1::2], strict=True)}
        return {shard: order for shard, order in found.items() if shard in shards}

    async def set_orders(self, orders: Mapping[int, bytes | None]) -> None:
        commands: list[Command] = []
        for shard, order in orders.items():
            commands.append(("HDEL", ORDERS_KEY, shard) if order is None else ("HSET", ORDERS_KEY, shard, order))
        await self._run(commands)


class _Operations:
    """KEYS and ARGV of `restore.lua`, but for the token."""

    def __init__(self, shard: int, *arguments: Argument) -> None:
        self.keys = [
            offset_key(shard), cut_key(shard), timers_key(shard), sagas_key(shard), marks_key(shard), ahead_key(shard),
            gone_key(shard),
        ]  # fmt: skip
        self.arguments: list[Argument] = list(arguments)
        self._shard = shard
        self._numbers: dict[str, int] = {}

    def add(self, *arguments: Argument) -> None:
        self.arguments += arguments

    def key(self, key: str) -> int:
        """Its number among KEYS."""
        if key not in self._numbers:
            self.keys.append(key)
            self._numbers[key] = len(self.keys)
        return self._numbers[key]

    def process(self, one: Restored) -> None:
        shard, name, write, mark = self._shard, one.process_id, one.write, one.mark
        self.add("t", self.key(history_key(shard, name)), mark.entries)
        self.add("m", name, mark.encode())
        if one.ahead:
            self.add("a", mark.next, name)
        if write.blob is None:
            self.add("o", mark.next, name)
            return
        blob = pack(write.blob) if write.rests else plain(write.blob)
        self.add("s", self.key(process_key(shard, name)), blob)
        self.add("g", one.saga)
        for timer, due_ms in write.timers_set:
            self.add("z", due_ms, f"{name}{TIMER_SEPARATOR}{timer}")
        for index in write.indexes:
            self.add("i", self.key(index_key(shard, index)), write.updated_at_ms, name)


def _cut_state(reply: Sequence[bytes | None]) -> CutState:
    offset, sample, sample_id, sample_at, complete = reply
    taken = None if sample is None else Sample(int(sample), (sample_id or b"").decode(), int(sample_at or 0))
    return CutState(None if offset is None else int(offset), taken, bool(int(complete or 0)))


def _quoted(text: str) -> str:
    """A pattern that only this text matches."""
    return "".join(f"\\{letter}" if letter in "[]*?\\^" else letter for letter in text)
