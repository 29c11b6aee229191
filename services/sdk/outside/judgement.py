"""What an attempt at an outside system proves about its effect. Values only, so that it is table-tested."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Final

from services.sdk import NotDone, Retry, Unknown

KEY_LENGTH_MAX: Final = 255
"""Longest `Idempotency-Key` that providers accept (deploy/local/sandbox/README.md; the limit Stripe documents too)."""


class Verdict(Enum):
    FINAL = "final"
    """An answer; a repeat with the same key would get the same."""
    NOT_DONE = "not done"
    """This attempt did nothing; a repeat may succeed."""
    OPEN = "open"
    """This attempt may have had its effect: only a repeat with the same key can tell."""


IN_PROGRESS: Final = "request_in_progress"
"""The provider's word (409) to an undo that covers a request which it has and has not done yet (decision 0014)."""


def judge(status: int, code: str | None = None) -> Verdict:
    """The meaning of an HTTP status, and of the provider's own code, to a request that carries an idempotency key. 503
    and 429 are refusals before any work, and so is an undo's that must wait for what it covers; every other server
    error, and 408, may come from a proxy after the work was done."""
    if status in (429, 503) or (status == 409 and code == IN_PROGRESS):
        return Verdict.NOT_DONE
    return Verdict.OPEN if status == 408 or status >= 500 else Verdict.FINAL


@dataclass(frozen=True, slots=True)
class CallLimits:
    """Times in seconds. One call makes several attempts, all within `total_s`.

    10 s in all: FLOWS, outside systems, `pm_silent`.
    """

    connect_s: float = 1.0
    answer_s: float = 3.0
    """One attempt, from its first byte to the answer's last."""
    total_s: float = 10.0
    concurrent: int = 24
    """Calls under way at once. Further ones wait outside the time limits, so that a burst that queues up in our own
    client is not mistaken for a provider that does not answer. Measured with httpx 0.28: 1.2 ms of processor time a
    call at 8 at once, 3 ms at 32, 9 ms at 256 (its pool looks at every connection for every call)."""
    pauses: Retry = field(default=Retry(attempts=8, first=0.1, factor=2.0, ceiling=2.0, jitter=0.5))


@dataclass(frozen=True, slots=True)
class Answer:
    """A final answer. `certain` is False if an earlier attempt under the same key may have done something."""

    status: int
    body: Any
    certain: bool

    @property
    def code(self) -> str:
        """The provider's own word for a refusal."""
        return code_of(self.body) or f"http-{self.status}"

    def unexpected(self, provider: str) -> NotDone | Unknown:
        """The failure to raise for an answer that the caller has no business meaning for.

        A reused key (409) is unknown: *something* was done under it. Any other 4xx did nothing by itself.
        """
        message = f"{provider} answered {self.status} {self.code}"
        did_nothing = 400 <= self.status < 500 and self.code != "idempotency_key_reused"
        if self.certain and did_nothing:
            return NotDone(self.code, message, retryable=False)
        return Unknown(self.code, message)


def code_of(body: Any) -> str | None:
    """The provider's own word for why, if its body has one."""
    code = body.get("code") if isinstance(body, dict) else None
    return code if isinstance(code, str) and code else None


def exhausted(provider: str, last: str, *, certain: bool) -> NotDone | Unknown:
    """The failure to raise when no attempt got a final answer. `last` says what the last one met."""
    if certain:
        return NotDone("provider-unavailable", f"{provider} did nothing: {last}", retryable=True)
    return Unknown("provider-silent", f"{provider} may or may not have done it: {last}")


def provider_key(idempotency_key: str) -> str:
    """The key as sent: itself, unless a header cannot carry it; then its SHA-256, which is as unique."""
    plain = idempotency_key.isascii() and idempotency_key.isprintable() and idempotency_key.strip() == idempotency_key
    if plain and 1 <= len(idempotency_key) <= KEY_LENGTH_MAX:
        return idempotency_key
    return hashlib.sha256(idempotency_key.encode()).hexdigest()
