"""`wait_for` and `observe`: what somebody else says, taken once, within a limit."""

from datetime import timedelta
from typing import Annotated

import pytest

from contracts.message import Event, Identifier
from orchestrator.engine.arrivals import EARLY_MAX, SEEN_MAX
from orchestrator.engine.history import decode_entry
from orchestrator.engine.process import encode_process
from orchestrator.language import (
    From,
    Saga,
    SagaError,
    Signal,
    command,
    fallback,
    observe,
    parallel,
    pivot,
    repeat,
    sequence,
    wait_for,
)
from orchestrator.language.blocks import Block, CommandStep
from orchestrator.language.waiting import WaitFor
from orchestrator.testkit import Story
from orchestrator.testkit.lab import Begun, Do, Told, lab_saga, step, told, told_ending

BEGUN = Begun(job_id="j1")
DAYS = timedelta(days=3)


class Arrived(Event, type="lab.arrived.v1"):
    job_id: Identifier
    pallets: int = 1


class Released(Signal, name="released"):
    by: str


GOODS, ELSE = Arrived(job_id="j1", pallets=7), Arrived(job_id="j1", pallets=8)


def arrival(name: str = "arrival", limit: timedelta = DAYS) -> WaitFor:
    return wait_for(Arrived, key=lambda arrived: arrived.job_id, limit=limit, name=name)


def release(limit: timedelta = DAYS) -> WaitFor:
    return wait_for(Released, limit=limit, name="release")


def book_in(begun: Begun, goods: Arrived) -> Do:
    return Do(job_id=begun.job_id, step="book_in", saw=str(goods.pallets))


def started(*blocks: Block, cancelled: Block | None = None, deadline: timedelta | None = None) -> Story:
    return Story(lab_saga(sequence(*blocks), cancelled=cancelled, deadline=deadline)).starts(BEGUN)


# Success.


def test_the_process_goes_on_when_the_event_comes_and_later_builders_see_it() -> None:
    story = started(step("a"), arrival(), command(book_in, irreversible=True)).sends("a").succeeds("a").goes_on()
    story.passes(timedelta(days=2)).happens(GOODS).sends("book_in")
    assert story.command("book_in").message == Do(job_id="j1", step="book_in", saw="7")
    story.succeeds("book_in").ends("completed")
    assert story.process.timers == {}


def test_a_choreographed_event_is_observed_likewise() -> None:
    noticed = observe(Arrived, key=lambda arrived: arrived.job_id, limit=DAYS)
    assert (noticed.name, noticed.choreographed, arrival().choreographed) == ("Arrived", True, False)
    started(noticed, command(book_in, irreversible=True)).happens(GOODS).sends("book_in")


def test_a_signal_comes_by_the_process_id_and_is_injected_like_an_event() -> None:
    def thanks(begun: Begun, released: Released) -> Do:
        return Do(job_id=begun.job_id, step="thanks", note=released.by)

    story = started(release(), command(thanks, irreversible=True)).signals(Released(by="ann")).sends("thanks")
    message = story.command("thanks").message
    assert isinstance(message, Do) and message.note == "ann"


def test_of_two_waits_for_one_type_the_one_that_has_waited_longer_takes_the_first() -> None:
    def both(begun: Begun, first: Annotated[Arrived, From("w1")], second: Annotated[Arrived, From("w2")]) -> Do:
        return Do(job_id=begun.job_id, step="both", saw=f"{first.pallets} {second.pallets}")

    story = started(parallel(arrival("w1"), arrival("w2")), command(both, irreversible=True))
    story.happens(GOODS, id="e1").happens(ELSE, id="e2").sends("both")
    assert '"saw":"7 8"' in story.command("both").record.value.decode()


def test_an_event_of_another_business_key_is_not_taken() -> None:
    by_note = wait_for(Arrived, key=lambda arrived: f"{arrived.job_id}:{arrived.pallets}", limit=DAYS, name="other")
    story = started(parallel(by_note, arrival())).happens(GOODS)
    assert story.process.steps["arrival"].status == "succeeded" and story.process.steps["other"].status == "waiting"


def test_in_a_loop_each_round_waits_anew() -> None:
    def enough(goods: Arrived) -> bool:
        return goods.pallets == 8

    story = started(repeat(arrival(), until=enough, bound=5)).happens(GOODS, id="e1").goes_on()
    story.happens(GOODS, id="e2").goes_on().happens(ELSE, id="e3").ends("completed")


# Silence.


def test_when_the_limit_has_passed_everything_is_undone() -> None:
    story = started(step("a"), arrival(), step("b"), cancelled=told_ending()).sends("a").succeeds("a")
    story.waits_until("arrival/limit").undoes("a").undone("a")
    assert story.emitted(Told) == Told(job_id="j1", name="over", reason="silent", step="arrival")
    story.ends("compensated").happens(GOODS).ignored("not-awaited").ends("compensated")


def test_in_a_fallback_the_next_alternative_is_tried() -> None:
    story = started(fallback(arrival(), step("order_again")), step("b")).waits_until("arrival/limit")
    story.sends("order_again").happens(GOODS).ignored("not-awaited").succeeds("order_again").sends("b")


def test_past_the_pivot_it_is_stuck_until_a_person_decides_or_it_comes_after_all() -> None:
    def late() -> Story:
        story = started(pivot(), arrival(), command(book_in)).waits_until("arrival/limit")
        return story.is_stuck("arrival", reason="silent")

    late().happens(GOODS).sends("book_in")
    again = late().operator("retry").goes_on()
    assert set(again.process.timers) == {"arrival/limit"}
    again.waits_until("arrival/limit").is_stuck("arrival").operator("skip").ignored("outcome-needed")
    again.operator("skip", outcome={"pallets": 3}).ignored("outcome-invalid")
    again.operator("skip", outcome=ELSE).sends("book_in")
    assert '"saw":"8"' in again.command("book_in").record.value.decode()
    again.happens(GOODS).ignored("not-awaited")


def test_what_no_builder_demands_is_skipped_without_an_outcome() -> None:
    story = started(pivot(), arrival(), told("x")).waits_until("arrival/limit").operator("skip")
    story.emitted(Told)
    story.ends("completed")


# Given up.


def test_a_failure_beside_it_gives_the_wait_up_at_once() -> None:
    story = started(parallel(step("a"), arrival())).sends("a").refuses("a").ends("compensated")
    assert story.process.timers == {}
    story.happens(GOODS).ignored("not-awaited")


def test_the_deadline_gives_the_wait_up_at_once() -> None:
    story = started(step("a"), arrival(), deadline=timedelta(days=1)).sends("a").succeeds("a")
    story.waits_until("deadline").undoes("a").undone("a").ends("cancelled")


def test_an_undone_wait_has_nothing_to_undo() -> None:
    story = started(step("a"), arrival(), step("b")).sends("a").succeeds("a").happens(GOODS).sends("b")
    story.refuses("b").undoes("a").undone("a").ends("compensated")


# Twice, early, malformed.


def test_the_same_event_again_is_ignored_and_does_not_settle_the_next_wait() -> None:
    story = started(arrival("w1"), arrival("w2"), step("b")).happens(GOODS, id="e1")
    story.repeats().ignored("duplicate").goes_on().happens(GOODS, id="e2").sends("b")


def test_the_same_id_of_another_producer_is_another_event() -> None:
    story = started(arrival("w1"), arrival("w2"), step("b")).happens(GOODS, id="e1", source="/one")
    story.happens(GOODS, id="e1", source="/two").sends("b")


def test_an_event_that_comes_before_its_block_waits_for_it() -> None:
    story = started(step("a"), arrival(), command(book_in, irreversible=True)).sends("a")
    revision = story.process.revision
    story.happens(GOODS).keeps("lab.arrived.v1").repeats().ignored("duplicate")
    assert story.process.revision == revision, "what a person saw is still so"
    story.succeeds("a").sends("book_in")
    assert story.process.early == () and set(story.process.timers) == {"book_in/silence"}


def test_kept_events_are_taken_in_the_order_in_which_they_came() -> None:
    def both(begun: Begun, first: Annotated[Arrived, From("w1")], second: Annotated[Arrived, From("w2")]) -> Do:
        return Do(job_id=begun.job_id, step="both", saw=f"{first.pallets} {second.pallets}")

    story = started(step("a"), arrival("w1"), release(), arrival("w2"), command(both, irreversible=True)).sends("a")
    story.happens(GOODS, id="e1").keeps("lab.arrived.v1")
    story.signals(Released(by="x")).keeps("lab.arrived.v1", "signal/released")
    story.happens(ELSE, id="e2").keeps("lab.arrived.v1", "signal/released", "lab.arrived.v1")
    story.succeeds("a").sends("both")
    assert '"saw":"7 8"' in story.command("both").record.value.decode()


def test_so_many_are_kept_and_no_more() -> None:
    story = started(step("a"), arrival()).sends("a")
    for number in range(EARLY_MAX):
        story.happens(GOODS, id=f"e{number}")
    story.happens(GOODS, id="one-more").ignored("early-full").alerts("early-full")
    story.succeeds("a").ends("completed")
    assert story.process.early == (), "what nobody wanted is in the history, not in the state"


def test_few_large_ones_are_too_many_as_well() -> None:
    class Large(Signal, name="large"):
        text: str

    story = started(step("a"), wait_for(Large, limit=DAYS)).sends("a")
    story.signals(Large(text="x" * 200_000), id="1").keeps("signal/large")
    story.signals(Large(text="x" * 100_000), id="2").ignored("early-full").alerts("early-full")


def test_remembered_ids_are_bounded() -> None:
    def never(goods: Arrived) -> bool:
        return False

    saga = lab_saga(repeat(arrival(), until=never, bound=5_000))
    story = Story(saga).starts(BEGUN)
    story._folded.refold_each = False
    for number in range(SEEN_MAX + 20):
        story.happens(GOODS, id=f"e{number}")
    assert len(story.process.seen) == SEEN_MAX
    story.happens(GOODS, id=f"e{SEEN_MAX}").ignored("duplicate")


def test_what_no_block_can_want_any_more_is_ignored() -> None:
    story = started(arrival(), step("b")).happens(GOODS, id="e1").sends("b").happens(GOODS, id="e2")
    story.ignored("not-awaited").succeeds("b").ends("completed")


def test_a_payload_against_its_contract_is_ignored() -> None:
    class Strict(Signal, name="released"):
        by: int

    story = started(release())
    story.signals(Strict(by=3)).ignored("invalid-payload").goes_on()


def test_a_signal_that_nobody_waits_for_is_ignored() -> None:
    class Unknown(Signal, name="unknown"):
        pass

    started(release()).signals(Unknown()).ignored("not-awaited").goes_on()


def test_the_history_says_who_signalled() -> None:
    story = started(release()).signals(Released(by="ann"), sender="ann").ends("completed")
    history = story.last.decision.history
    assert history is not None and b'"sender":"ann"' in decode_entry(history).data


# A waiting process is small.


def test_a_process_that_waits_takes_little_room() -> None:
    story = started(step("a"), arrival(limit=timedelta(days=365))).sends("a").succeeds("a")
    history = sum(len(fed.decision.history or b"") for fed in story.fed)
    assert len(encode_process(story.process)) + history < 2_048


# Definitions.


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: wait_for(Arrived, limit=DAYS),
        lambda: wait_for(Released, key=lambda signal: "x", limit=DAYS),
        lambda: wait_for(Signal, limit=DAYS),
        lambda: wait_for(Event, key=lambda event: "x", limit=DAYS),
        lambda: arrival(limit=timedelta(0)),
    ],
)
def test_what_cannot_be_meant_is_refused_where_it_is_written(wrong: object) -> None:
    with pytest.raises(ValueError):
        wrong()  # type: ignore[operator]


def test_a_signal_needs_a_proper_name() -> None:
    with pytest.raises(TypeError, match="lower-case words"):

        class Wrong(Signal, name="Not This"):
            pass


def test_a_saga_does_not_wait_for_what_starts_it() -> None:
    with pytest.raises(SagaError, match="waits for what starts it"):
        lab_saga(wait_for(Begun, key=lambda begun: begun.job_id, limit=DAYS))


def test_waits_are_no_steps_of_a_participant() -> None:
    saga: Saga = lab_saga(sequence(arrival(), step("a")))
    assert [block.name for block in saga.steps() if isinstance(block, CommandStep)] == ["a"]
