"""A parent and its child by the real engine on real Kafka and Redis: the messages between them cross shards."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterator

import pytest
from prometheus_client import CollectorRegistry

from contracts.envelope import Envelope, encode_headers
from contracts.ids import partition_of
from contracts.record import OutgoingRecord
from contracts.topics import INBOX, SHARDS
from operations.endpoints import Endpoints
from orchestrator.engine.expiry import may_expire
from orchestrator.engine.inputs import SAGA_HEADER, VERSION_HEADER
from orchestrator.engine.process import decode_process
from orchestrator.runtime.engine_loop import EngineLoop, EngineSettings
from orchestrator.runtime.log_kafka import KafkaLog
from orchestrator.runtime.metrics import Metrics
from orchestrator.runtime.readiness import Readiness
from orchestrator.runtime.store_redis import RedisStore
from orchestrator.testkit.lab import Begun
from tests.runtime.real import lab_stack, unique
from tests.runtime.test_children import RULES, answer

pytestmark = pytest.mark.stack
LIMIT_S = 60.0


@pytest.fixture(scope="module")
def endpoints(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Endpoints]:
    with lab_stack(tmp_path_factory.mktemp("children")) as found:
        yield found


async def participate(endpoints: Endpoints, refused: str | None) -> None:
    """Answers every command, until it is stopped."""
    log = KafkaLog(endpoints.kafka, unique("participant"))
    subscription = await log.subscribe(unique("participant"), frozenset(("lab.commands",)), None, "committed")
    appender = await log.appender()
    try:
        while True:
            for records in (await subscription.poll(100)).values():
                await appender.append([answer(record, refused) for record in records])
    finally:
        await subscription.close()
        await appender.close()


def start(job: str) -> OutgoingRecord:
    event = Begun(job_id=job)
    headers = encode_headers(Envelope(id=unique("start"), source="/test", type=Begun.type))
    stamp = ((SAGA_HEADER, b"lab"), (VERSION_HEADER, b"1"))
    key = f"lab:{job}"
    return OutgoingRecord(INBOX, key.encode(), event.to_json(), headers + stamp, partition_of(key, SHARDS))


async def until_over(store: RedisStore, names: list[str]) -> list[str]:
    """Phases, once both have ended and the child is let go."""
    async with asyncio.timeout(LIMIT_S):
        while True:
            found = [decode_process(blob) for blob in await store.blobs(names) if blob is not None]
            if len(found) == len(names) and all(may_expire(process) for process in found):
                return [process.phase for process in found]
            await asyncio.sleep(0.05)


@pytest.mark.parametrize(("refused", "phase"), [(None, "completed"), ("bill", "compensated"), ("c1", "compensated")])
async def test_a_parent_and_its_child_end_alike(endpoints: Endpoints, refused: str | None, phase: str) -> None:
    job, numbers = unique("job"), itertools.count()
    store, log = RedisStore(endpoints.redis.orchestrator), KafkaLog(endpoints.kafka, "engine-1")
    loop = EngineLoop(
        log, store, RULES, Metrics(CollectorRegistry()).engine, Readiness(), EngineSettings(unique("engine")),
        new_id=lambda: f"{job}-{next(numbers)}",
    )  # fmt: skip
    await loop.open()
    tasks = [asyncio.create_task(loop.run()), asyncio.create_task(participate(endpoints, refused))]
    appender = await log.appender()
    try:
        await appender.append([start(job)])
        assert await until_over(store, [f"lab:{job}", f"lab-child:{job}-ship"]) == [phase, phase]
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await appender.close()
        await loop.close()
        await store.close()
