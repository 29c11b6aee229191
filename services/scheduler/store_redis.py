"""The store in Redis (6.2+, Valkey): all keys in one slot, every change one Lua script.

`cps:{scheduler}:lease` ("<fence> <holder>", expires), `:fence` and `:changes` (counters), `:declared` (id -> JSON),
`:s:<id>` (a hash: position, definition, paused?, fired_at?, fired?, told?), `:runs` ("<id> <run id>" -> ms).
"""

from __future__ import annotations

import asyncio
import importlib.resources
from collections.abc import Awaitable, Mapping, Sequence
from typing import Any, TypeVar, cast

import orjson
from redis.asyncio import Redis
from redis.exceptions import RedisError

from services.scheduler.due import State
from services.scheduler.store import RUNS_MAX, Lease, Move, Run, Settled, Told
from services.sdk.failures import StoreAwayError
from services.sdk.inbox_redis import RedisInbox
from services.sdk.scripts_redis import Argument, Script, ScriptLine

PREFIX = "cps:{scheduler}:"
CALL_LIMIT_S = 4.0
"""A call that has no answer by then has failed: shorter than what is left of a lease when it is renewed."""
T = TypeVar("T")


class RedisStore:
    """`client`: without retries of its own (`services.sdk.inbox_redis.open_redis`); the caller's to close."""

    def __init__(self, client: Redis, prefix: str = PREFIX) -> None:
        self._client = client
        self._prefix = prefix
        self._lease, self._fence, self._changes, self._declared, self._runs = (
            f"{prefix}{name}" for name in ("lease", "fence", "changes", "declared", "runs")
        )
        self._hold = client.register_script(_script("hold.lua"))
        self._release = client.register_script(_script("release.lua"))
        self._line = ScriptLine(client)
        self._settle = Script.of(_script("settle.lua"))
        self._declare = client.register_script(_script("declare.lua"))
        self._tell = client.register_script(_script("tell.lua"))

    async def check(self) -> Sequence[str]:
        # The settings of a system of record are checked in one place.
        return await RedisInbox(self._client, "scheduler").check()

    async def hold(self, holder: str, lease_ms: int) -> Lease | None:
        keys = [self._lease, self._fence, self._changes]
        held = await _reached(self._hold(keys=keys, args=[holder, lease_ms]))
        return Lease(holder, held[0], held[1]) if held else None

    async def release(self, lease: Lease) -> None:
        # Whoever takes it next gets another fence, so a rival that just did is recognised.
        await _reached(self._release(keys=[self._lease], args=[_token(lease)]))

    async def leader(self) -> str | None:
        held = await _reached(cast("Awaitable[bytes | None]", self._client.get(self._lease)))
        return None if held is None else held.decode().partition(" ")[2]

    async def declare(self, lease: Lease, declared: Mapping[str, Mapping[str, Any]]) -> bool:
        pairs = [part for name, content in declared.items() for part in (name, orjson.dumps(dict(content)))]
        keys = [self._lease, self._declared]
        return bool(await _reached(self._declare(keys=keys, args=[_token(lease), *pairs])))

    async def declared(self) -> dict[str, dict[str, Any]]:
        found = await _reached(cast("Awaitable[dict[bytes, bytes]]", self._client.hgetall(self._declared)))
        return {name.decode(): orjson.loads(content) for name, content in sorted(found.items())}

    async def states(self, ids: Sequence[str]) -> dict[str, State]:
        async with self._client.pipeline(transaction=False) as pipeline:
            for name in ids:
                pipeline.hgetall(f"{self._prefix}s:{name}")
            rows = await _reached(pipeline.execute()) if ids else []
        return {name: _state(row) for name, row in zip(ids, rows, strict=True) if row}

    async def settle(self, lease: Lease, moves: Sequence[Move]) -> list[Settled]:
        settled = await asyncio.gather(*(self._settle_one(lease, move) for move in moves))
        return [Settled(answer.decode()) for answer in settled]

    async def _settle_one(self, lease: Lease, move: Move) -> bytes:
        keys = [self._lease, f"{self._prefix}s:{move.schedule_id}"]
        expected = "" if move.expected_ms is None else str(move.expected_ms)
        fired_ms = move.ticks[-1] if move.ticks else 0
        args: list[Argument] = [_token(lease), expected, move.position_ms, move.definition, fired_ms, len(move.ticks)]
        return cast(bytes, await _reached(self._line.call(self._settle, keys, args)))

    async def pause(self, schedule_id: str, told: str) -> Told:
        return await self._told("pause", schedule_id, told)

    async def resume(self, schedule_id: str, at_ms: int, told: str) -> Told:
        return await self._told("resume", schedule_id, told, at_ms)

    async def ask(self, run: Run, told: str) -> Told:
        return await self._told("run", run.schedule_id, told, run.at_ms, run.run_id)

    async def _told(self, what: str, schedule_id: str, told: str, at_ms: int = 0, run_id: str = "") -> Told:
        keys = [f"{self._prefix}s:{schedule_id}", self._declared, self._runs, self._changes]
        answer = await _reached(self._tell(keys=keys, args=[what, schedule_id, at_ms, run_id, RUNS_MAX, told]))
        return Told(answer.decode())

    async def runs(self) -> list[Run]:
        found = await _reached(cast("Awaitable[dict[bytes, bytes]]", self._client.hgetall(self._runs)))
        runs = [_run(name, at_ms) for name, at_ms in found.items()]
        return sorted(runs, key=lambda run: (run.at_ms, run))

    async def done(self, runs: Sequence[Run]) -> None:
        if runs:
            names = [f"{run.schedule_id} {run.run_id}" for run in runs]
            await _reached(self._client.hdel(self._runs, *names))


def _token(lease: Lease) -> bytes:
    return f"{lease.fence} {lease.holder}".encode()


def _run(name: bytes, at_ms: bytes) -> Run:
    schedule_id, _, run_id = name.decode().partition(" ")
    return Run(schedule_id, run_id, int(at_ms))


def _state(row: Mapping[bytes, bytes]) -> State:
    fired_ms = row.get(b"fired_at")
    return State(
        position_ms=int(row[b"position"]),
        definition=row[b"definition"].decode(),
        paused=b"paused" in row,
        fired_ms=None if fired_ms is None else int(fired_ms),
        fired=int(row.get(b"fired", 0)),
        told=row[b"told"].decode() if b"told" in row else None,
    )


async def _reached(call: Awaitable[T]) -> T:
    """Raises StoreAwayError."""
    try:
        async with asyncio.timeout(CALL_LIMIT_S):
            return await call
    except (RedisError, OSError, RuntimeError) as error:
        raise StoreAwayError(f"the schedules' store is away: {type(error).__name__}: {error}") from error


def _script(name: str) -> str:
    return importlib.resources.files("services.scheduler").joinpath("lua", name).read_text()
