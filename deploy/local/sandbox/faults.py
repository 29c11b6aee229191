"""Misbehaviour on request, one fault a provider. Decisions are values; the app carries them out."""

from __future__ import annotations

import random
from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict, Field

LATENCY_LIMIT_MS = 120_000


class Fault(BaseModel):
    """How one provider misbehaves; the body of `POST /faults`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    provider: str
    error_rate: float = Field(default=0.0, ge=0.0, le=1.0)
    latency_ms: int = Field(default=0, ge=0, le=LATENCY_LIMIT_MS)
    silent: bool = False
    lose_answer: bool = False


@dataclass(frozen=True, slots=True)
class Verdict:
    """What happens to one request: it waits, then it is ignored for ever, refused with 503, or done (and its answer
    lost).
    """

    wait_ms: int = 0
    silent: bool = False
    refused: bool = False
    lose_answer: bool = False


class Faults:
    """The faults in force. They are not kept over a restart: who restarts the world wants it to behave."""

    def __init__(self, seed: int = 7) -> None:
        """Begin without faults; `seed` makes the requests that an error rate hits the same in every run."""
        self._faults: dict[str, Fault] = {}
        self._random = random.Random(seed)

    def put(self, fault: Fault) -> None:
        """Replace the fault of its provider."""
        self._faults[fault.provider] = fault

    def clear(self, provider: str | None) -> None:
        """End the fault of one provider, or of all."""
        if provider is None:
            self._faults.clear()
        else:
            self._faults.pop(provider, None)

    def listed(self) -> list[Fault]:
        """Return the faults in force, by provider."""
        return [self._faults[provider] for provider in sorted(self._faults)]

    def judge(self, provider: str) -> Verdict:
        """Decide about one request to `provider`."""
        fault = self._faults.get(provider)
        if fault is None:
            return Verdict()
        refused = not fault.silent and self._random.random() < fault.error_rate
        return Verdict(fault.latency_ms, fault.silent, refused, fault.lose_answer)
