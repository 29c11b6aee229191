"""What the invoicing automation needs from outside, opened at start and closed at the end."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Final

from services.invoicing.accounting_http import HttpAccounting
from services.invoicing.accounting_memory import MemoryAccounting
from services.sdk.host import HostSettings
from services.sdk.outside.options import call_limits, is_instant, provider_url
from services.sdk.outside.provider_http import ProviderHttp, open_client

URL_OPTION: Final = "accounting_url"


@asynccontextmanager
async def connect(settings: HostSettings) -> AsyncIterator[Sequence[object]]:
    """Yields one Accounting. Raises StartRefused if an option is missing or means nothing."""
    if is_instant(settings.options):
        yield (MemoryAccounting(),)
        return
    limits = call_limits(settings.options)
    async with open_client(provider_url(settings.options, URL_OPTION), limits) as client:
        yield (HttpAccounting(ProviderHttp("the accounting system", client, limits)),)
