"""What sales reads about a lead, and the chat that it is posted to.

Promise of every adapter: a call posts at most once. The chat has no idempotency keys, so what may have been posted is
never posted again (decision 0121). A call that is cancelled may have posted.
"""

from __future__ import annotations

from typing import Any, Final, Protocol

import msgspec

from contracts.leads import LeadSubmitted

HEADER_LENGTH_MAX: Final = 150
"""Characters of a header block, of a section and of a field: Slack's reference of blocks."""
SECTION_LENGTH_MAX: Final = 3_000
FIELD_LENGTH_MAX: Final = 2_000
CUT: Final = "…"


class Alert(msgspec.Struct, frozen=True, gc=False):
    """`text` is for notifications, `blocks` (Slack's) for the channel."""

    text: str
    blocks: tuple[dict[str, Any], ...]


class Chat(Protocol):
    async def post(self, alert: Alert) -> None:
        """Raises `NotDone` only if nothing was posted, `Unknown` otherwise."""


def alert_of(lead: LeadSubmitted) -> Alert:
    """What strangers wrote is plain text: no mark-up of theirs mentions a channel or hides a link."""
    who = lead.name if lead.company is None else f"{lead.name} ({lead.company})"
    fields = [("Name", lead.name), ("Email", lead.email), ("Company", lead.company), ("Lead", lead.lead_id)]
    return Alert(
        text=escaped(f"New lead: {who}"),
        blocks=(
            {
                "type": "header",
                "block_id": lead.lead_id,
                "text": _plain(f"New lead: {who}", HEADER_LENGTH_MAX),
            },
            {
                "type": "section",
                "fields": [_plain(f"{label}: {value}", FIELD_LENGTH_MAX) for label, value in fields if value],
            },
            {"type": "section", "text": _plain(lead.message, SECTION_LENGTH_MAX)},
        ),
    )


def escaped(text: str) -> str:
    """The three characters that Slack reads as mark-up in `text`."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _plain(text: str, length_max: int) -> dict[str, Any]:
    shown = text if len(text) <= length_max else text[: length_max - len(CUT)] + CUT
    return {"type": "plain_text", "text": shown, "emoji": False}
