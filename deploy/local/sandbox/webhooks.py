"""Webhooks of the providers: told to a configured address until it says 2xx, signed as Standard Webhooks.

What is to be told is in the books in the transaction of what it tells about, so nothing is forgotten over a kill; it
may be told twice, as by the real ones.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import queue
import sqlite3
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import httpx
from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from deploy.local.errors import StackError
from deploy.local.sandbox.books import DueWebhook, due_webhooks, postpone_webhook, settle_webhook
from deploy.local.sandbox.writer import Writer

LOOK_SECONDS = 0.2
ANSWER_SECONDS = 5.0
BATCH_MAX = 20
"""Told at once."""
PAUSE_SECONDS_MAX = 30.0
PAUSE_SECONDS_FIRST = 0.2
OK = range(200, 300)


class Address(BaseModel):
    """Where a provider's webhooks go. `secret`: base64, with or without `whsec_`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    url: str
    secret: str


def read_addresses(file: Path) -> dict[str, Address]:
    """The JSON object {provider: {url, secret}} in `file`. Raises StackError."""
    try:
        return TypeAdapter(dict[str, Address]).validate_json(file.read_bytes())
    except (OSError, ValidationError) as error:
        raise StackError(f"{file} is no file of webhook addresses: {error}") from error


@dataclass(slots=True)
class Teller:
    """Runs as a task until it is cancelled. Providers without an address tell nothing; it stays in the books."""

    writer: Writer
    addresses: Mapping[str, Address]

    async def run(self) -> None:
        if not self.addresses:
            return
        async with httpx.AsyncClient(timeout=ANSWER_SECONDS, trust_env=False) as client:
            while True:
                try:
                    told = await self._round(client)
                except (sqlite3.Error, queue.Full):
                    told = 0  # the books have too much to do; it is still in them
                if told < BATCH_MAX:
                    await asyncio.sleep(LOOK_SECONDS)

    async def _round(self, client: httpx.AsyncClient) -> int:
        due = await self.writer.do(lambda books: due_webhooks(books, tuple(self.addresses), now(), BATCH_MAX))
        await asyncio.gather(*(self._tell(client, one) for one in due))
        return len(due)

    async def _tell(self, client: httpx.AsyncClient, webhook: DueWebhook) -> None:
        address = self.addresses[webhook.provider]
        headers = signed_headers(address.secret, webhook.id, int(now()), webhook.body)
        try:
            answer = await client.post(address.url, content=webhook.body, headers=headers)
            told = answer.status_code in OK
        except httpx.HTTPError:
            told = False
        if told:
            await self.writer.do(lambda books: settle_webhook(books, webhook.seq))
            return
        again = now() + min(PAUSE_SECONDS_MAX, PAUSE_SECONDS_FIRST * 2**webhook.attempts)
        await self.writer.do(lambda books: postpone_webhook(books, webhook.seq, again))


def signed_headers(secret: str, webhook_id: str, now_s: int, body: bytes) -> dict[str, str]:
    """As https://www.standardwebhooks.com says."""
    key = base64.b64decode(secret.removeprefix("whsec_"))
    digest = hmac.new(key, f"{webhook_id}.{now_s}.".encode() + body, hashlib.sha256).digest()
    return {
        "content-type": "application/json",
        "webhook-id": webhook_id,
        "webhook-timestamp": str(now_s),
        "webhook-signature": f"v1,{base64.b64encode(digest).decode()}",
    }


def now() -> float:
    """Seconds since the epoch."""
    return time.time()


def as_json(addresses: Mapping[str, Address]) -> str:
    """What `read_addresses` reads."""
    return json.dumps({name: address.model_dump() for name, address in addresses.items()})
