"""What the document-signature automation needs from outside, opened at start and closed at the end."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Final

from services.documentsignature.kept_redis import RedisKeptDocuments
from services.documentsignature.kept_redis import open_client as open_redis
from services.documentsignature.provider import SignatureProvider
from services.documentsignature.provider_http import HttpSignatureProvider
from services.documentsignature.provider_memory import MemorySignatureProvider
from services.sdk.host import HostSettings
from services.sdk.outside.options import call_limits, is_instant, provider_url
from services.sdk.outside.provider_http import ProviderHttp, open_client

URL_OPTION: Final = "signature_url"


@asynccontextmanager
async def connect(settings: HostSettings) -> AsyncIterator[Sequence[object]]:
    """Yields the SignatureProvider and the KeptDocuments. Raises StartRefused if an option is missing or means
    nothing."""
    async with AsyncExitStack() as stack:
        provider = await _provider(stack, settings)
        redis = await stack.enter_async_context(open_redis(settings.redis_url))
        yield (provider, RedisKeptDocuments(redis))


async def _provider(stack: AsyncExitStack, settings: HostSettings) -> SignatureProvider:
    if is_instant(settings.options):
        return MemorySignatureProvider()
    limits = call_limits(settings.options)
    client = await stack.enter_async_context(open_client(provider_url(settings.options, URL_OPTION), limits))
    return HttpSignatureProvider(ProviderHttp("the e-signature provider", client, limits))
