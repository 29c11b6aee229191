"""An incoming webhook of Slack: JSON there, `200 ok` back, no idempotency keys."""

from __future__ import annotations

from services.leadalert.alert import Alert
from services.sdk.outside.provider_http import ProviderHttp

POSTED = 200


class SlackWebhook:
    """`url`: the whole address; whoever knows it may post."""

    def __init__(self, provider: ProviderHttp, url: str) -> None:
        self._provider = provider
        self._url = url

    async def post(self, alert: Alert) -> None:
        body = {"text": alert.text, "blocks": list(alert.blocks)}
        answer = await self._provider.post(self._url, body, key=None)
        if answer.status != POSTED:
            raise answer.unexpected(self._provider.name)
