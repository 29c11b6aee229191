"""What is kept for a process before its start is stored like a process, and nobody lists it."""

from __future__ import annotations

from contracts.ids import partition_of
from contracts.topics import SHARDS
from orchestrator.engine.process import ENGINE_SEMANTICS, Process, encode_process
from orchestrator.runtime.checkpoint import process_write
from orchestrator.runtime.readmodel import Query, ReadModel
from orchestrator.runtime.store import Checkpoint, ShardPosition
from orchestrator.runtime.store_memory import MemoryStore
from orchestrator.testkit import Story
from tests.engine.test_early import SAGA
from tests.engine.test_waits import BEGUN, GOODS


async def test_it_is_read_by_its_id_and_in_no_list_until_it_starts() -> None:
    store = MemoryStore()
    reader = ReadModel(store)
    shard = partition_of("lab:j1", SHARDS)

    async def stored(before: Process | None, after: Process, offset: int) -> None:
        position = ShardPosition(offset + 1, "id", f"c{offset}", ENGINE_SEMANTICS)
        write = process_write(before, after, encode_process(after), ())
        await store.write([Checkpoint(shard, offset or None, position, (write,), (after.saga,), 1)])

    story = Story(SAGA).happens(GOODS)
    early = story.process
    await stored(None, early, 0)
    assert await reader.get("lab:j1") == early
    assert await reader.find(Query()) == [] and sum((await reader.counts()).values()) == 0
    assert [due.timer_id for due in await store.due_timers([shard], 10**15, 10)] == ["early"]
    story.starts(BEGUN).sends("a")
    await stored(early, story.process, 1)
    assert await reader.find(Query()) == [story.process]
    assert [due.timer_id for due in await store.due_timers([shard], 10**15, 10)] == ["a/silence"]
