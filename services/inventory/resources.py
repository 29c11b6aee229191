"""What the inventory service needs from outside, opened at start and closed at the end."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Final

from services.inventory.opening import OPENING_RULES
from services.inventory.store_redis import RedisStock, open_client
from services.sdk import StartRefused
from services.sdk.host import HostSettings
from services.sdk.surroundings import system_surroundings

OPENING_OPTION: Final = "opening_stock"


@asynccontextmanager
async def connect(settings: HostSettings) -> AsyncIterator[Sequence[object]]:
    """Yields the StockStore and the clock. Raises StartRefused if an option means nothing."""
    name = settings.options.get(OPENING_OPTION, "none")
    if name not in OPENING_RULES:
        raise StartRefused(f"option {OPENING_OPTION} is {name!r}, not one of {', '.join(sorted(OPENING_RULES))}")
    async with open_client(settings.redis_url) as client:
        yield (RedisStock(client, OPENING_RULES[name]), system_surroundings())
