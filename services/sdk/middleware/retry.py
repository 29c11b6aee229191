"""Retry: runs the handler, again after a failure, and says how sure it is that nothing happened.

An attempt that ended in anything but NotDone leaves its effect uncertain, and no later attempt's NotDone takes that
back: the answer is then effect=unknown. A handler that may not be repeated is not, once an attempt is uncertain.
"""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import Mapping

import structlog

from services.sdk.delivery import Delivery
from services.sdk.failures import NotDone, Unknown
from services.sdk.handler import Handler
from services.sdk.injection import Arguments
from services.sdk.metrics import ServiceMetrics
from services.sdk.middleware.batches import Batcher
from services.sdk.middleware.deadline import left_s
from services.sdk.middleware.limited import RateGate
from services.sdk.reasons import Code, Reason
from services.sdk.surroundings import Surroundings
from services.sdk.time_limit import LimitPassed, TimeLimits
from services.sdk.work import Failure, Returned, Work

log = structlog.get_logger("services.sdk")


class RunHandler:
    """The innermost step. Never raises but for cancellation."""

    def __init__(
        self,
        arguments: dict[str, Arguments],
        metrics: ServiceMetrics,
        around: Surroundings,
        gates: Mapping[str, RateGate],
        batchers: Mapping[str, Batcher],
    ) -> None:
        self._batchers = batchers
        self._arguments = arguments
        self._gates = gates
        self._metrics = metrics
        self._around = around
        self._limits = TimeLimits()

    async def __call__(self, work: Work) -> Returned | Failure:
        handler = work.handler
        assert handler is not None, "work without a handler is refused before"
        uncertain, attempt = work.unfinished, 0
        while True:
            attempt += 1
            outcome = await self._attempt(handler, work, attempt, uncertain=uncertain)
            if not isinstance(outcome, Failure):
                return outcome
            uncertain = uncertain or not outcome.certain
            pause = self._pause_s(handler, work, outcome, attempt, uncertain=uncertain)
            if pause is None:
                return Failure(outcome.code, outcome.message, not uncertain, outcome.retryable, outcome.reason)
            self._metrics.retries.labels(self._metrics.service, work.envelope.type).inc()
            await self._around.sleep(pause)
            gate = self._gates.get(work.envelope.type)
            if gate is not None:
                await gate.passed()

    def _pause_s(
        self, handler: Handler, work: Work, failure: Failure, attempt: int, *, uncertain: bool
    ) -> float | None:
        if failure.certain and not failure.retryable:
            return None
        if uncertain and handler.unfinished == "unknown":
            return None
        return handler.retry.pause_s(attempt, self._around.random(), left_s(work, self._around.now_ms()))

    async def _attempt(self, handler: Handler, work: Work, attempt: int, *, uncertain: bool) -> Returned | Failure:
        delivery = delivery_of(work, attempt, unfinished=uncertain)
        batcher = self._batchers.get(work.envelope.type)
        try:
            if batcher is not None:
                assert work.message is not None, "work without a message is refused before"
                returned = await batcher.handled(work.message, delivery)
            else:
                call = handler.function(work.message, *self._arguments[work.envelope.type](delivery))
                returned = await self._limits.within(handler.timeout_s, call)
        except NotDone as error:
            return Failure(error.code, error.message, certain=True, retryable=error.retryable)
        except Unknown as error:
            return Failure(error.code, error.message, certain=False)
        except LimitPassed:
            return Failure(Code.TIMED_OUT, f"no end after {handler.timeout_s:g} s", certain=False)
        except TimeoutError as error:
            return Failure(Code.HANDLER_FAILED, _describe(error), certain=False)
        except BaseException as error:
            # A handler's bug must not stop the consumer (DESIGN section 5), be it `sys.exit` or a task it cancelled.
            if _is_for_us(error):
                raise
            log.warning(
                "handler raised",
                handler=handler.name,
                message_id=work.envelope.id,
                attempt=attempt,
                error=_describe(error),
                trace="".join(traceback.format_exception(error, limit=-8)),
            )
            return Failure(Code.HANDLER_FAILED, _describe(error), certain=False, reason=Reason.HANDLER_FAILED)
        return _as_tuple(returned)


def delivery_of(work: Work, attempt: int, *, unfinished: bool) -> Delivery:
    envelope, record = work.envelope, work.record
    return Delivery(
        envelope.id,
        envelope.source,
        envelope.type,
        work.cause,
        envelope.process_id,
        envelope.undoes,
        envelope.try_number,
        envelope.deadline,
        record.topic,
        record.partition,
        record.offset,
        attempt,
        unfinished,
        record.timestamp_ms,
    )


def _is_for_us(error: BaseException) -> bool:
    """Whether the whole task is to end, rather than the handler's own work."""
    if isinstance(error, asyncio.CancelledError):
        task = asyncio.current_task()
        return task is not None and task.cancelling() > 0
    return isinstance(error, KeyboardInterrupt)


def _as_tuple(returned: object) -> Returned:
    """What is not a message at all is found when the records are made."""
    if returned is None:
        return ()
    if isinstance(returned, tuple | list):
        return tuple(returned)
    return (returned,)  # type: ignore[return-value]  # checked by records_of, which names the handler's mistake


def _describe(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
