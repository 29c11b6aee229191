"""An OS process with the fake engine on real servers, to be killed: `python -m tests.runtime.engine_program KAFKA
REDIS`."""

from __future__ import annotations

import asyncio
import itertools
import os
import signal
import sys

import uvloop
from prometheus_client import CollectorRegistry

from orchestrator.runtime.engine_loop import EngineLoop, EngineSettings
from orchestrator.runtime.log_kafka import KafkaLog
from orchestrator.runtime.metrics import Metrics
from orchestrator.runtime.readiness import Readiness
from orchestrator.runtime.store_redis import RedisStore
from tests.runtime.fake_engine import fake_rules


async def serve(kafka: str, redis: str) -> None:
    numbers = itertools.count()
    store = RedisStore(redis)
    loop = EngineLoop(
        KafkaLog(kafka, "engine-1"),
        store,
        fake_rules(),
        Metrics(CollectorRegistry()).engine,
        Readiness(),
        EngineSettings("engine-1"),
        new_id=lambda: f"{os.getpid()}-{next(numbers)}",
    )
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, loop.stop)
    await loop.open()
    await loop.run()
    await loop.close()
    await store.close()


if __name__ == "__main__":
    uvloop.run(serve(sys.argv[1], sys.argv[2]))
