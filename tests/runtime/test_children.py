"""A parent and its child on different shards, by the real engine over a log and a store: both complete, or both are
undone, also when the engine is killed at any moment."""

from __future__ import annotations

import pytest

from contracts.envelope import Envelope, decode_headers, encode_headers
from contracts.ids import partition_of
from contracts.message import Event
from contracts.record import IncomingRecord, OutgoingRecord
from contracts.topics import INBOX, SHARDS
from orchestrator.engine.book import SagaBook
from orchestrator.engine.expiry import may_expire
from orchestrator.engine.inputs import SAGA_HEADER, VERSION_HEADER
from orchestrator.engine.process import decode_process
from orchestrator.language import sequence
from orchestrator.runtime.engine_loop import ENGINE_GROUP
from orchestrator.runtime.log_memory import MemoryLog
from orchestrator.runtime.rules import rules_of
from orchestrator.testkit.lab import Begun, Do, Done, Refused, Reverted, lab_saga, step
from orchestrator.testkit.lab_children import child, child_saga
from tests.runtime.world import TOPICS, World

CHILD = child_saga()
PARENT = lab_saga(sequence(step("a"), child("ship", CHILD), step("bill", needs="ship")))
RULES = rules_of(SagaBook([PARENT, CHILD]))
P, C = "lab:j1", "lab-child:j1-ship"


def start() -> OutgoingRecord:
    envelope = Envelope(id="start", source="/test", type=Begun.type)
    stamp = ((SAGA_HEADER, b"lab"), (VERSION_HEADER, b"1"))
    return OutgoingRecord(INBOX, P.encode(), Begun(job_id="j1").to_json(), encode_headers(envelope) + stamp)


def answer(record: IncomingRecord, refused: str | None) -> OutgoingRecord:
    """What a participant says about a command, as the router would bring it. `refused`: the step that it refuses."""
    sent = decode_headers(record.headers)
    assert sent.process_id is not None and record.value is not None
    name = Do.model_validate_json(record.value).step
    event: Event = Done(job_id="j1", step=name, mark=sent.id)
    if sent.type != Do.type:
        event = Reverted(job_id="j1", step=name)
    elif name == refused:
        event = Refused(job_id="j1", step=name)
    envelope = Envelope(
        id=f"answer-{sent.id}", source="/lab", type=event.type, process_id=sent.process_id, causation_id=sent.id
    )
    return OutgoingRecord(INBOX, sent.process_id.encode(), event.to_json(), encode_headers(envelope))


class Run:
    """Participants answer every message once, whoever runs the engine."""

    def __init__(self) -> None:
        self.world = World()
        self.world.log = MemoryLog({**TOPICS, "lab.commands": 4, "lab.events": 4}, lambda: self.world.now_ms)
        self.world.log.commit_start(ENGINE_GROUP, INBOX)
        self.answered: set[str] = set()

    def participate(self, refused: str | None) -> int:
        new = [r for r in self.world.log.records("lab.commands") if self._id(r) not in self.answered]
        for record in {self._id(record): record for record in new}.values():
            self.answered.add(self._id(record))
            self.world.put(answer(record, refused))
        return len(new)

    def _id(self, record: IncomingRecord) -> str:
        return dict(record.headers)["ce_id"].decode()

    async def phases(self) -> list[str]:
        blobs = await self.world.store.blobs([P, C])
        return [decode_process(blob).phase for blob in blobs if blob is not None]

    def told(self, kind: str) -> int:
        types = [dict(record.headers)["ce_type"] for record in self.world.log.records(INBOX)]
        return types.count(f"orchestrator.{kind}.v1".encode())


def test_the_two_are_on_different_shards() -> None:
    assert partition_of(P, SHARDS) != partition_of(C, SHARDS)


@pytest.mark.parametrize(
    ("refused", "ended"),
    [
        (None, ["completed", "completed"]),
        ("c1", ["compensated", "compensated"]),
        ("bill", ["compensated", "compensated"]),
    ],
)
@pytest.mark.parametrize("killed", [False, True])
async def test_a_parent_and_its_child_end_alike(refused: str | None, ended: list[str], killed: bool) -> None:
    run = Run()
    run.world.put(start())
    engine = await run.world.engine(RULES)
    for _ in range(20):
        await engine.work(flush=not killed)
        if killed:  # after publishing, before anything is stored: every message is published again
            await engine.die()
            engine = await run.world.engine(RULES)
        if not run.participate(refused) and not killed:
            break
    await engine.work()
    assert await run.phases() == ended
    assert run.told("start-child") >= 1 and run.told("release-child") >= 1
    assert run.told("undo-child") >= (refused == "bill")
    child_process = decode_process((await run.world.store.blobs([C]))[0] or b"")
    assert may_expire(child_process)


async def test_what_goes_to_a_child_is_in_its_own_partition() -> None:
    run = Run()
    run.world.put(start())
    engine = await run.world.engine(RULES)
    for _ in range(6):
        await engine.work()
        run.participate(None)
    found = {(record.key, record.partition) for record in run.world.log.records(INBOX)}
    assert found == {(name.encode(), partition_of(name, SHARDS)) for name in (P, C)}


async def test_a_shard_whose_build_lacks_the_childs_saga_pauses_loudly() -> None:
    run = Run()
    run.world.put(start())
    engine = await run.world.engine(rules_of(SagaBook([PARENT])))
    for _ in range(4):
        await engine.work()
        run.participate(None)
    problem = engine.loop.ownership.problem()
    assert problem is not None and "saga 'lab-child' version 1 is in the log, but not in this build" in problem
    assert await run.phases() == ["running"]
    await engine.die()
    later = await run.world.engine(RULES)
    for _ in range(6):
        await later.work()
        run.participate(None)
    assert await run.phases() == ["completed", "completed"]
