"""A process that was written in bulk is the one that the engine would have folded."""

from __future__ import annotations

import re

import pytest

from benchmarks.bulk_states import Template, by_shard, parked, parked_template, ring_template, snapshot_of
from contracts.ids import partition_of
from contracts.topics import SHARDS
from orchestrator.engine.process import decode_process
from orchestrator.runtime.checkpoint import stored_timers
from orchestrator.runtime.snapshot_store import Mark
from orchestrator.runtime.snapshots import decode_head

AT_MS = 1_767_258_000_000
DUE_MS = AT_MS + 60_000
NUMBER = 12_345_678


def without_digests(blob: bytes) -> bytes:
    """Trace id and fingerprint are digests of the start event: all that the number decides in another way."""
    blob = re.sub(rb"00-[0-9a-f]{32}-[0-9a-f]{16}-01", b"traceparent", blob)
    return re.sub(rb"\xabfingerprint\xd9 [0-9a-f]{32}", b"fingerprint", blob)


@pytest.fixture(scope="module")
def template() -> Template:
    return parked_template(AT_MS)


def test_it_waits_for_the_year_2100_with_all_that_an_order_has(template: Template) -> None:
    assert [template.process.steps[name].status for name in ("reserve", "charge", "create_label")] == ["succeeded"] * 3
    (due,) = set(template.process.timers.values())
    assert due == 4_102_444_800_000
    assert len(template.history) == 4


def test_another_number_gives_the_state_that_is_folded_for_it(template: Template) -> None:
    folded = parked(NUMBER, AT_MS)
    assert template.process_id(NUMBER) == folded.process.id
    assert without_digests(template.blob_of(NUMBER)) == without_digests(folded.blob)
    assert [*map(without_digests, template.history_of(NUMBER))] == [*map(without_digests, folded.history)]


def test_a_checkpoint_says_of_it_what_the_engine_says(template: Template) -> None:
    write, process = template.write_of(NUMBER), decode_process(template.blob_of(NUMBER))
    assert write.process_id == process.id
    assert dict(write.timers_set) == stored_timers(process)
    assert write.indexes == ("parked:running",)
    assert write.rests and write.history == template.history_of(NUMBER)


def test_a_ring_is_due_when_it_was_asked_for() -> None:
    ring = ring_template(DUE_MS, AT_MS)
    assert dict(ring.write_of(7).timers_set) == {"due/wake": DUE_MS}
    assert decode_process(ring.blob_of(7)).id == "ring:r-00000007"


def test_each_process_is_on_its_own_shard(template: Template) -> None:
    shards = by_shard(template, range(1_000))
    assert sorted(number for numbers in shards.values() for number in numbers) == list(range(1_000))
    assert all(partition_of(template.process_id(n), SHARDS) == shard for shard, own in shards.items() for n in own)


def test_its_snapshot_names_what_was_written(template: Template) -> None:
    part, head = snapshot_of(template, 5, NUMBER)
    assert (part.key, head.key) == (b"parked:w-12345678#history/0", b"parked:w-12345678")
    found = decode_head(head.value)
    assert found.blob == template.blob_of(NUMBER)
    assert Mark.decode(found.mark) == Mark(0, 1, 4, 0, AT_MS)
