"""What the lead-crm automation needs from outside, opened at start and closed at the end."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Final

from services.leadcrm.crm_http import HttpCrm
from services.leadcrm.crm_memory import MemoryCrm
from services.sdk.host import HostSettings
from services.sdk.outside.options import call_limits, is_instant, provider_url
from services.sdk.outside.provider_http import ProviderHttp, open_client

URL_OPTION: Final = "crm_url"


@asynccontextmanager
async def connect(settings: HostSettings) -> AsyncIterator[Sequence[object]]:
    """Yields one Crm. Raises StartRefused if an option is missing or means nothing."""
    if is_instant(settings.options):
        yield (MemoryCrm(),)
        return
    limits = call_limits(settings.options)
    async with open_client(provider_url(settings.options, URL_OPTION), limits) as client:
        yield (HttpCrm(ProviderHttp("the CRM", client, limits)),)
