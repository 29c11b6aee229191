"""What the stock-report automation needs from outside."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from services.sdk.host import HostSettings
from services.stockreport.store_redis import RedisLevels, open_levels


@asynccontextmanager
async def connect(settings: HostSettings) -> AsyncIterator[Sequence[object]]:
    """Yields the LevelStore."""
    async with open_levels(settings.redis_url) as client:
        yield (RedisLevels(client),)
