"""The laboratory's waits: events that nobody was asked for, signals, approvals, and what calls a process off.

Everything that can be captured has a `mark`, which tells what was said from everything else that was ever said: so a
judge can see that it was taken once, and by whom.
"""

from datetime import timedelta
from typing import ClassVar

from pydantic import BaseModel, ConfigDict

from contracts.message import Event, Identifier, Text
from orchestrator.language.waiting import Approval, Signal, WaitFor, approval, observe, wait_for

CLERK, CHIEF, VISITOR = "clerk", "chief", "visitor"
"""Who may decide; who may decide after escalation; who may not."""


class Arrived(Event, type="lab.arrived.v1"):
    """Something that a process waits for."""

    job_id: Identifier
    mark: Text


class Noticed(Event, type="lab.noticed.v1"):
    """What another service does by itself, and a process observes."""

    job_id: Identifier
    mark: Text


class Halted(Event, type="lab.halted.v1"):
    """Calls a process off."""

    job_id: Identifier
    mark: Text = "halt"


class Nudge(Signal, name="nudge"):
    mark: Text


class Word(Signal, name="word"):
    mark: Text


class Form(BaseModel):
    """What a person fills in at an approval."""

    model_config = ConfigDict(frozen=True)

    mark: Text
    sum_cents: int = 0

    WRONG: ClassVar[dict[str, str]] = {"sum_cents": "plenty"}
    """Not valid as a form."""


Captured = type[Arrived] | type[Noticed] | type[Nudge] | type[Word] | type[Form]
EVENTS: tuple[type[Arrived] | type[Noticed], ...] = (Arrived, Noticed)
SIGNALS: tuple[type[Nudge] | type[Word], ...] = (Nudge, Word)


def job_of(event: Arrived | Noticed | Halted) -> str:
    """The business key of an event."""
    return event.job_id


def event_wait(wants: type[Arrived] | type[Noticed], *, name: str, limit: timedelta) -> WaitFor:
    """`Arrived` is waited for, `Noticed` observed."""
    written = observe if wants is Noticed else wait_for
    return written(wants, key=job_of, limit=limit, name=name)


def signal_wait(wants: type[Nudge] | type[Word], *, name: str, limit: timedelta) -> WaitFor:
    return wait_for(wants, limit=limit, name=name)


def decision(name: str, *, limit: timedelta, form: bool, escalates_after: timedelta | None) -> Approval:
    """A clerk decides, and after escalation the chief may as well."""
    escalation = None if escalates_after is None else (escalates_after, CHIEF)
    return approval(name, role=CLERK, limit=limit, form=Form if form else None, escalation=escalation)
