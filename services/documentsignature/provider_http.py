"""The e-signature provider over HTTP (the contract: deploy/local/sandbox/README.md, Signature)."""

from __future__ import annotations

from msgspec.structs import asdict
from pydantic import BaseModel, Field

from services.documentsignature.provider import KEY_REUSED, SignatureRequest
from services.sdk import NotDone
from services.sdk.outside.provider_http import ProviderHttp


class _RequestAnswer(BaseModel):
    request_id: str = Field(min_length=1)


class HttpSignatureProvider:
    """The SignatureProvider that honours `Idempotency-Key`."""

    def __init__(self, provider: ProviderHttp) -> None:
        self._provider = provider

    async def ask(self, request: SignatureRequest, *, key: str) -> str:
        answer = await self._provider.post("requests", asdict(request), key=key)
        if answer.code == KEY_REUSED:
            raise NotDone(KEY_REUSED, f"document {request.document_id} has a request with another owner or path")
        return self._provider.read_created(_RequestAnswer, answer).request_id
