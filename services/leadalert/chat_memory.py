"""A chat in this process: the public fake, which answers at once and can be told to misbehave."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Final, Literal

from services.leadalert.alert import Alert
from services.sdk import NotDone, Unknown

POSTS_MAX: Final = 200_000
"""Posts that are remembered; the oldest are forgotten first."""

Misbehaviour = Literal["unavailable", "lost", "silent"]
"""As the next call ends: nothing done and said so; done, but the answer is lost; not done, and no answer."""


@dataclass(slots=True)
class MemoryChat:
    misbehave: deque[Misbehaviour] = field(default_factory=deque)
    posts: deque[Alert] = field(default_factory=lambda: deque(maxlen=POSTS_MAX))

    async def post(self, alert: Alert) -> None:
        fault = self.misbehave.popleft() if self.misbehave else None
        if fault == "unavailable":
            raise NotDone("provider-unavailable", "not now", retryable=True)
        if fault != "silent":
            self.posts.append(alert)
        if fault is not None:
            raise Unknown("provider-silent", "no answer")
