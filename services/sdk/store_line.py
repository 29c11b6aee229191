"""Many messages, one exchange: what all running messages ask of the inbox goes there in one script call at a time.

Only one exchange is on its way at once; what is asked meanwhile goes with the next. That is what makes the numbers of
a session consecutive, and it makes batches as large as the store is slow.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import structlog

from services.sdk.failures import StoreAwayError, StoreMovedError
from services.sdk.patience import Patience
from services.sdk.ports import Answer, Claim, Exchange, Inbox, Place, Reply, Settlement
from services.sdk.prefix import Progress

log = structlog.get_logger("services.sdk")
BATCH_MAX = 512
"""Most claims, and most settlements, of one exchange: one script must not hold Redis for long."""


class StoreLine:
    """The `Store` of one session. `moved` is told once, when the store turns out not to be as this session left it."""

    def __init__(
        self,
        inbox: Inbox,
        owner: str,
        session: str,
        progress: dict[Place, Progress],
        patience: Patience,
        moved: Callable[[StoreMovedError], None],
    ) -> None:
        self._inbox = inbox
        self._owner = owner
        self._session = session
        self._progress = progress
        self._patience = patience
        self._moved = moved
        self._number = 0
        self._claims: list[tuple[Claim, asyncio.Future[Answer]]] = []
        self._settlements: list[tuple[Settlement, asyncio.Future[bool]]] = []
        self._task: asyncio.Task[None] | None = None
        self._broken: StoreMovedError | None = None
        self._closed = False

    def claim(self, claim: Claim) -> asyncio.Future[Answer]:
        """Raises StoreMovedError when it is awaited."""
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._claims.append((claim, future))
        self._wake()
        return future

    def settle(self, settlement: Settlement) -> asyncio.Future[bool]:
        """Raises StoreMovedError when it is awaited."""
        future: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._settlements.append((settlement, future))
        self._wake()
        return future

    def flush(self) -> None:
        """Have positions written that moved without a change of the inbox (skipped records). Raises StoreMovedError."""
        self._wake()
        if self._broken is not None:
            raise self._broken

    async def idle(self) -> None:
        """Returns once all that was asked is answered. Only when no more is being asked."""
        if self._task is not None:
            await asyncio.shield(self._task)

    async def close(self) -> None:
        """Give up what is on its way."""
        self._closed = True
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def _wake(self) -> None:
        if self._broken is not None:
            self._fail(self._broken)
        elif self._task is None or self._task.done():
            self._task = asyncio.create_task(self._run())

    async def _run(self) -> None:
        # One turn of the loop, so that all that became ready in this one goes together.
        await asyncio.sleep(0)
        while not self._closed:
            claims, self._claims = self._claims[:BATCH_MAX], self._claims[BATCH_MAX:]
            settlements, self._settlements = self._settlements[:BATCH_MAX], self._settlements[BATCH_MAX:]
            exchange = self._compose([claim for claim, _ in claims], [settled for settled, _ in settlements])
            if exchange is None:
                return
            try:
                reply = await self._send(exchange)
            except StoreMovedError as error:
                self._claims, self._settlements = claims + self._claims, settlements + self._settlements
                self._broken = error
                self._fail(error)
                self._moved(error)
                return
            self._applied(exchange, reply, claims, settlements)

    def _compose(self, claims: list[Claim], settlements: list[Settlement]) -> Exchange | None:
        """None if there is nothing to say."""
        for settlement in settlements:
            self._progress[settlement.place].stored.done(settlement.offset)
        touched = {claim.place for claim in claims} | {settlement.place for settlement in settlements}
        positions = {
            place: (progress.written, progress.stored.next)
            for place, progress in self._progress.items()
            if place in touched or progress.written != progress.stored.next
        }
        if not positions:
            return None
        self._number += 1
        return Exchange(self._number, positions, tuple(settlements), tuple(claims))

    async def _send(self, exchange: Exchange) -> Reply:
        """Repeats the same step until the store answers. Raises StoreMovedError."""
        attempt = 0
        while True:
            try:
                reply = await self._inbox.exchange(self._owner, self._session, exchange)
            except StoreAwayError as error:
                attempt += 1
                await self._patience.wait("store", str(error), attempt)
                continue
            except StoreMovedError:
                raise
            except Exception as error:
                # A bug: every message of this tenure waits for this step. Stand still and be seen.
                log.exception("the inbox cannot apply a step")
                attempt += 1
                await self._patience.wait("store", f"{type(error).__name__}: {error}", attempt)
                continue
            if attempt:
                self._patience.over("store")
            return reply

    def _applied(
        self,
        exchange: Exchange,
        reply: Reply,
        claims: list[tuple[Claim, asyncio.Future[Answer]]],
        settlements: list[tuple[Settlement, asyncio.Future[bool]]],
    ) -> None:
        for place, (_, after) in exchange.positions.items():
            self._progress[place].written = after
        for (_, answered), answer in zip(claims, reply.answers, strict=True):
            if not answered.done():
                answered.set_result(answer)
        for (_, settled), stored in zip(settlements, reply.stored, strict=True):
            if not settled.done():
                settled.set_result(stored)

    def _fail(self, error: StoreMovedError) -> None:
        claims, settlements = self._claims, self._settlements
        self._claims, self._settlements = [], []
        for _, answered in claims:
            if not answered.done():
                answered.set_exception(error)
        for _, settled in settlements:
            if not settled.done():
                settled.set_exception(error)
