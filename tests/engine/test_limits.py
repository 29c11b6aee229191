"""Limits as a process sees them: it asks before every try, waits, gives back, and pays nothing without a limit."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from contracts.limits import PermitReleased, PermitRequested
from contracts.topics import INBOX
from orchestrator.engine.permits import ASK_AGAIN_MS, LATE_MAX, LEASE_MARGIN_MS, SAGA_LEASE_MS, SLOT_VALID_MS
from orchestrator.language import Concurrency, Rate, Retry, Saga, parallel, pivot, sequence
from orchestrator.language.blocks import Block
from orchestrator.testkit import Story
from orchestrator.testkit.lab import Begun, lab_saga, step, told_ending

SECOND, MINUTE, HOUR = timedelta(seconds=1), timedelta(minutes=1), timedelta(hours=1)
BEGUN = Begun(job_id="j1")


def story(body: Block, **more: object) -> Story:
    return Story(lab_saga(body, **more))  # type: ignore[arg-type]


def permits(told: Story) -> list[str]:
    """What was said to limiters, in order."""
    said = {PermitRequested: "asks", PermitReleased: "gives back"}
    return [f"{one.step} {said[one.model]}" for fed in told.fed for one in fed.sent if one.kind == "permit"]  # type: ignore[index]


def test_a_free_permit_is_granted_at_once_and_given_back_with_the_answer() -> None:
    told = story(sequence(step("a", limit=Concurrency(1)), step("b"))).starts(BEGUN).sends("a")
    assert permits(told) == ["a asks"]
    told.succeeds("a").sends("b")
    assert permits(told) == ["a asks", "a gives back"]
    assert told.process.permits == {}
    told.succeeds("b").ends("completed")


def test_a_step_without_a_limit_asks_for_nothing() -> None:
    told = story(step("a")).starts(BEGUN).sends("a").succeeds("a").ends("completed")
    assert permits(told) == []
    assert all(record.topic != INBOX for fed in told.fed for record in fed.decision.effects)


def test_who_finds_no_place_waits_and_goes_on_when_one_is_free() -> None:
    told = story(step("a", limit=Concurrency(2))).others_hold("a", 2).starts(BEGUN).is_limited("a")
    assert (told.process.phase, told.process.steps["a"].status) == ("running", "limited")
    told.passes(MINUTE).is_limited("a")
    told.others_release("a").sends("a").is_limited()
    told.succeeds("a").ends("completed")


def test_the_place_of_a_process_that_never_gives_back_is_free_when_its_lease_has_ended() -> None:
    first = story(step("a", limit=Concurrency(1), patience=MINUTE)).starts(BEGUN).sends("a")
    (limiter,) = first.limiters.states.values()
    assert limiter.limiter is not None
    (until_ms,) = limiter.limiter.leases.values()
    assert until_ms == first.now_ms + 60_000 + LEASE_MARGIN_MS
    first.others_hold("a")
    first.without_clock(MINUTE + timedelta(milliseconds=LEASE_MARGIN_MS))  # no answer, no timer: the process is dead
    first.limiters.pass_time(first.now_ms)
    (limiter,) = first.limiters.states.values()
    assert limiter.limiter is not None and list(limiter.limiter.leases) == ["another:0/step/1/permit/1"]


def test_patience_begins_with_the_send() -> None:
    told = story(step("a", limit=Concurrency(1), patience=MINUTE, timeout=MINUTE)).others_hold("a").starts(BEGUN)
    told.passes(10 * MINUTE).is_limited("a")
    told.others_release("a").sends("a")
    deadline_ms = told.command("a").envelope.deadline_ms
    assert deadline_ms == told.now_ms + 60_000


def test_every_try_asks_anew_and_holds_nothing_in_between() -> None:
    told = story(step("a", limit=Concurrency(1), retry=Retry(attempts=2))).starts(BEGUN).sends("a")
    told.fails("a").goes_on()
    assert told.process.permits == {}
    told.others_hold("a").passes(MINUTE).is_limited("a")
    told.others_release("a").sends("a")
    assert told.command("a").number == 2
    told.succeeds("a").ends("completed")


def test_a_resend_after_silence_is_the_same_try_and_needs_no_permit() -> None:
    told = story(step("a", limit=Rate(1, per="hour"), timeout=MINUTE)).starts(BEGUN).sends("a")
    told.passes(MINUTE).resends("a")
    assert permits(told) == ["a asks"]


def test_a_perhaps_done_step_keeps_its_place_until_its_patience_has_ended() -> None:
    told = story(sequence(step("a", limit=Concurrency(1), patience=MINUTE, timeout=MINUTE), step("b")))
    told.starts(BEGUN).sends("a")
    assert told.process.permits["a"].state == "held"
    told.silent("a").undoes("a")
    assert permits(told) == ["a asks", "a gives back"]
    told.undone("a").ends("compensated")


def test_undos_take_no_permits() -> None:
    told = story(sequence(step("a", limit=Concurrency(1)), step("b"))).starts(BEGUN).sends("a")
    told.succeeds("a").sends("b").others_hold("a")
    told.refuses("b").undoes("a").undone("a").ends("compensated")


def test_who_is_called_off_while_waiting_withdraws_and_has_nothing_to_undo() -> None:
    told = story(step("a", limit=Concurrency(1)), cancelled=told_ending())
    told.others_hold("a").starts(BEGUN).is_limited("a")
    told.cancels()
    assert told._untold and told.process.steps["a"].tries == ()
    told._untold.clear()  # the event of `told_ending`
    told.ends("cancelled")
    assert permits(told) == ["a asks", "a gives back"]
    (limiter,) = told.limiters.states.values()
    assert limiter.limiter is not None and limiter.limiter.waiting == ()


def test_a_sibling_that_fails_withdraws_what_waits() -> None:
    told = story(parallel(step("a", limit=Concurrency(1)), step("b"))).others_hold("a").starts(BEGUN).sends("b")
    told.is_limited("a")
    told.refuses("b").ends("compensated")
    assert told.process.permits == {}


def test_a_grant_that_crosses_its_withdrawal_is_given_back() -> None:
    told = story(step("a", limit=Concurrency(1))).starts(BEGUN).sends("a")
    grant = told.last.item
    told.refuses("a").ends("compensated")
    told._take(told._log.again(grant))
    assert told.last.decision.result == "applied"
    assert permits(told) == ["a asks", "a gives back", "a gives back"]


def test_a_grant_that_comes_twice_is_ignored() -> None:
    told = story(step("a", limit=Concurrency(1))).starts(BEGUN).sends("a")
    told.repeats().ignored("duplicate")
    told.succeeds("a").ends("completed")


def test_a_rate_says_when_and_the_step_waits_for_that() -> None:
    told = story(step("a", limit=Rate(2, per="second"))).others_hold("a", 3).starts(BEGUN).is_limited("a")
    told.passes(timedelta(milliseconds=999)).is_limited("a")  # two at once, then one every half second
    told.passes(timedelta(milliseconds=1)).sends("a")
    told.succeeds("a").ends("completed")


def test_a_rate_grant_that_comes_twice_is_ignored_while_it_waits_and_after() -> None:
    told = story(step("a", limit=Rate(1))).others_hold("a", 1).starts(BEGUN).is_limited("a")
    told.repeats().ignored("duplicate")
    told.passes(SECOND).sends("a")


def test_a_slot_that_comes_too_late_is_thrown_away_and_another_asked_for() -> None:
    told = story(step("a", limit=Rate(1))).others_hold("a", 1).starts(BEGUN).is_limited("a")
    told.without_clock(timedelta(milliseconds=1_000 + SLOT_VALID_MS + 1))
    told.passes(timedelta(0))
    assert permits(told) == ["a asks", "a asks"]
    told.sends("a")  # nobody else has asked meanwhile


def test_a_process_that_is_always_late_goes_on_all_the_same() -> None:
    told = story(step("a", limit=Rate(1))).others_hold("a", 10).starts(BEGUN)
    for rounds in range(20):  # noqa: B007 - it is asserted
        if not told.process.permits:
            break
        told.without_clock(timedelta(hours=10))
        told.others_hold("a", 10)  # so that no slot is free at once
        told.passes(timedelta(0))
        told._untold.clear()
    assert not told.process.permits and rounds == LATE_MAX + 1


def test_concurrency_comes_before_rate() -> None:
    told = story(step("a", limit=(Rate(1, per="hour"), Concurrency(1)))).others_hold("a").starts(BEGUN)
    asked = [one.message for fed in told.fed for one in fed.sent if one.kind == "permit"]
    assert [isinstance(one, PermitRequested) and one.process_id for one in asked] == ["limiter:concurrency:lab.a"]
    told.others_release("a")
    assert told.process.permits["a"].state == "due" and len(told.process.permits["a"].held) == 1
    told.passes(HOUR).sends("a").succeeds("a").ends("completed")


@pytest.mark.parametrize("period", [timedelta(minutes=4), timedelta(minutes=19), timedelta(hours=5)])
def test_a_place_that_is_held_while_a_rate_is_waited_for_is_renewed(period: timedelta) -> None:
    limits = (Rate(1, per=period), Concurrency(1))
    patience = timedelta(minutes=15)
    told = story(step("a", limit=limits, patience=patience)).others_hold("a").others_release("a").starts(BEGUN)
    told.passes(period).sends("a")
    (limiter,) = (one for one in told.limiters.states.values() if ":concurrency:" in one.id)
    assert limiter.limiter is not None
    (until_ms,) = limiter.limiter.leases.values()
    assert until_ms >= told.now_ms + 15 * 60_000, "the lease lasts for the patience"


def test_a_request_without_an_answer_is_repeated() -> None:
    told = story(step("a", limit=Concurrency(1))).others_hold("a").starts(BEGUN)
    told.limiters.states.clear()  # as if an older engine had ignored it
    told.passes(timedelta(milliseconds=ASK_AGAIN_MS)).sends("a")
    assert permits(told) == ["a asks", "a asks"]


def test_after_the_pivot_limits_hold_too() -> None:
    told = (
        story(sequence(step("a"), pivot(), step("b", limit=Concurrency(1)))).others_hold("b").starts(BEGUN).sends("a")
    )
    told.succeeds("a").is_limited("b")
    told.others_release("b").sends("b").succeeds("b").ends("completed")


def test_an_operators_correction_waits_for_its_permit_and_is_sent_as_given() -> None:
    told = story(sequence(pivot(), step("a", limit=Concurrency(1), retry=Retry(attempts=1)))).starts(BEGUN).sends("a")
    told.fails("a").is_stuck("a").others_hold("a")
    told.operator("retry", "a", correction={"job_id": "j1", "step": "a", "note": "mended"}).is_limited("a")
    told.others_release("a").sends("a")
    assert told.command("a").message.note == "mended"  # type: ignore[attr-defined]
    told.succeeds("a").ends("completed")


def test_a_builder_that_raises_gives_its_permit_back() -> None:
    told = story(step("a", limit=Concurrency(1), raises=ValueError("a bug"))).starts(BEGUN).is_stuck("a")
    assert permits(told) == ["a asks", "a gives back"]


def test_a_late_success_of_an_earlier_try_settles_a_step_that_waits_for_its_next_permit() -> None:
    told = story(step("a", limit=Concurrency(1), retry=Retry(attempts=2))).starts(BEGUN).sends("a")
    told.fails("a").others_hold("a").passes(MINUTE).is_limited("a")
    told.succeeds("a").ends("completed")
    assert permits(told) == ["a asks", "a gives back", "a asks", "a gives back"]


@pytest.mark.parametrize("limit", [None, Concurrency(1, name="other"), Rate(5)])
@pytest.mark.parametrize("was", [Concurrency(1), Rate(1, per="hour"), (Concurrency(1), Rate(1, per="hour"))])
def test_who_waits_by_a_definition_that_was_changed_asks_for_the_new_limits(was: Any, limit: Any) -> None:
    told = story(step("a", limit=was)).others_hold("a").starts(BEGUN).is_limited("a")
    told.deploys(lab_saga(step("a", limit=limit)))
    told.waits_until("a/permit").sends("a").succeeds("a").ends("completed")
    held = [one.limiter for one in told.limiters.states.values() if one.limiter is not None]
    mine = [name for state in held for piece in (state.leases, *state.waiting) for name in piece if "lab:j1/" in name]
    assert mine == []


# The whole process.


def limited(limit: object, body: Block | None = None, **more: object) -> Saga:
    return Saga(
        name="lab", version=1, starts_on=Begun, key=lambda begun: begun.job_id, body=body or step("a"),
        limit=limit, **more,  # type: ignore[arg-type]
    )  # fmt: skip


def test_a_process_that_waits_has_started_and_its_body_begins_with_the_grant() -> None:
    told = Story(limited(Concurrency(1))).others_hold("#saga").starts(BEGUN).announces("started").is_limited("#saga")
    assert (told.process.phase, told.process.steps) == ("running", {})
    told.others_release("#saga").sends("a").succeeds("a").ends("completed")
    assert permits(told) == ["#saga asks", "#saga gives back"]


def test_a_process_keeps_its_place_for_as_long_as_it_runs() -> None:
    told = Story(limited(Concurrency(1), step("a", patience=50 * HOUR, timeout=50 * HOUR))).starts(BEGUN).sends("a")
    told.passes(timedelta(hours=40))
    (limiter,) = told.limiters.states.values()
    assert limiter.limiter is not None
    (until_ms,) = limiter.limiter.leases.values()
    assert told.now_ms < until_ms <= told.now_ms + SAGA_LEASE_MS
    told.succeeds("a").ends("completed")
    (limiter,) = told.limiters.states.values()
    assert limiter.limiter is not None and not limiter.limiter.leases


def test_processes_of_a_saga_begin_at_a_rate() -> None:
    told = Story(limited(Rate(1, per="minute"))).others_hold("#saga", 2).starts(BEGUN).is_limited("#saga")
    told.passes(2 * MINUTE).sends("a").succeeds("a").ends("completed")


@pytest.mark.parametrize("call_off", ["cancel", "deadline"])
def test_a_process_that_is_called_off_before_it_began_does_nothing(call_off: str) -> None:
    told = Story(limited(Concurrency(1), deadline=HOUR)).others_hold("#saga").starts(BEGUN)
    if call_off == "cancel":
        told.cancels()
    else:
        told.passes(HOUR)
    told.ends("cancelled")
    told.others_release("#saga")
    assert permits(told).count("#saga gives back") == 1


def test_a_grant_that_comes_while_the_cancelled_block_runs_begins_nothing() -> None:
    told = Story(limited(Concurrency(1), cancelled=step("apologise"))).others_hold("#saga").starts(BEGUN)
    told.cancels().sends("apologise")
    told.others_release("#saga").goes_on()
    told.succeeds("apologise").ends("cancelled")
    assert told.process.steps["a"].tries == () and permits(told)[-1] == "#saga gives back"


def test_a_process_that_undoes_keeps_its_place_until_it_has_ended() -> None:
    told = Story(limited(Concurrency(1), sequence(step("a"), step("b")))).starts(BEGUN).sends("a")
    told.succeeds("a").sends("b").refuses("b").undoes("a")
    assert permits(told) == ["#saga asks"]
    told.undone("a").ends("compensated")
    assert permits(told) == ["#saga asks", "#saga gives back"]


def test_a_process_that_waits_for_a_person_keeps_its_place_for_a_lease_only() -> None:
    told = Story(limited(Concurrency(1), sequence(pivot(), step("a")))).starts(BEGUN).sends("a")
    told.refuses("a").is_stuck("a").passes(timedelta(days=10))
    assert told.process.timers == {}
    (limiter,) = told.limiters.states.values()
    assert limiter.limiter is not None and not limiter.limiter.leases
    told.operator("skip", "a").ends("completed")


def test_a_limit_of_the_process_and_one_of_a_step() -> None:
    told = Story(limited(Concurrency(2), step("a", limit=Concurrency(1)))).others_hold("a").starts(BEGUN)
    told.is_limited("a").others_release("a").sends("a").succeeds("a").ends("completed")
