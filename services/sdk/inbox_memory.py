"""The inbox in memory: a public test tool with the semantics of the real one, and a time machine."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from services.sdk.failures import StoreAwayError, StoreMovedError
from services.sdk.inbox_retention import RETENTION_MS, kept_ms
from services.sdk.ports import Answer, Claim, Exchange, Found, Place, Reply, Settlement

_SETTLED = {"s", "d"}


@dataclass(frozen=True, slots=True)
class _Record:
    state: str
    """b: begun, s: settled, d: a dead-lettered event, r: revoked."""
    fence: str
    fingerprint: str
    executions: int
    outcomes: bytes
    expires_ms: int


@dataclass
class _Content:
    records: dict[str, _Record]
    owners: dict[str, tuple[str, int]]
    positions: dict[Place, tuple[int, str]]


class MemoryInbox:
    """`now_ms` decides what has expired. `away` is a fault: while set, every call raises StoreAwayError."""

    def __init__(self, now_ms: Callable[[], int], retention_ms: int = RETENTION_MS) -> None:
        self._now_ms = now_ms
        self._keep_ms = kept_ms(retention_ms)
        self._content = _Content({}, {}, {})
        self.away = False

    def snapshot(self) -> object:
        """The content as it is, for `restore`."""
        return copy.deepcopy(self._content)

    def restore(self, snapshot: object) -> None:
        """Go back in time, as a Redis that lost its newest writes does."""
        assert isinstance(snapshot, _Content), "not a snapshot of a memory inbox"
        self._content = copy.deepcopy(snapshot)

    def clear(self) -> None:
        """Lose everything."""
        self._content = _Content({}, {}, {})

    def state(self, identity: str) -> str | None:
        """`begun`, `settled`, `dead`, `revoked`, or None."""
        record = self._get(identity)
        return None if record is None else {"b": "begun", "s": "settled", "d": "dead", "r": "revoked"}[record.state]

    async def check(self) -> Sequence[str]:
        self._reach()
        return ()

    async def positions(self) -> dict[Place, int]:
        self._reach()
        return {place: offset for place, (offset, _) in self._content.positions.items()}

    async def take(self, owner: str, session: str, positions: Mapping[Place, int]) -> None:
        self._reach()
        self._content.owners[owner] = (session, 0)
        self._content.positions.update({place: (offset, session) for place, offset in positions.items()})

    async def exchange(self, owner: str, session: str, exchange: Exchange) -> Reply:
        self._reach()
        self._check(owner, session, exchange)
        self._content.owners[owner] = (session, exchange.number)
        for place, (_, after) in exchange.positions.items():
            self._content.positions[place] = (after, session)
        stored = tuple(self._settle(settlement) for settlement in exchange.settlements)
        return Reply(stored, tuple(self._claim(claim) for claim in exchange.claims))

    def _reach(self) -> None:
        if self.away:
            raise StoreAwayError("the memory inbox plays away")

    def _check(self, owner: str, session: str, exchange: Exchange) -> None:
        last = self._content.owners.get(owner)
        repeated = last == (session, exchange.number)
        if not repeated and last != (session, exchange.number - 1):
            detail = f"owner {owner} is at {last}, not at {session}:{exchange.number - 1}"
            raise StoreMovedError(detail, None if last is None else last[0])
        for place, (before, after) in exchange.positions.items():
            expected = (after if repeated else before, session)
            stored = self._content.positions.get(place)
            if stored != expected:
                raise StoreMovedError(f"{place} is at {stored}, not at {expected}", session)

    def _get(self, identity: str) -> _Record | None:
        record = self._content.records.get(identity)
        return None if record is None or record.expires_ms <= self._now_ms() else record

    def _put(self, identity: str, record: _Record) -> None:
        self._content.records[identity] = replace(record, expires_ms=self._now_ms() + self._keep_ms)

    def _settle(self, settlement: Settlement) -> bool:
        record = self._get(settlement.identity)
        if record is None or record.fence != settlement.fence:
            return False
        state = "d" if settlement.dead else "s"
        settled = replace(record, state=state, fingerprint=settlement.fingerprint, outcomes=settlement.outcomes)
        self._put(settlement.identity, settled)
        return True

    def _claim(self, claim: Claim) -> Answer:
        record = self._get(claim.identity)
        if record is None:
            return self._first(claim)
        if record.state == "r":
            self._put(claim.identity, record)
            return Answer(Found.REVOKED, record.fence)
        if record.fingerprint != claim.fingerprint:
            return Answer(Found.CONFLICT, record.fence)
        if record.fence == claim.fence:
            if record.state in _SETTLED:
                return Answer(Found.REFUSED, claim.fence)
            return Answer(Found.UNFINISHED if record.executions > 1 else Found.NEW, claim.fence)
        if record.state == "b" or (record.state == "d" and claim.replayed):
            self._begin(claim, record.executions + 1)
            return Answer(Found.UNFINISHED, claim.fence)
        self._put(claim.identity, record)
        return Answer(Found.SETTLED, record.fence, record.outcomes)

    def _first(self, claim: Claim) -> Answer:
        if claim.refusal is not None:
            self._put(claim.identity, _Record("s", claim.fence, claim.fingerprint, 0, claim.refusal, 0))
            return Answer(Found.REFUSED, claim.fence)
        self._begin(claim, 1)
        return Answer(Found.NEW, claim.fence)

    def _begin(self, claim: Claim, executions: int) -> None:
        self._put(claim.identity, _Record("b", claim.fence, claim.fingerprint, executions, b"", 0))
        for revoked in claim.revokes:
            if self._get(revoked) is None:
                self._put(revoked, _Record("r", claim.fence, "", 0, b"", 0))
