"""Posts one alert for each lead. It never repeats a post that may have been made: then a person decides, who reads the
dead letters (decision 0121)."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

from contracts.leads import LeadAlertSent, LeadSubmitted
from services.leadalert.alert import Chat, alert_of
from services.leadalert.resources import connect
from services.sdk import Retry, Service
from services.sdk.surroundings import Surroundings

PATIENCE: Final = Retry(attempts=16, first=1.0, factor=2.0, ceiling=60.0)
"""Some ten minutes of a chat that certainly did nothing; then a dead letter, which a replay executes."""

service = Service("lead-alert", resources=connect)


@service.handles(LeadSubmitted, retry=PATIENCE)
async def alert(lead: LeadSubmitted, chat: Chat, around: Surroundings) -> LeadAlertSent:
    await chat.post(alert_of(lead))
    return LeadAlertSent(lead_id=lead.lead_id, at=datetime.fromtimestamp(around.now_ms() / 1000, UTC))
