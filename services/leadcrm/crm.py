"""The CRM as this automation needs it.

Promise of every adapter: one key makes one record, however often it is asked; the key of another content is `NotDone`,
not retryable. A call that is cancelled may have made the record.
"""

from __future__ import annotations

from typing import Protocol

import msgspec

KEY_REUSED = "idempotency_key_reused"


class Lead(msgspec.Struct, frozen=True, gc=False):
    lead_id: str
    name: str
    email: str
    company: str | None
    message: str


class Crm(Protocol):
    async def create_record(self, lead: Lead, *, key: str) -> str:
        """The record's id. Raises `NotDone` only if this call made none, `Unknown` otherwise."""
