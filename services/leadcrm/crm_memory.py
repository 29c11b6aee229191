"""A CRM in this process: the public fake, which answers at once and can be told to misbehave."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Final, Literal

from services.leadcrm.crm import KEY_REUSED, Lead
from services.sdk import NotDone, Unknown

RECORDS_MAX: Final = 200_000
"""Records that are remembered; the oldest are forgotten first, and then their keys make new ones."""

Misbehaviour = Literal["unavailable", "lost", "silent"]
"""As the next call ends: nothing done and said so; done, but the answer is lost; not done, and no answer."""


@dataclass(slots=True)
class MemoryCrm:
    """`records`: by key."""

    misbehave: deque[Misbehaviour] = field(default_factory=deque)
    records: dict[str, Lead] = field(default_factory=dict)

    async def create_record(self, lead: Lead, *, key: str) -> str:
        fault = self.misbehave.popleft() if self.misbehave else None
        if fault == "unavailable":
            raise NotDone("provider-unavailable", "not now", retryable=True)
        if fault != "silent" and self.records.setdefault(key, lead) != lead:
            raise NotDone(KEY_REUSED, f"lead {lead.lead_id} has a record with another content")
        if len(self.records) > RECORDS_MAX:
            del self.records[next(iter(self.records))]
        if fault is not None:
            raise Unknown("provider-silent", "no answer")
        return f"rec-{key}"
