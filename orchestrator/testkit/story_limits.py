"""Sentences of a story about limits. The limiters are the engine's own, folded beside the process: what they answer is
heard at once, so that a story about something else need not mention them.

    story.others_hold("charge", 2).starts(order).is_limited("charge")
    story.others_release("charge").sends("charge")

`#saga` names the limits of the whole process.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Self

from contracts.envelope import Envelope, encode_headers
from contracts.ids import ORCHESTRATOR_SOURCE
from contracts.limits import PermitReleased, PermitRequested
from contracts.record import OutgoingRecord
from contracts.topics import INBOX
from orchestrator.engine.limiter import limiter_id
from orchestrator.engine.limiters_memory import MemoryLimiters, is_for_limiter
from orchestrator.engine.permits import SAGA_ADDRESS
from orchestrator.language.blocks import CommandStep
from orchestrator.language.limits import Limit, Rate, limiter_of
from orchestrator.language.saga import Saga
from orchestrator.testkit.fold import Fed

if TYPE_CHECKING:
    from orchestrator.engine.process import Process

OTHERS_LEASE_MS = 365 * 24 * 60 * 60 * 1000
"""Other processes keep what they hold until the story says otherwise."""


class LimitSentences:
    """Mixed into `Story`, which gives what is declared here."""

    saga: Saga
    limiters: MemoryLimiters
    _others: dict[str, int]

    @property
    def process(self) -> Process:
        raise NotImplementedError

    def _hear(self, records: Iterable[OutgoingRecord]) -> Self:
        raise NotImplementedError

    def _moment_ms(self) -> int:
        raise NotImplementedError

    def others_hold(self, step: str, count: int = 1) -> Self:
        """Other processes take `count` more permits of every limit of the step, or are in line for them."""
        requests = []
        for limit, limiter in self._limits(step):
            for number in range(self._others.get(limiter, 0), self._others.get(limiter, 0) + count):
                requests.append(_request(limiter, number, limit))
            self._others[limiter] = self._others.get(limiter, 0) + count
        return self._hear(self.limiters.tell(requests, self._moment_ms()))

    def others_release(self, step: str, count: int = 1) -> Self:
        """Those who asked last among the others give their permits back, or leave the line."""
        releases = []
        for limit, limiter in self._limits(step):
            if not isinstance(limit, Rate):
                held = self._others.get(limiter, 0)
                assert held >= count, f"others hold only {held} permits of {limiter}"
                releases += [_release(limiter, number) for number in range(held - count, held)]
                self._others[limiter] = held - count
        return self._hear(self.limiters.tell(releases, self._moment_ms()))

    def is_limited(self, *steps: str) -> Self:
        """Exactly these wait for a permit."""
        waiting = {address for address, permit in self.process.permits.items() if permit.state != "held"}
        assert waiting == set(steps), f"waiting for permits are {sorted(waiting)}, not {sorted(steps)}"
        return self

    def _limits(self, step: str) -> list[tuple[Limit, str]]:
        if step == SAGA_ADDRESS:
            limits, default = self.saga.limits, self.saga.name
        else:
            found = [one for one in self.saga.steps() if one.name == step and isinstance(one, CommandStep)]
            assert found, f"{step} is no step with a limit"
            limits, default = found[0].limits, f"{self.saga.name}.{step}"
        return [(limit, limiter_id(*limiter_of(limit, default))) for limit in limits]

    def _answers(self, fed: Fed, now_ms: int) -> tuple[OutgoingRecord, ...]:
        """What limiters answer to what the process has sent, and to those whose turn it is by now."""
        asked = [sent.record for sent in fed.sent if is_for_limiter(sent.record)]
        return self.limiters.tell(asked, now_ms) if asked or self.limiters.states else ()


def _request(limiter: str, number: int, limit: Limit) -> OutgoingRecord:
    if isinstance(limit, Rate):
        period_ms = round(limit.period.total_seconds() * 1000)
        asked = PermitRequested(
            process_id=limiter, request=_name(number), count=limit.count, period_ms=period_ms, burst=limit.burst
        )
    else:
        asked = PermitRequested(
            process_id=limiter, request=_name(number), count=limit.count, lease_ms=OTHERS_LEASE_MS
        )  # fmt: skip
    return _record(asked)


def _release(limiter: str, number: int) -> OutgoingRecord:
    return _record(PermitReleased(process_id=limiter, request=_name(number)))


def _name(number: int) -> str:
    return f"another:{number}/step/1/permit/1"


def _record(message: PermitRequested | PermitReleased) -> OutgoingRecord:
    envelope = Envelope(id=message.request, source=ORCHESTRATOR_SOURCE, type=message.type)
    return OutgoingRecord(INBOX, message.process_id.encode(), message.to_json(), encode_headers(envelope))
