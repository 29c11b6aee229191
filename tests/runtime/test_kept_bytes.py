"""What is kept beside states: dead letters give the original back, and a shard's refusal is read as it was written."""

from __future__ import annotations

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.record import IncomingRecord
from orchestrator.cli.letters import read_letter
from orchestrator.runtime.dead_letters import DETAIL_LENGTH_MAX, dead_letter
from orchestrator.runtime.ownership import RefusedShard
from orchestrator.runtime.readmodel import ReadModel
from orchestrator.runtime.store_memory import MemoryStore

NAMES = st.text("abcdefgh_", min_size=1, max_size=8).map("ce_".__add__)
HEADERS = st.lists(st.tuples(NAMES, st.binary(max_size=9)), max_size=4).map(tuple)
TEXTS = st.text(max_size=20)
SETTINGS = settings(derandomize=True, max_examples=100, deadline=None, database=None)


@SETTINGS
@given(
    st.none() | st.binary(max_size=9),
    st.none() | st.binary(max_size=30),
    HEADERS,
    TEXTS,
    st.text(max_size=2_000),
    st.integers(0, 63),
    st.integers(0, 2**40),
)
def test_a_dead_letter_has_the_record_as_it_came_and_where_it_was(
    key: bytes | None,
    value: bytes | None,
    headers: tuple[tuple[str, bytes], ...],
    reason: str,
    detail: str,
    partition: int,
    offset: int,
) -> None:
    record = IncomingRecord("orders.events", partition, offset, 1_000, key, value, headers)
    letter = dead_letter(record, reason, detail, 2_000)
    assert (letter.key, letter.value) == (key, value or b"")
    assert tuple(pair for pair in letter.headers if not pair[0].startswith("dl_")) == headers
    kept = IncomingRecord(letter.topic, 0, 0, 3_000, letter.key, letter.value, letter.headers)
    read = read_letter(kept)
    assert (read.reason, read.detail) == (reason, detail[:DETAIL_LENGTH_MAX])
    assert read.origin == f"orders.events-{partition}-{offset}"
    again = dead_letter(kept, "again", "", 4_000)  # a replay that failed tells of this failure alone
    assert sum(name.startswith("dl_") for name, _ in again.headers) == sum(
        name.startswith("dl_") for name, _ in letter.headers
    )


@SETTINGS
@given(st.dictionaries(st.integers(0, 63), st.tuples(TEXTS, TEXTS, TEXTS), max_size=3))
async def test_a_refusal_is_read_as_it_was_written(said: dict[int, tuple[str, str, str]]) -> None:
    refusals = [RefusedShard(number, *texts) for number, texts in sorted(said.items())]
    store = MemoryStore()
    await store.set_refusals({one.shard: msgspec.json.encode(one) for one in refusals})
    assert await ReadModel(store).refused_shards() == refusals
