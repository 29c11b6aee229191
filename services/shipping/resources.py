"""What the shipping service needs from outside, opened at start and closed at the end."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Final

from services.sdk.host import HostSettings
from services.sdk.outside.options import call_limits, is_instant, provider_url
from services.sdk.outside.provider_http import ProviderHttp, open_client
from services.sdk.surroundings import system_surroundings
from services.shipping.carrier_http import HttpCarrier
from services.shipping.carrier_memory import MemoryCarrier

URL_OPTION: Final = "carrier_url"


@asynccontextmanager
async def connect(settings: HostSettings) -> AsyncIterator[Sequence[object]]:
    """Yields one Carrier. Raises StartRefused if an option is missing or means nothing."""
    if is_instant(settings.options):
        yield (MemoryCarrier(system_surroundings().now_ms),)
        return
    limits = call_limits(settings.options)
    async with open_client(provider_url(settings.options, URL_OPTION), limits) as client:
        yield (HttpCarrier(ProviderHttp("the carrier", client, limits)),)
