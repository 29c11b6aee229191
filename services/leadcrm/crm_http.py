"""The CRM over HTTP (the contract: deploy/local/sandbox/README.md, CRM)."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, Field

from services.leadcrm.crm import KEY_REUSED, Lead
from services.sdk import NotDone
from services.sdk.outside.provider_http import ProviderHttp


class _RecordAnswer(BaseModel):
    record_id: str = Field(min_length=1)


class HttpCrm:
    """The Crm that honours `Idempotency-Key`."""

    def __init__(self, provider: ProviderHttp) -> None:
        self._provider = provider

    async def create_record(self, lead: Lead, *, key: str) -> str:
        body: dict[str, Any] = {
            "lead_id": lead.lead_id,
            "name": lead.name,
            "email": lead.email,
            "message": lead.message,
        }
        if lead.company is not None:
            body["company"] = lead.company
        answer = await self._provider.post("records", body, key=key)
        if answer.code == KEY_REUSED:
            # The key is the lead's: there is a record already, with another content.
            raise NotDone(KEY_REUSED, f"lead {lead.lead_id} has a record with another content")
        return self._provider.read_created(_RecordAnswer, answer).record_id
