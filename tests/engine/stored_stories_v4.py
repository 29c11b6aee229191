"""Processes in the middle of what they have to do with others (children, parents, limiters), moved to another version,
alerting somebody, and forgotten: stored with prefix v4 (see store_states.py)."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from contracts.envelope import Envelope
from contracts.ids import ORCHESTRATOR_SOURCE
from contracts.limits import PermitDeferred
from orchestrator.engine.expiry import EXPIRY_TIMER, KEEP_ENDED_MS
from orchestrator.engine.limiter import DEFER_MS
from orchestrator.engine.permits import SLOT_VALID_MS
from orchestrator.engine.process import Process
from orchestrator.language import (
    Concurrency,
    Migration,
    Rate,
    Saga,
    fallback,
    parallel,
    pivot,
    repeat,
    sequence,
    sleep,
)
from orchestrator.testkit import Story
from orchestrator.testkit.lab import Begun, Done, lab_saga, step, told
from orchestrator.testkit.lab_children import ChildBegun, child, child_saga, child_step
from orchestrator.testkit.lab_flow import each, predicate
from tests.engine.stored_stories import HOUR, ONCE, STORED, WAITS, Stored, begun
from tests.engine.test_approval import review
from tests.engine.test_waits import GOODS

NEWER_PREFIX = "v4"
BEGUN = Begun(job_id="j1")
RESULT = Done(job_id="j1", step="lab-child", mark="m")

# Parents.

CHILD = child_saga()
PARENT = lab_saga(sequence(step("a"), child("ship", CHILD), step("bill", needs="ship")))
BOTH = lab_saga(parallel(child("ship", CHILD), child("send", child_saga(name="lab-plain", returns=False)), step("b")))
BY_COMMAND = lab_saga(sequence(child("ship", CHILD, undo=True), step("b")))
OR_ELSE = lab_saga(sequence(fallback(child("ship", CHILD), step("post")), step("b")))
FOR_EACH = lab_saga(sequence(each(4, child("one", CHILD, in_each=True), name="all", concurrency=2), step("b")))


def broken_parent(raises: Exception | None = None) -> Saga:
    """What starts its child raises until it is mended."""
    return lab_saga(sequence(step("a"), child("ship", CHILD, raises=raises)))


def child_runs() -> Story:
    return begun(PARENT).sends("a").succeeds("a").sends("ship").goes_on()


def child_returned() -> Story:
    return child_runs().child_ends("ship", result=RESULT).sends("bill").goes_on()


def children_called_off() -> Story:
    """One has answered already: it had been quicker."""
    story = begun(BOTH).sends("ship", "send", "b").cancels().calls_off("ship", "send")
    return story.child_ends("send").undoes("send").goes_on()


def child_undoes_itself() -> Story:
    return child_returned().refuses("bill").undoes("ship").goes_on()


def child_cannot_undo_itself() -> Story:
    return child_undoes_itself().child_undone("ship", "completed").is_stuck("ship/undo")


def child_undone_by_command() -> Story:
    story = begun(BY_COMMAND).sends("ship").child_ends("ship", result=RESULT).sends("b")
    return story.refuses("b").undoes("ship").goes_on()


def child_failed() -> Story:
    return child_runs().child_ends("ship", "compensated", at="c1", reason="refused").undoes("a").goes_on()


def child_not_started() -> Story:
    return begun(OR_ELSE).sends("ship").child_ends("ship", "not-started").sends("post").goes_on()


def child_not_made() -> Story:
    return begun(broken_parent(ValueError("boom"))).sends("a").succeeds("a").is_stuck("ship")


def children_in_elements() -> Story:
    story = begun(FOR_EACH).sends("all[0].one", "all[1].one")
    return story.child_ends("all[1].one", result=RESULT).sends("all[2].one").goes_on()


# Children.

OWN = child_saga(sequence(child_step("c1"), child_step("c2")), name="lab")
SURE = child_saga(sequence(child_step("c1"), pivot(), child_step("c2", undo=False)), name="lab")
CHILD_BEGUN = ChildBegun(child_id="j1", job_id="j1")


def born(saga: Saga) -> Story:
    return Story(saga).is_started(CHILD_BEGUN).sends("c1")


def started_by_a_parent() -> Story:
    return born(OWN).succeeds("c1").sends("c2").goes_on()


def brought_home() -> Story:
    story = started_by_a_parent().succeeds("c2")
    story.answers_parent("completed")
    return story.ends("completed")


def let_go() -> Story:
    return brought_home().is_released().ends("completed")


def asked_to_undo() -> Story:
    return brought_home().is_undone().undoes("c2").goes_on()


def undone_for_its_parent() -> Story:
    story = asked_to_undo().undone("c2").undoes("c1").undone("c1")
    story.answers_parent("compensated")
    return story.ends("compensated")


def asked_too_late() -> Story:
    """It is past its pivot."""
    story = born(SURE).succeeds("c1").sends("c2").is_undone()
    story.answers_parent("completed")
    return story.goes_on()


def called_off_by_its_parent() -> Story:
    return started_by_a_parent().is_called_off().goes_on()


def never_begun() -> Story:
    """Called off before it began: a mark, which nobody lets go."""
    story = Story(OWN).is_called_off()
    story.answers_parent("not-started")
    return story.ends("cancelled")


def bringing_home(raises: Exception | None = None) -> Saga:
    return child_saga(name="lab", raises=raises)


def cannot_say_what_it_returns() -> Story:
    return born(bringing_home(LookupError("lost"))).succeeds("c1").is_stuck("returns")


# Limits.

PLACE, SPEED = Concurrency(1, name="place"), Rate(1, per="hour", name="speed")
LIMITED = lab_saga(sequence(step("a", limit=Concurrency(1)), step("b", limit=(PLACE, SPEED))))
WHOLE = replace(lab_saga(sequence(step("a"), step("b")), cancelled=step("sorry", undo=False)), limit=Concurrency(1))


def waits_for_a_permit() -> Story:
    return Story(LIMITED).others_hold("a").starts(BEGUN).is_limited("a").goes_on()


def told_to_ask_later() -> Story:
    story = waits_for_a_permit()
    permit = story.process.permits["a"]
    again_ms = story.now_ms + DEFER_MS
    later = PermitDeferred(
        process_id=story.process.id, limiter=permit.limiter, request=permit.request, again_at_ms=again_ms
    )
    envelope = Envelope(id=f"{permit.request}/deferred/9", source=ORCHESTRATOR_SOURCE, type=later.type)
    return story.receives(envelope, later.to_json()).is_limited("a").goes_on()


def holds_a_permit() -> Story:
    return begun(LIMITED).sends("a").goes_on()


def holds_one_and_waits_for_a_slot() -> Story:
    story = holds_a_permit().others_hold("b").others_release("b")
    return story.succeeds("a").is_limited("b").goes_on()


def missed_its_slot() -> Story:
    """The clock was away when it was due; meanwhile another has asked."""
    story = holds_one_and_waits_for_a_slot()
    due_ms = story.process.permits["b"].due_ms
    away = timedelta(milliseconds=due_ms - story.now_ms + HOUR / timedelta(milliseconds=1) + SLOT_VALID_MS)
    return story.without_clock(away).others_hold("b", 2).passes(timedelta(0)).is_limited("b").goes_on()


def whole_waits() -> Story:
    return Story(WHOLE).others_hold("#saga").starts(BEGUN).is_limited("#saga").goes_on()


def whole_holds() -> Story:
    return begun(WHOLE).sends("a").succeeds("a").sends("b").goes_on()


def whole_called_off_while_waiting() -> Story:
    """It says sorry, and is in line for a permit that it will give back."""
    return whole_waits().cancels().sends("sorry").goes_on()


def limiter_with_a_line() -> Process:
    story = waits_for_a_permit().others_hold("a", 2)
    return story.limiters.states["limiter:concurrency:lab.a"]


def limiter_of_a_rate() -> Process:
    return holds_one_and_waits_for_a_slot().limiters.states["limiter:rate:speed"]


# Versions.

NEXT = replace(
    lab_saga(sequence(step("first"), step("b"), step("c", undo=False))),
    version=2,
    migrates=(Migration(1, {"a": "first"}),),
)


def moved() -> Story:
    """With a step under way that has another name now."""
    return begun(lab_saga(sequence(step("a"), step("b")))).sends("a").migrates(NEXT).goes_on()


def moved_and_undoing() -> Story:
    story = moved().answers("lab:j1/a/1", Done(job_id="j1", step="a"))
    return story.sends("b").refuses("b").undoes("first").goes_on()


# Alerts and escalations.

ALERTS = repeat(sequence(told("page"), sleep(HOUR, name="patience")), until=predicate("never"), bound=3, name="calls")
ALERTED = replace(
    lab_saga(sequence(pivot(), step("p", undo=False, retry=ONCE), step("q", undo=False))), on_stuck=ALERTS
)
SIGNED = lab_saga(sequence(pivot(), review((HOUR, "boss"))))


def alerting() -> Story:
    story = begun(ALERTED).sends("p").fails("p").is_stuck("p").tells("on_stuck[1].calls[0].page")
    return story.passes(HOUR).tells("on_stuck[1].calls[1].page")


def alerting_again() -> Story:
    story = alerting().operator("retry").sends("p").fails("p").is_stuck("p")
    return story.tells("on_stuck[2].calls[0].page")


def alerted_in_vain() -> Story:
    story = alerting().passes(HOUR).tells("on_stuck[1].calls[2].page").passes(HOUR)
    return story.because("calls is not done after 3 rounds").is_stuck("p")


def nobody_has_signed() -> Story:
    """The limit has passed after the escalation: both roles may still decide."""
    return begun(SIGNED).goes_on().passes(timedelta(days=2)).is_stuck("review")


# Forgotten.

SHORT = lab_saga(step("a"))


def expired() -> Story:
    story = begun(SHORT).sends("a").succeeds("a").ends("completed")
    story.without_clock(timedelta(milliseconds=KEEP_ENDED_MS)).timer_fires(EXPIRY_TIMER)
    assert story.process.phase == "expired"
    return story


def early_and_given_up() -> Story:
    """What was kept for it was given up; it may still begin."""
    story = Story(WAITS).happens(GOODS).keeps(GOODS.type).passes(timedelta(hours=24)).gives_up(1)
    assert story.process.expires_at_ms
    return story


RENEWED = ("escalated", "completed", "called-off-at-its-end", "late-at-its-end")
"""Stories of v3 whose states say more by now: who may decide, and when it is forgotten."""
NEWER: dict[str, Stored] = {
    **{name: STORED[name] for name in RENEWED},
    "child-runs": Stored(child_runs, PARENT, "completed"),
    "child-returned": Stored(child_returned, PARENT, "completed"),
    "children-called-off": Stored(children_called_off, BOTH, "cancelled"),
    "child-undoes-itself": Stored(child_undoes_itself, PARENT, "compensated"),
    "child-cannot-undo-itself": Stored(child_cannot_undo_itself, PARENT, "compensated"),
    "child-undone-by-command": Stored(child_undone_by_command, BY_COMMAND, "compensated"),
    "child-failed": Stored(child_failed, PARENT, "compensated"),
    "child-not-started": Stored(child_not_started, OR_ELSE, "completed"),
    "child-not-made": Stored(child_not_made, broken_parent(), "completed"),
    "children-in-elements": Stored(children_in_elements, FOR_EACH, "completed"),
    "started-by-a-parent": Stored(started_by_a_parent, OWN, "completed"),
    "brought-home": Stored(brought_home, OWN, "completed"),
    "let-go": Stored(let_go, OWN, "completed"),
    "asked-to-undo": Stored(asked_to_undo, OWN, "compensated"),
    "undone-for-its-parent": Stored(undone_for_its_parent, OWN, "compensated"),
    "asked-too-late": Stored(asked_too_late, SURE, "completed"),
    "called-off-by-its-parent": Stored(called_off_by_its_parent, OWN, "cancelled"),
    "never-begun": Stored(never_begun, OWN, "cancelled"),
    "cannot-say-what-it-returns": Stored(cannot_say_what_it_returns, bringing_home(), "completed"),
    "waits-for-a-permit": Stored(waits_for_a_permit, LIMITED, "completed"),
    "told-to-ask-later": Stored(told_to_ask_later, LIMITED, "completed"),
    "holds-a-permit": Stored(holds_a_permit, LIMITED, "completed"),
    "holds-one-and-waits-for-a-slot": Stored(holds_one_and_waits_for_a_slot, LIMITED, "completed"),
    "missed-its-slot": Stored(missed_its_slot, LIMITED, "completed"),
    "whole-waits": Stored(whole_waits, WHOLE, "completed"),
    "whole-holds": Stored(whole_holds, WHOLE, "completed"),
    "whole-called-off-while-waiting": Stored(whole_called_off_while_waiting, WHOLE, "cancelled"),
    "limiter-with-a-line": Stored(limiter_with_a_line, LIMITED, "limiter"),
    "limiter-of-a-rate": Stored(limiter_of_a_rate, LIMITED, "limiter"),
    "moved": Stored(moved, NEXT, "completed"),
    "moved-and-undoing": Stored(moved_and_undoing, NEXT, "compensated"),
    "alerting": Stored(alerting, ALERTED, "completed"),
    "alerting-again": Stored(alerting_again, ALERTED, "completed"),
    "alerted-in-vain": Stored(alerted_in_vain, ALERTED, "completed"),
    "nobody-has-signed": Stored(nobody_has_signed, SIGNED, "completed"),
    "expired": Stored(expired, SHORT, "expired"),
    "early-and-given-up": Stored(early_and_given_up, WAITS, "completed"),
}
