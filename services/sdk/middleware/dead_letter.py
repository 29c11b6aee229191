"""Dead letter: turns what a handler returned, or its failure, into what is published.

A failed command of a process is answered; its saga, and after it an operator, takes care of it. What nobody else
takes care of - a failed event, a failed command of no process - is dead-lettered.
"""

from __future__ import annotations

from contracts.message import Message
from services.sdk.outcomes import BrokenHandlerError, dead_letter, failed, is_success, records_of
from services.sdk.reasons import Code, Reason, Result
from services.sdk.surroundings import Surroundings
from services.sdk.work import Done, Execute, Failure, Problem, Work


class DeadLetter:
    def __init__(self, service: str, execute: Execute, around: Surroundings) -> None:
        self._service = service
        self._execute = execute
        self._around = around

    async def __call__(self, work: Work) -> Done:
        handler = work.handler
        if work.unfinished and handler is not None and handler.unfinished == "unknown" and not work.replayed:
            detail = "an earlier execution started and its end is not known"
            return self.refused(work, Failure(Code.UNFINISHED, detail, certain=False, reason=Reason.UNFINISHED))
        outcome = await self._execute(work)
        if isinstance(outcome, Failure):
            return self.refused(work, outcome)
        return self._returned(work, outcome)

    def _returned(self, work: Work, messages: tuple[Message, ...]) -> Done:
        try:
            records = records_of(self._service, work, messages, self._around.now_ms())
        except BrokenHandlerError as error:
            return self.refused(work, Failure(Code.BROKEN_HANDLER, str(error), certain=False))
        if not work.is_command:
            return Done(Result.REACTION, records)
        return Done(Result.SUCCESS if is_success(work, messages) else Result.REFUSAL, records)

    def refused(self, work: Work, failure: Failure) -> Done:
        """What a failure comes to. Nothing about it is random, so that a repeat of a decision repeats its ids."""
        now_ms = self._around.now_ms()
        answers = (failed(self._service, work, failure, now_ms),) if work.is_command else ()
        result = Result.FAILED_NONE if failure.certain else Result.FAILED_UNKNOWN
        reason = failure.reason
        if reason is None or (work.is_command and work.envelope.process_id):
            return Done(result, answers)
        letter = dead_letter(self._service, work, Problem(reason, failure.message), now_ms)
        result = result if answers else Result.DEAD_LETTER
        return Done(result, (*answers, letter), reason=reason, dead=not work.is_command)

    def rejected(self, work: Work, problem: Problem, *, certain: bool) -> Done:
        """A record that must not be executed: dead-lettered, and answered if it is a command of a process."""
        now_ms = self._around.now_ms()
        letter = dead_letter(self._service, work, problem, now_ms)
        if not (work.is_command and work.envelope.process_id and problem.code is not None):
            return Done(Result.DEAD_LETTER, (letter,), reason=problem.reason, dead=not work.is_command)
        answer = failed(self._service, work, Failure(problem.code, problem.detail, certain=certain), now_ms)
        return Done(Result.DEAD_LETTER, (answer, letter), reason=problem.reason)
