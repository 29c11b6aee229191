"""The runner of one service, over any bus and inbox: tenures come and go, records flow, offsets are committed.

Start of a partition: the lower of the inbox's position and the group's committed offset, so that what was stored but
not published is published again. A store that lost its newest writes is found out by the session number of the next
exchange; the tenure is dropped, and the next one starts where the store now stands.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TypeVar

import structlog

from contracts.record import IncomingRecord
from services.sdk.failures import BusAwayError, StartRefused, StoreAwayError, StoreMovedError
from services.sdk.ports import Place, Subscription
from services.sdk.rewind import tell_again, went_back
from services.sdk.start import check_topics, start_offsets
from services.sdk.tenure import Tenure
from services.sdk.wiring import Wiring

log = structlog.get_logger("services.sdk")
GROUP_PREFIX = "counterpoint."
PROBE_S = 5.0
"""Pause between two questions to the broker."""
SESSIONS_MAX = 1_000
"""Own sessions remembered, to tell a store that went back in time from a rival."""
RIVALS_MAX = 2
"""A store that went back shows at most one strange session under our name, that of an earlier run. A second one means
that somebody is alive under it."""
T = TypeVar("T")


class Runner:
    """`run` returns after `stop`. It is the `Listener` of its subscription."""

    def __init__(self, wiring: Wiring) -> None:
        self._wiring = wiring
        self._name = wiring.service.name
        self._subscription: Subscription = wiring.bus.subscription(
            f"{GROUP_PREFIX}{self._name}", f"{self._name}-{wiring.instance}", wiring.service.topics
        )
        self._tenure: Tenure | None = None
        self._assigned: frozenset[Place] = frozenset()
        self._taking: asyncio.Task[None] | None = None
        self._refused: StartRefused | None = None
        self._sessions: deque[str] = deque(maxlen=SESSIONS_MAX)
        self._rivals: set[str] = set()
        self._woken = asyncio.Event()
        self._left = asyncio.Event()
        """No tenure is being finished just now."""
        self._left.set()
        self._moved = False
        """The store moved under a tenure, and what was lost has not been told again."""
        self._stopping = False

    @property
    def problem(self) -> str | None:
        """One line for `/readyz`, or None while the service does its work."""
        if self._refused is not None:
            return str(self._refused)
        if self._wiring.patience.problem is not None:
            return self._wiring.patience.problem
        if self._tenure is None:
            return f"{self._name}: no partitions yet"
        return None

    def behind(self) -> int | None:
        """Records appended and not finished; None while there are no partitions, or the end of one is not known yet."""
        tenure = self._tenure
        if tenure is None or len(self._subscription.ends(frozenset(tenure.progress))) < len(tenure.progress):
            return None
        return sum(self._lags(tenure).values())

    def stop(self) -> None:
        """Finish what runs, within the limit, and return from `run`."""
        self._stopping = True
        self._woken.set()

    async def run(self) -> None:
        """Raises StartRefused if the service must not start or go on. Cancelling it is like a crash: what runs is
        abandoned, nothing more is committed."""
        await self._patiently(self._check_store)
        await self._patiently(lambda: check_topics(self._wiring))
        await self._patiently(lambda: self._subscription.start(self))
        commits = asyncio.create_task(self._commits())
        try:
            while not self._stopping and self._refused is None:
                await self._turn()
            await self._leave(self._wiring.limits.stop_s)
        finally:
            commits.cancel()
            await asyncio.gather(commits, return_exceptions=True)
            await self._abandon()
        if self._refused is not None:
            raise self._refused

    async def revoked(self) -> None:
        self._assigned = frozenset()
        await self._cancel_taking()
        await self._leave(self._wiring.limits.drain_s)

    def assigned(self, places: frozenset[Place]) -> None:
        self._assigned = places
        if self._stopping:
            # What is left to do is to finish: a new session would shut out the tenure that does.
            return
        if self._taking is not None:
            # Two claims at once would each take the other's session for an intruder.
            self._taking.cancel()
        self._taking = asyncio.create_task(self._take(places))

    async def _turn(self) -> None:
        tenure = self._tenure
        if tenure is None:
            await self._pause(self._wiring.limits.poll_s)
            # Polling keeps the client's own errors coming to light while there is nothing to read.
            if self._tenure is None:
                await self._poll(0.0)
                self._read_again()
            return
        if tenure.moved is not None:
            await self._retake(tenure)
        elif tenure.full:
            await tenure.change(self._wiring.limits.poll_s)
        else:
            records = await self._poll(self._wiring.limits.poll_s)
            if self._tenure is tenure:
                tenure.offer(records)
            else:
                self._read_again()

    def _read_again(self) -> None:
        """A tenure that began during a poll has not been offered what that poll returned (it may be of either), and the
        subscription has passed it: read from the tenure's start once more, or those records would be skipped for
        good with the next commit."""
        if self._tenure is None:
            return
        starts = {place: progress.acked.next for place, progress in self._tenure.progress.items()}
        try:
            self._subscription.seek_and_resume(starts)
        except BusAwayError as error:
            log.info("joining again claims anew", service=self._name, detail=str(error))

    async def _poll(self, wait_s: float) -> list[IncomingRecord]:
        try:
            records = list(await self._subscription.poll(wait_s))
        except BusAwayError as error:
            await self._wiring.patience.wait("bus", str(error), 4)
            return []
        self._wiring.patience.over("bus")
        return records

    async def _take(self, places: frozenset[Place]) -> None:
        """In a task of its own: a claim may wait for the store, and the bus must not wait for us."""
        try:
            starts = await self._patiently(lambda: start_offsets(self._wiring, self._subscription, places))
            if starts is None:
                return
            behind = await self._is_behind(places)
            session = self._wiring.around.token()
            self._sessions.append(session)
            await self._patiently(lambda: self._wiring.inbox.take(self._wiring.instance, session, starts))
            if behind and self._wiring.service.when_rewound is not None:
                await tell_again(self._wiring, self._wiring.service.when_rewound, session)
            self._moved = False
        except StartRefused as error:
            self._refuse(error)
            return
        except Exception as error:
            log.exception("cannot take partitions", service=self._name)
            self._refuse(StartRefused(f"{self._name}: cannot take its partitions: {type(error).__name__}: {error}"))
            return
        self._tenure = Tenure(self._wiring, session, starts)
        self._subscription.seek_and_resume(starts)
        self._woken.set()

    async def _is_behind(self, places: frozenset[Place]) -> bool:
        """Whether the store lost what it had. Asked before it is taken, and only if somebody wants to know."""
        if self._wiring.service.when_rewound is None or not places:
            return False
        lost = await self._patiently(lambda: went_back(self._wiring, self._subscription, places))
        return self._moved or bool(lost)

    async def _retake(self, tenure: Tenure) -> None:
        """The store moved: drop what we hold, and start again where it stands."""
        log.warning("the store moved; replaying", service=self._name, detail=str(tenure.moved))
        self._wiring.metrics.resets.inc()
        self._meet(tenure.moved)
        self._moved = True
        self._tenure = None
        places = self._assigned
        self._subscription.pause(places)
        await tenure.drop()
        # The pause keeps two owners that both believe in themselves from taking turns at full speed.
        await self._wiring.patience.wait("store", f"it moved: {tenure.moved}", 1)
        if places and places == self._assigned and self._refused is None:
            self.assigned(places)
        self._wiring.patience.over("store")

    async def _check_store(self) -> None:
        for warning in await self._wiring.inbox.check():
            log.warning("dedupe store", service=self._name, detail=warning)

    async def _patiently(self, call: Callable[[], Awaitable[T]]) -> T | None:
        """Wait out that the store or the bus is away. None if told to stop meanwhile."""
        attempt = 0
        while True:
            try:
                result = await call()
            except (StoreAwayError, BusAwayError) as error:
                attempt += 1
                what = "store" if isinstance(error, StoreAwayError) else "bus"
                await self._wiring.patience.wait(what, str(error), attempt)
                if self._stopping:
                    return None
                continue
            if attempt:
                self._wiring.patience.over("store")
                self._wiring.patience.over("bus")
            return result

    def _meet(self, moved: StoreMovedError | None) -> None:
        if moved is None or moved.holder is None or moved.holder in self._sessions:
            return
        self._rivals.add(moved.holder)
        if len(self._rivals) >= RIVALS_MAX:
            instance = self._wiring.instance
            self._refuse(StartRefused(f"{self._name}: another OS process runs as instance {instance!r} of it"))

    def _refuse(self, error: StartRefused) -> None:
        self._refused = error
        self._woken.set()

    async def _leave(self, limit_s: float) -> None:
        """Finish what runs, within the limit, commit, and drop the rest."""
        tenure, self._tenure = self._tenure, None
        if tenure is None:
            # A rebalance in the middle of a stop waits for what is being finished, as any rebalance does.
            with suppress(TimeoutError):
                await asyncio.wait_for(self._left.wait(), limit_s)
            return
        self._left.clear()
        try:
            if tenure.moved is None:
                if not await tenure.drained(limit_s):
                    log.warning("abandoned running messages", service=self._name, count=tenure.held)
                await self._last_commit(tenure, limit_s / 2)
            await tenure.drop()
        finally:
            self._left.set()

    async def _last_commit(self, tenure: Tenure, limit_s: float) -> None:
        """Of what the store has; `limit_s` for it, and as long for the group."""
        try:
            async with asyncio.timeout(limit_s):
                await tenure.stored()
        except (TimeoutError, StoreMovedError) as error:
            log.warning("left with positions unwritten", service=self._name, detail=str(error))
        try:
            async with asyncio.timeout(limit_s):
                await self._commit(tenure)
        except TimeoutError:
            log.warning("left without a last commit", service=self._name)

    async def _abandon(self) -> None:
        await self._cancel_taking()
        tenure, self._tenure = self._tenure, None
        if tenure is not None:
            await tenure.drop()
        await self._subscription.close()

    async def _commits(self) -> None:
        asked_s = self._wiring.around.monotonic_s()
        while True:
            await asyncio.sleep(self._wiring.limits.commit_s)
            tenure = self._tenure
            now_s = self._wiring.around.monotonic_s()
            if tenure is not None and tenure.progress and now_s - asked_s >= PROBE_S:
                well = await self._probe(next(iter(tenure.progress)))
                asked_s = now_s if well else now_s - PROBE_S
            if tenure is not None and tenure.moved is None:
                await self._commit(tenure)
                self._wiring.metrics.set_lag(self._lags(tenure))

    async def _probe(self, place: Place) -> bool:
        """An idle client waits for a broker that is away in silence; ask it something, so that readiness knows."""
        try:
            await self._subscription.committed(frozenset((place,)))
        except BusAwayError as error:
            await self._wiring.patience.wait("broker", str(error), 1)
            return False
        self._wiring.patience.over("broker")
        return True

    async def _commit(self, tenure: Tenure) -> None:
        """What cannot be committed now is committed later, or read again by the next owner."""
        try:
            await tenure.commit(self._subscription)
        except (BusAwayError, StoreMovedError) as error:
            log.info("not committed", service=self._name, detail=str(error))

    def _lags(self, tenure: Tenure) -> dict[str, int]:
        """By topic."""
        ends = self._subscription.ends(frozenset(tenure.progress))
        lags = dict.fromkeys(self._wiring.service.topics, 0)
        for place, end in ends.items():
            lags[place.topic] += max(0, end - tenure.progress[place].acked.next)
        return lags

    async def _cancel_taking(self) -> None:
        if self._taking is not None and not self._taking.done():
            self._taking.cancel()
            await asyncio.gather(self._taking, return_exceptions=True)

    async def _pause(self, wait_s: float) -> None:
        self._woken.clear()
        try:
            async with asyncio.timeout(wait_s):
                await self._woken.wait()
        except TimeoutError:
            return
