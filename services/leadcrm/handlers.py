"""Creates one CRM record for each lead, whatever happens on the way."""

from __future__ import annotations

from typing import Final

from contracts.leads import CrmRecordCreated, LeadSubmitted
from services.leadcrm.crm import Crm, Lead
from services.leadcrm.resources import connect
from services.sdk import Retry, Service

PATIENCE: Final = Retry(attempts=16, first=1.0, factor=2.0, ceiling=60.0)
"""Some ten minutes, since nobody else tries an event again; then a dead letter, which a replay executes."""

service = Service("lead-crm", resources=connect)


@service.handles(LeadSubmitted, retry=PATIENCE, unfinished="repeat")
async def create_record(lead: LeadSubmitted, crm: Crm) -> CrmRecordCreated:
    wanted = Lead(lead.lead_id, lead.name, lead.email, lead.company, lead.message)
    record_id = await crm.create_record(wanted, key=record_key(lead))
    return CrmRecordCreated(lead_id=lead.lead_id, record_id=record_id)


def record_key(lead: LeadSubmitted) -> str:
    """One record a lead, however many events tell of it (decision 0121)."""
    return f"lead-crm/{lead.lead_id}"
