"""One tenure: the time in which a runner owns a set of partitions. When they go, or the store moved, it is dropped
whole and a new one begins; nothing of it reaches the store after that, since its session is not the owner any more."""

from __future__ import annotations

import asyncio
from collections.abc import Hashable, Iterable, Mapping

import structlog

from contracts.record import IncomingRecord, OutgoingRecord
from services.sdk.failures import FenceLostError, StoreMovedError
from services.sdk.lanes import Lanes
from services.sdk.middleware.chain import chain
from services.sdk.middleware.decode import Decode
from services.sdk.outcomes import dead_letter
from services.sdk.ports import Place, Subscription
from services.sdk.prefix import Progress
from services.sdk.store_line import StoreLine
from services.sdk.wiring import Wiring
from services.sdk.work import Skipped, Undecodable, Work

log = structlog.get_logger("services.sdk")


class Tenure:
    """`starts`: the offsets at which each partition is read from."""

    def __init__(self, wiring: Wiring, session: str, starts: Mapping[Place, int]) -> None:
        self.session = session
        self.progress = {place: Progress(start) for place, start in starts.items()}
        self.moved: StoreMovedError | None = None
        """Set once the store turned out not to be as this session left it."""
        self._over = asyncio.Event()
        self._wiring = wiring
        self._name = wiring.service.name
        self._decode = Decode(wiring.service)
        self._line = StoreLine(
            wiring.inbox, wiring.instance, session, self.progress, wiring.patience, self._store_moved
        )
        self._step = chain(
            wiring.service,
            wiring.resources,
            self._line,
            wiring.metrics,
            wiring.around,
            wiring.limits.retention_ms,
            session,
        )
        self._lanes: Lanes[Work | Undecodable] = Lanes(self._handle, wiring.limits.concurrency, wiring.limits.held_max)

    @property
    def full(self) -> bool:
        return self._lanes.full

    @property
    def held(self) -> int:
        return self._lanes.held

    async def change(self, wait_s: float) -> None:
        await self._lanes.change(wait_s)

    def offer(self, records: Iterable[IncomingRecord]) -> None:
        """Take records of these partitions, each partition in order. Never blocks; ask `full` before polling."""
        by_place: Mapping[tuple[str, int], Progress] = self.progress  # type: ignore[assignment]  # see below
        for record in records:
            # A place is equal to the tuple of its values, which is made in a tenth of the time.
            progress = by_place.get((record.topic, record.partition))
            if progress is None or not progress.receive(record.offset):
                continue
            decoded = self._decode(record)
            if isinstance(decoded, Skipped):
                self._wiring.metrics.skip(decoded)
                progress.done(record.offset)
                continue
            self._lanes.offer(_lane(decoded), decoded)

    async def commit(self, subscription: Subscription) -> None:
        """Commit what is stored, published and acknowledged, and never past what the store has written: a store that
        stands behind its group has gone back in time, and that is how a start knows. Positions are written meanwhile,
        for the next commit.

        Raises:
            StoreMovedError: nothing is committed. BusAwayError: try again later.
        """
        self._line.flush()
        ready = {
            place: safe
            for place, progress in self.progress.items()
            if (safe := min(progress.acked.next, progress.written)) > progress.committed
        }
        if not ready:
            return
        await subscription.commit(ready)
        for place, offset in ready.items():
            self.progress[place].committed = offset

    async def drained(self, limit_s: float) -> bool:
        """Wait until all that was offered is done; False after `limit_s` seconds, or once the store moved: then
        nothing ends any more."""
        draining = asyncio.create_task(self._lanes.drained(limit_s))
        over = asyncio.create_task(self._over.wait())
        try:
            await asyncio.wait((draining, over), return_when=asyncio.FIRST_COMPLETED)
            return draining.done() and draining.result()
        finally:
            draining.cancel()
            over.cancel()

    async def stored(self) -> None:
        """Before the last commit: wait until the inbox has every position. Raises StoreMovedError."""
        self._line.flush()
        await self._line.idle()

    async def drop(self) -> None:
        """Abandon what is running: its started marks stay, and the next owner finds them."""
        await self._lanes.abandon()
        await self._line.close()
        # Its waits ended with it. Were they still told, a service that slept through its session would never be ready
        # again, although the next tenure (or another replica) works.
        self._wiring.patience.forget("store", "other execution", "sdk")

    def _store_moved(self, error: StoreMovedError) -> None:
        self.moved = error
        self._over.set()

    async def _handle(self, item: Work | Undecodable) -> None:
        """One message, to its end: never skipped, whatever happens."""
        attempt = 0
        while True:
            try:
                outgoing = (await self._step(item)).outgoing if type(item) is Work else self._letter(item)
                if outgoing:
                    await self._wiring.bus.publish(outgoing)
                break
            except StoreMovedError:
                # The whole tenure is over. Keep the lane closed until it is dropped.
                await asyncio.Event().wait()
            except FenceLostError as error:
                attempt += 1
                await self._wiring.patience.wait("other execution", str(error), attempt)
            except Exception as error:
                # A bug of the SDK itself: stand still and be seen, rather than lose a message.
                log.exception("cannot handle a record", service=self._name, offset=item.record.offset)
                attempt += 1
                await self._wiring.patience.wait("sdk", f"{type(error).__name__}: {error}", attempt)
        if attempt:
            self._wiring.patience.over("other execution")
            self._wiring.patience.over("sdk")
        record = item.record
        place = item.place if type(item) is Work else Place(record.topic, record.partition)
        self.progress[place].done(record.offset)

    def _letter(self, item: Work | Undecodable) -> tuple[OutgoingRecord, ...]:
        assert isinstance(item, Undecodable), "work has outcomes"
        self._wiring.metrics.dead_lettered(item.problem.reason)
        return (dead_letter(self._name, item, item.problem, self._wiring.around.now_ms()),)


def _lane(item: Work | Undecodable) -> Hashable:
    """One key in order. A record without any key has no order to keep."""
    key = item.key if isinstance(item, Work) else None
    if key is not None:
        return key
    record = item.record
    return record.key.decode(errors="replace") if record.key else (record.topic, record.partition, record.offset)
