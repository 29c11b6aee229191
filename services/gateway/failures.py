"""What keeps a submission from being accepted, besides its own faults."""

from __future__ import annotations

from typing import Literal

Needed = Literal["kafka", "store"]


class Unavailable(Exception):
    """What is needed to accept anything is away: `what`. Whether this submission is published is not known; it may be
    repeated with the same key."""

    def __init__(self, what: Needed, detail: str) -> None:
        super().__init__(detail)
        self.what: Needed = what
        self.detail = detail


class KeyConflict(Exception):
    """The key was used before, with another content; its event has the id `event_id`."""

    def __init__(self, event_id: str) -> None:
        super().__init__(f"the key was used before with another content, for event {event_id}")
        self.event_id = event_id
