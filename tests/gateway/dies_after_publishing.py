"""`python dies_after_publishing.py ...`: the gateway, killed by SIGKILL when Kafka has acknowledged its first event and
before the memory of keys, or anybody, is told."""

from __future__ import annotations

import os
import signal
from typing import Any

from services.gateway import __main__ as program
from services.gateway.publishing import Publisher

publish = Publisher.publish


async def publish_and_die(self: Publisher, *arguments: Any) -> None:
    await publish(self, *arguments)
    os.kill(os.getpid(), signal.SIGKILL)


Publisher.publish = publish_and_die  # type: ignore[method-assign]

if __name__ == "__main__":
    program.app()
