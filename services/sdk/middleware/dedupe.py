"""Dedupe: one id is executed once, and answered the same way ever after.

Order: started mark -> effect -> outcomes stored under the mark's fence. Publishing and committing come after, in the
runner. What must not be started is refused in the same step that would have marked it as started, so that a refusal
never speaks of an id that has a mark.
"""

from __future__ import annotations

from collections.abc import Awaitable
from itertools import count
from typing import Protocol

from msgspec.structs import replace

from contracts.topics import dead_letters_topic
from services.sdk.failures import FenceLostError
from services.sdk.metrics import ServiceMetrics
from services.sdk.middleware.dead_letter import DeadLetter
from services.sdk.middleware.deadline import past_deadline, too_old
from services.sdk.middleware.decode import revoked_identities
from services.sdk.outcomes import dead_letter, pack, unpack
from services.sdk.ports import Answer, Claim, Found, Settlement
from services.sdk.reasons import Code, Reason, Result
from services.sdk.surroundings import Surroundings
from services.sdk.work import Done, Failure, Problem, Step, Work


class Store(Protocol):
    """The inbox as one message sees it; many messages share one exchange with the inbox behind it."""

    def claim(self, claim: Claim) -> Awaitable[Answer]: ...

    def settle(self, settlement: Settlement) -> Awaitable[bool]: ...


class Dedupe:
    def __init__(
        self,
        service: str,
        store: Store,
        then: DeadLetter,
        metrics: ServiceMetrics,
        around: Surroundings,
        retention_ms: int,
        session: str,
    ) -> None:
        self._service = service
        self._store = store
        self._then: Step = then
        self._letters = then
        self._metrics = metrics
        self._around = around
        self._retention_ms = retention_ms
        self._numbers = count(1)
        self._session = session

    async def __call__(self, work: Work) -> Done:
        """Raises FenceLostError if another execution took the message over; the runner starts it anew."""
        refusal = self._refusal(work)
        if refusal is not None and refusal.dead:
            # An event that must not be executed: nothing is stored, so a replay finds no mark and executes it.
            return replace(refusal, dead=False)
        claim = self._claim(work, refusal)
        answer = await self._store.claim(claim)
        match answer.found:
            case Found.NEW | Found.UNFINISHED:
                held = replace(work, unfinished=True) if answer.found is Found.UNFINISHED else work
                # Asked again: the store may have been waited for since.
                never = self._never(work, self._around.now_ms())
                if never is not None:
                    # An earlier execution started it, and this one must not: what it did, nobody knows.
                    return await self._settled(held, answer.fence, self._letters.rejected(held, never, certain=False))
                return await self._settled(held, answer.fence, await self._then(held))
            case Found.REFUSED:
                assert refusal is not None, "the inbox refuses only with the claim's own refusal"
                return refusal
            case Found.REVOKED:
                return await self._settled(work, answer.fence, self._undone(work))
            case Found.SETTLED:
                return self._repeated(work, answer)
            case Found.CONFLICT:
                return self._conflict(work)

    def _claim(self, work: Work, refusal: Done | None) -> Claim:
        return Claim(
            place=work.place,
            identity=work.identity,
            fingerprint=work.fingerprint,
            fence=f"{self._session}{next(self._numbers):016x}",
            refusal=None if refusal is None else pack(refusal.outgoing),
            revokes=revoked_identities(work.envelope) if work.envelope.undoes and work.is_command else (),
            replayed=work.replayed,
        )

    def _refusal(self, work: Work) -> Done | None:
        """Why this must not be started, if its id turns out to have no mark."""
        now_ms = self._around.now_ms()
        never = self._never(work, now_ms)
        if never is not None:
            # Too old: the mark may have expired, so the effect is unknown, never none.
            return self._letters.rejected(work, never, certain=never.reason is not Reason.TOO_OLD)
        late = past_deadline(work, now_ms)
        return None if late is None else self._letters.refused(work, late)

    def _never(self, work: Work, now_ms: int) -> Problem | None:
        """Why this must not be executed, mark or no mark."""
        return work.problem or too_old(work, now_ms, self._retention_ms)

    def _undone(self, work: Work) -> Done:
        failure = Failure(Code.UNDONE, "an undo of this command came first", certain=True, reason=None)
        return self._letters.refused(work, failure) if work.is_command else Done(Result.REACTION)

    def _repeated(self, work: Work, answer: Answer) -> Done:
        """The stored bytes again. A replay does not bring its dead letter back."""
        self._metrics.duplicates.labels(self._metrics.service, self._metrics.type_label(work)).inc()
        records = unpack(answer.outcomes)
        if work.replayed:
            records = tuple(record for record in records if record.topic != dead_letters_topic(self._service))
        return Done(Result.REPEAT, records)

    def _conflict(self, work: Work) -> Done:
        """Unanswered: an answer to this id would settle the other message that has it."""
        problem = Problem(Reason.ID_CONFLICT, f"{work.identity} came before with another type or payload")
        letter = dead_letter(self._service, work, problem, self._around.now_ms())
        return Done(Result.DEAD_LETTER, (letter,), reason=problem.reason)

    async def _settled(self, work: Work, fence: str, done: Done) -> Done:
        stored = await self._store.settle(
            Settlement(
                place=work.place,
                offset=work.record.offset,
                identity=work.identity,
                fingerprint=work.fingerprint,
                fence=fence,
                outcomes=pack(done.outgoing),
                dead=done.dead,
            )
        )
        if not stored:
            raise FenceLostError(f"{work.identity}: taken over by another execution")
        return done
