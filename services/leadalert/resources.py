"""What the lead-alert automation needs from outside, opened at start and closed at the end."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Final

from services.leadalert.chat_http import SlackWebhook
from services.leadalert.chat_memory import MemoryChat
from services.sdk.host import HostSettings
from services.sdk.outside.options import call_limits, is_instant, provider_url
from services.sdk.outside.provider_http import ProviderHttp, open_client
from services.sdk.surroundings import system_surroundings

URL_OPTION: Final = "slack_url"


@asynccontextmanager
async def connect(settings: HostSettings) -> AsyncIterator[Sequence[object]]:
    """Yields the Chat and the clock. Raises StartRefused if an option is missing or means nothing."""
    if is_instant(settings.options):
        yield (MemoryChat(), system_surroundings())
        return
    limits = call_limits(settings.options)
    url = provider_url(settings.options, URL_OPTION).removesuffix("/")
    async with open_client(url, limits) as client:
        yield (SlackWebhook(ProviderHttp("Slack", client, limits), url), system_surroundings())
