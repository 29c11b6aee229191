"""Lua scripts in Redis, many calls a round trip: what is called in one turn of the event loop, and while an earlier
round trip is under way, goes out together.

One call a round trip costs a client about 90 us of processor time and the server a system call and, with `appendfsync
always`, an fsync each; in a batch a call costs a fifth of that (docs/decisions/0027-what-made-it-faster.md).
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass
from typing import Any, cast

from redis.asyncio import Redis
from redis.exceptions import NoScriptError

CALLS_MAX = 64
"""Calls of one round trip, so that Redis can serve others in between."""
Argument = str | int | bytes


@dataclass(frozen=True, slots=True)
class Script:
    text: str
    sha: str

    @classmethod
    def of(cls, text: str) -> Script:
        return cls(text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest())


@dataclass(frozen=True, slots=True)
class _Call:
    script: Script
    command: tuple[Argument, ...]
    answered: asyncio.Future[Any]


class ScriptLine:
    """Calls of one Redis (not a cluster: its pipelines refuse EVALSHA). Each call is atomic; a batch is not.

    How often a connection that broke is tried again is the client's setting: a script may then run twice.
    """

    def __init__(self, client: Redis) -> None:
        self._client = client
        self._waiting: list[_Call] = []
        self._sent: list[_Call] = []
        self._sending: asyncio.Future[list[Any]] | None = None
        self._task: asyncio.Task[None] | None = None

    async def call(self, script: Script, keys: Sequence[str], arguments: Sequence[Argument]) -> Any:
        """The script's reply. Cancelling gives up waiting: the script may have run, or may yet.

        Raises:
            RedisError, OSError: this call failed, or the round trip did.
        """
        answered: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        command = ("EVALSHA", script.sha, len(keys), *keys, *arguments)
        self._waiting.append(_Call(script, command, answered))
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._run())
        try:
            return await answered
        except asyncio.CancelledError:
            self._given_up()
            raise

    def _given_up(self) -> None:
        """Nobody need wait for a Redis that is away on behalf of callers that do not wait any more."""
        if self._sending is not None and all(call.answered.done() for call in self._sent):
            self._sending.cancel()

    async def _run(self) -> None:
        # One turn of the loop, so that all that became ready in this one goes together.
        await asyncio.sleep(0)
        while self._waiting:
            self._sent, self._waiting = self._waiting[:CALLS_MAX], self._waiting[CALLS_MAX:]
            self._sent = [call for call in self._sent if not call.answered.done()]
            if not self._sent:
                continue
            self._sending = asyncio.ensure_future(self._send(self._sent))
            try:
                await asyncio.wait((self._sending,))
            finally:
                # At the program's end.
                self._sending.cancel()
            self._answer(self._sending)

    def _answer(self, sending: asyncio.Future[list[Any]]) -> None:
        if sending.cancelled():
            return
        failure = sending.exception()
        replies = [failure] * len(self._sent) if failure is not None else sending.result()
        for call, reply in zip(self._sent, replies, strict=True):
            if call.answered.done():
                continue
            if isinstance(reply, BaseException):
                call.answered.set_exception(reply)
            else:
                call.answered.set_result(reply)

    async def _send(self, calls: Sequence[_Call]) -> list[Any]:
        """Replies in order, an exception in the place of each call that failed."""
        replies = await self._exchange(calls)
        unknown = [number for number, reply in enumerate(replies) if isinstance(reply, NoScriptError)]
        if unknown:
            for text in {calls[number].script.text for number in unknown}:
                await cast("Awaitable[Any]", self._client.script_load(text))
            for number, reply in zip(unknown, await self._exchange([calls[n] for n in unknown]), strict=True):
                replies[number] = reply
        return replies

    async def _exchange(self, calls: Sequence[_Call]) -> list[Any]:
        async with self._client.pipeline(transaction=False) as pipeline:
            for call in calls:
                pipeline.execute_command(*call.command)
            return await pipeline.execute(raise_on_error=False)
