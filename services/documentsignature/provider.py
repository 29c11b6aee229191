"""The e-signature provider as this automation needs it.

Promise of every adapter: one key makes one request, however often it is asked; the key of another content is `NotDone`,
not retryable. A call that is cancelled may have made the request.
"""

from __future__ import annotations

from typing import Protocol

import msgspec

KEY_REUSED = "idempotency_key_reused"


class SignatureRequest(msgspec.Struct, frozen=True, gc=False):
    document_id: str
    owner_email: str
    path: str
    sha256: str


class SignatureProvider(Protocol):
    async def ask(self, request: SignatureRequest, *, key: str) -> str:
        """The request's id. Raises `NotDone` only if this call made none, `Unknown` otherwise."""
