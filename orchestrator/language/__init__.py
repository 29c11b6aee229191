"""What a saga author imports.

A saga is a value: blocks that nest, built from plain functions ("builders") whose parameters are injected by type and
whose return annotation names the message. Nothing here runs anything.
"""

from orchestrator.language.blocks import (
    Block,
    CommandStep,
    Emit,
    Parallel,
    Pivot,
    Sequence,
    Subsaga,
    Undo,
    command,
    emit,
    parallel,
    pivot,
    sequence,
    subsaga,
)
from orchestrator.language.flow import choice, fallback, for_each, otherwise, repeat, sleep, sleep_until, when
from orchestrator.language.injection import Ending, From, Stuck
from orchestrator.language.limits import Concurrency, Limit, Rate
from orchestrator.language.location import Location
from orchestrator.language.migration import Migration
from orchestrator.language.policies import DEFAULT_PATIENCE, DEFAULT_TIMEOUT, Retry
from orchestrator.language.saga import Saga, SagaError
from orchestrator.language.waiting import Approval, Escalation, Signal, WaitFor, approval, observe, wait_for

__all__ = [
    "DEFAULT_PATIENCE",
    "DEFAULT_TIMEOUT",
    "Approval",
    "Block",
    "CommandStep",
    "Concurrency",
    "Emit",
    "Ending",
    "Escalation",
    "From",
    "Limit",
    "Location",
    "Migration",
    "Parallel",
    "Pivot",
    "Rate",
    "Retry",
    "Saga",
    "SagaError",
    "Sequence",
    "Signal",
    "Stuck",
    "Subsaga",
    "Undo",
    "WaitFor",
    "approval",
    "choice",
    "command",
    "emit",
    "fallback",
    "for_each",
    "observe",
    "otherwise",
    "parallel",
    "pivot",
    "repeat",
    "sequence",
    "sleep",
    "sleep_until",
    "subsaga",
    "wait_for",
    "when",
]
