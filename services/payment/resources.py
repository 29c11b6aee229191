"""What the payment service needs from outside, opened at start and closed at the end."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Final

from services.payment.gateway_http import HttpGateway
from services.payment.gateway_memory import MemoryGateway
from services.sdk.host import HostSettings
from services.sdk.outside.options import call_limits, is_instant, provider_url
from services.sdk.outside.provider_http import ProviderHttp, open_client

URL_OPTION: Final = "payment_url"


@asynccontextmanager
async def connect(settings: HostSettings) -> AsyncIterator[Sequence[object]]:
    """Yields one PaymentGateway. Raises StartRefused if an option is missing or means nothing."""
    if is_instant(settings.options):
        yield (MemoryGateway(),)
        return
    limits = call_limits(settings.options)
    async with open_client(provider_url(settings.options, URL_OPTION), limits) as client:
        yield (HttpGateway(ProviderHttp("the payment provider", client, limits)),)
