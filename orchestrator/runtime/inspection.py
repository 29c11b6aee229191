"""Finds the shards that would refuse to work, and what a person must know of each. Reads only; no engine need run."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

import msgspec

from contracts.envelope import EnvelopeError, decode_headers
from contracts.record import IncomingRecord
from contracts.topics import INBOX
from orchestrator.engine.history import decode_entry
from orchestrator.engine.process import Process, decode_process
from orchestrator.runtime.checkpoint import record_id
from orchestrator.runtime.claim import Claim, Facts, Refusal, judge, other_record
from orchestrator.runtime.log import Place, Reader
from orchestrator.runtime.recovery import UNREPAIRABLE, Damage
from orchestrator.runtime.restore import Restorer, SnapshotsDamaged
from orchestrator.runtime.snapshot_store import WholeStore
from orchestrator.runtime.snapshots import Cut

BACK_RECORDS = 500
"""Records that one step back through the inbox reads."""
TAIL_ENTRIES = 500
"""History entries of a process among which an input is looked for."""


class Inspection:
    """`committed`: the engine group's offsets. `refused`: what engines have said, by shard: (code, text)."""

    def __init__(
        self,
        reader: Reader,
        store: WholeStore,
        restorer: Restorer,
        semantics: int,
        committed: Mapping[int, int | None],
        refused: Mapping[int, tuple[str, str]],
    ) -> None:
        self._reader = reader
        self._store = store
        self._restorer = restorer
        self._semantics = semantics
        self._committed = committed
        self._refused = refused

    async def damages(self, shards: Collection[int]) -> list[Damage]:
        """Of the shards that would refuse, in their order. Raises LogUnavailable, StoreUnavailable."""
        stored = await self._store.positions(shards)
        found = []
        for number in sorted(shards):
            bounds = await self._reader.bounds(Place(INBOX, number))
            facts = Facts(
                number, stored[number], self._committed.get(number), *bounds, self._semantics, "unknown", True
            )
            damage = await self._damage(facts)
            if damage is not None:
                found.append(damage)
        return found

    async def _damage(self, facts: Facts) -> Damage | None:
        code, text = self._refused.get(facts.shard, ("", ""))
        if code in UNREPAIRABLE:
            return Damage(facts, Refusal(code, text), None)  # type: ignore[arg-type] # halts are told the same way
        cut, damaged = await self._cut(facts)
        if facts.stored is None and damaged is not None:
            return Damage(facts, Refusal("snapshots-damaged", damaged), None)
        if facts.stored is None and code == "snapshots-damaged":
            return Damage(facts, Refusal("snapshots-damaged", text), None)
        verdict = judge(facts if cut is not None else replace(facts, snapshots="none"))
        if isinstance(verdict, Claim) and verdict.verify is not None:
            verdict = await self._verified(facts, verdict) or verdict
        if not isinstance(verdict, Refusal):
            return None
        agreed, agreed_id = await self._agreed(facts)
        return Damage(facts, verdict, cut, agreed, agreed_id)

    async def _cut(self, facts: Facts) -> tuple[Cut | None, str | None]:
        """The cut is asked for only where it may matter: its partition is read to the end."""
        stored = facts.stored
        if stored is not None and stored.next >= facts.log_start:
            return None, None
        try:
            return await self._restorer.find_cut(facts.shard), None
        except SnapshotsDamaged as error:
            return None, str(error)

    async def _verified(self, facts: Facts, claim: Claim) -> Refusal | None:
        before = await self._one(facts, claim.next - 1)
        if before is None or claim.verify is None:
            return None
        found = record_id(before)
        return None if found == claim.verify else other_record(facts.shard, before.offset, claim.verify, found)

    async def _one(self, facts: Facts, offset: int) -> IncomingRecord | None:
        async for batch in self._reader.read(Place(INBOX, facts.shard), offset, offset + 1):
            for record in batch:
                return record
        return None

    async def _agreed(self, facts: Facts) -> tuple[int | None, str]:
        """The offset up to which the inbox is the log that the states were folded from: behind the last record that is
        in the history of its process. Goes back to the log's start if there is none."""
        stored = facts.stored
        if stored is None or stored.next < facts.log_start:
            return None, ""
        end = min(stored.next, facts.log_end)
        before = await self._one(facts, stored.next - 1) if facts.log_start < stored.next <= facts.log_end else None
        if before is not None and record_id(before) == stored.record_id:
            return stored.next, stored.record_id
        while end > facts.log_start:
            start = max(end - BACK_RECORDS, facts.log_start)
            records = [one async for batch in self._reader.read(Place(INBOX, facts.shard), start, end) for one in batch]
            for record in reversed(records):
                if await self._is_folded(record):
                    return record.offset + 1, record_id(record)
            end = start
        return facts.log_start, ""

    async def _is_folded(self, record: IncomingRecord) -> bool:
        try:
            identity = decode_headers(record.headers).id
            process_id = (record.key or b"").decode()
        except (EnvelopeError, UnicodeDecodeError):
            return False
        (blob,) = await self._store.blobs([process_id])
        length = _length(blob)
        entries = await self._store.history(process_id, max(length - TAIL_ENTRIES, 0), TAIL_ENTRIES)
        return any(_is_entry(entry, record.offset, identity) for entry in reversed(entries))


def _length(blob: bytes | None) -> int:
    process: Process | None = None if blob is None else decode_process(blob)
    return 0 if process is None else process.history_length


def _is_entry(blob: bytes, offset: int, identity: str) -> bool:
    try:
        entry = decode_entry(blob)
    except msgspec.DecodeError:
        return False
    return (entry.offset, entry.id) == (offset, identity)


def refusals_of(shards: Sequence[tuple[int, str, str]]) -> dict[int, tuple[str, str]]:
    """(shard, code, text) as `Inspection` wants them."""
    return {number: (code, text) for number, code, text in shards}
