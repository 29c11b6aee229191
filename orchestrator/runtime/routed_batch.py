"""One batch of the router: what must be appended for the records that were polled, in their order."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple, get_args

from contracts.record import IncomingRecord, OutgoingRecord
from contracts.topics import MESSAGE_BYTES_MAX
from orchestrator.runtime.dead_letters import RouterReason, dead_letter
from orchestrator.runtime.log import AppendRefused, Place
from orchestrator.runtime.routing import Routed, Routing, buried, original

LARGE_BYTES_MIN = MESSAGE_BYTES_MAX // 2
"""The log takes anything that a domain topic has taken, and headers beside. If it refuses a record of less than half
that size, something is wrong with the log (a topic is missing), not with the record."""
DEAD_REASONS = frozenset(get_args(RouterReason))


class Entry(NamedTuple):
    """A record to append. `label`: `start`, `observed` or `outcome`, or the reason of a dead letter."""

    place: Place
    source: IncomingRecord
    record: OutgoingRecord
    label: str


class RoutedBatch:
    """Mutable: entries leave it when their place is lost, or change when the log refuses them."""

    def __init__(self, routing: Routing, polled: Mapping[Place, Sequence[IncomingRecord]]) -> None:
        self.entries: list[Entry] = []
        self.next: dict[Place, int] = {}
        """Offsets to commit once all entries are acknowledged."""
        self.records = 0
        self.skipped: Counter[str] = Counter()
        route = routing.route
        for place, records in polled.items():
            for record in records:
                routed = route(record)
                if routed.skipped is not None:
                    self.skipped[routed.skipped] += 1
                else:
                    self._add(place, record, routed)
            self.records += len(records)
            if records:
                self.next[place] = records[-1].offset + 1

    def _add(self, place: Place, source: IncomingRecord, routed: Routed) -> None:
        outcomes = len(routed.inbox) - routed.starts - routed.observed
        labels = ["outcome"] * outcomes + ["observed"] * routed.observed + ["start"] * routed.starts
        for record, label in zip(routed.inbox, labels, strict=True):
            self.entries.append(Entry(place, source, record, label))
        if routed.dead is not None:
            self.entries.append(Entry(place, source, routed.dead.record, routed.dead.reason))

    def outgoing(self) -> list[OutgoingRecord]:
        return [entry.record for entry in self.entries]

    def drop(self, places: Collection[Place]) -> None:
        """These places are somebody else's now, who reads their records again."""
        if places:
            self.entries = [entry for entry in self.entries if entry.place not in places]
            self.next = {place: offset for place, offset in self.next.items() if place not in places}

    def refuse(self, error: AppendRefused) -> bool:
        """Give up the record that the log refused as too large: in its place, a dead letter is appended. False: it is
        not large, so that its refusal is no reason to give it up."""
        entry = self.entries[error.index]
        if size_of(entry.record) < LARGE_BYTES_MIN:
            return False
        source = original(entry.source)
        if entry.label in DEAD_REASONS:
            # Not even dead letters take it: its headers and value stay where dl_topic, dl_partition, dl_offset point.
            bare = source._replace(value=b"", headers=())
            letter = dead_letter(
                bare, entry.label, f"value and headers are left out: {error.detail}", source.timestamp_ms
            )
            self.entries[error.index] = entry._replace(record=letter)
            return True
        letter = buried(source, "too-large", error.detail).record
        kept = [e for e in self.entries[error.index :] if e.source is not entry.source]
        before = [e for e in self.entries[: error.index] if e.source is not entry.source]
        self.entries = [*before, Entry(entry.place, entry.source, letter, "too-large"), *kept]
        return True

    def appended(self) -> tuple[Counter[str], Counter[str]]:
        """How many entries of each label: inbox records, dead letters."""
        labels = Counter(entry.label for entry in self.entries)
        dead = Counter({label: count for label, count in labels.items() if label in DEAD_REASONS})
        return labels - dead, dead


def size_of(record: OutgoingRecord) -> int:
    """Bytes of key, value and headers, without the format's few for each."""
    headers = sum(len(name) + len(value) for name, value in record.headers)
    return len(record.key or b"") + len(record.value) + headers
