"""An e-signature provider in this process: the public fake, which answers at once and can be told to misbehave."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Final, Literal

from services.documentsignature.provider import KEY_REUSED, SignatureRequest
from services.sdk import NotDone, Unknown

REQUESTS_MAX: Final = 200_000
"""Requests that are remembered; the oldest are forgotten first, and then their keys make new ones."""

Misbehaviour = Literal["unavailable", "lost", "silent"]
"""As the next call ends: nothing done and said so; done, but the answer is lost; not done, and no answer."""


@dataclass(slots=True)
class MemorySignatureProvider:
    """`requests`: by key. Nobody signs by itself."""

    misbehave: deque[Misbehaviour] = field(default_factory=deque)
    requests: dict[str, SignatureRequest] = field(default_factory=dict)

    async def ask(self, request: SignatureRequest, *, key: str) -> str:
        fault = self.misbehave.popleft() if self.misbehave else None
        if fault == "unavailable":
            raise NotDone("provider-unavailable", "not now", retryable=True)
        if fault != "silent" and self.requests.setdefault(key, request) != request:
            raise NotDone(KEY_REUSED, f"document {request.document_id} has a request with another owner or path")
        if len(self.requests) > REQUESTS_MAX:
            del self.requests[next(iter(self.requests))]
        if fault is not None:
            raise Unknown("provider-silent", "no answer")
        return f"sig-{key}"
