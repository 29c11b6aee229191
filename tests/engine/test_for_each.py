"""`for_each`: the body once for each element, a few at a time; undone in reverse; outcomes as tuples afterwards."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from pydantic import BaseModel

from orchestrator.engine.plan import PlanError, compile_saga
from orchestrator.language import (
    Retry,
    command,
    fallback,
    for_each,
    parallel,
    pivot,
    repeat,
    sequence,
    sleep,
)
from orchestrator.testkit import Story
from orchestrator.testkit.lab import Begun, Do, Done, Revert, Told, lab_saga, step, told, told_ending
from orchestrator.testkit.lab_flow import Item, each, predicate, rounds

BEGUN = Begun(job_id="j1")
SECOND = timedelta(seconds=1)


class Names(BaseModel):
    name: str


def done(name: str, mark: str = "") -> Done:
    return Done(job_id="j1", step=name, mark=mark)


def three(concurrency: int = 1, **options: Any) -> Story:
    body = sequence(step("a"), each(3, step("b", **options), name="ship", concurrency=concurrency), step("c"))
    return Story(lab_saga(body)).starts(BEGUN).sends("a").succeeds("a")


def test_one_element_after_the_other() -> None:
    story = three().sends("ship[0].b").succeeds("ship[0].b").sends("ship[1].b").succeeds("ship[1].b")
    story.sends("ship[2].b").succeeds("ship[2].b").sends("c").succeeds("c").ends("completed")
    assert story.command("ship[2].b").id == "lab:j1/ship[2].b/1"


def test_a_few_at_a_time_in_the_order_in_which_they_finish() -> None:
    story = three(2).sends("ship[0].b", "ship[1].b").succeeds("ship[1].b").sends("ship[2].b")
    story.succeeds("ship[2].b").goes_on().succeeds("ship[0].b").sends("c").succeeds("c").ends("completed")


def test_more_at_a_time_than_there_are() -> None:
    story = three(9).sends("ship[0].b", "ship[1].b", "ship[2].b").succeeds("ship[0].b").succeeds("ship[1].b")
    story.succeeds("ship[2].b").sends("c")


def test_no_elements() -> None:
    story = Story(lab_saga(sequence(each(0, step("b"), name="ship"), step("c")))).starts(BEGUN).sends("c")
    story.refuses("c").ends("compensated")


def test_a_failing_element_undoes_those_before_it_in_reverse() -> None:
    story = three().sends("ship[0].b").succeeds("ship[0].b").sends("ship[1].b").succeeds("ship[1].b")
    story.sends("ship[2].b").refuses("ship[2].b").undoes("ship[1].b").undone("ship[1].b").undoes("ship[0].b")
    story.undone("ship[0].b").undoes("a").undone("a").ends("compensated")


def test_what_is_under_way_begins_nothing_new_and_is_undone_first() -> None:
    body = each(4, sequence(step("b"), step("c")), name="ship", concurrency=2)
    story = Story(lab_saga(body)).starts(BEGUN).sends("ship[0].b", "ship[1].b")
    story.succeeds("ship[1].b").sends("ship[1].c").succeeds("ship[1].c").sends("ship[2].b")
    story.refuses("ship[2].b").undoes("ship[1].c")  # 0 is awaited still; 2 has done nothing: 1 takes its place
    story.succeeds("ship[0].b").undoes("ship[0].b").undone("ship[0].b").goes_on()
    story.undone("ship[1].c").undoes("ship[1].b").undone("ship[1].b").ends("compensated")


def test_an_element_that_is_slower_than_the_rest_is_told_at_once() -> None:
    story = Story(lab_saga(each(4, step("b"), name="ship", concurrency=2))).starts(BEGUN)
    story.sends("ship[0].b", "ship[1].b").succeeds("ship[1].b").sends("ship[2].b").succeeds("ship[2].b")
    story.sends("ship[3].b").refuses("ship[3].b").undoes("ship[2].b").succeeds("ship[0].b").undoes("ship[0].b")
    story.undone("ship[2].b").undoes("ship[1].b").undone("ship[1].b").undone("ship[0].b").ends("compensated")


def test_as_many_are_undone_at_a_time_as_were_done() -> None:
    story = three(2).sends("ship[0].b", "ship[1].b").succeeds("ship[0].b").sends("ship[2].b").succeeds("ship[1].b")
    story.succeeds("ship[2].b").sends("c").refuses("c").undoes("ship[2].b", "ship[1].b").undone("ship[1].b")
    story.undoes("ship[0].b").undone("ship[2].b").goes_on().undone("ship[0].b").undoes("a")


def test_silence_is_perhaps_done_and_a_late_success_of_an_element_is_undone() -> None:
    story = three(3).sends("ship[0].b", "ship[1].b", "ship[2].b").succeeds("ship[0].b").succeeds("ship[1].b")
    story.silent("ship[2].b").undoes("ship[0].b", "ship[1].b", "ship[2].b")
    story.undone("ship[0].b").undone("ship[1].b").undone("ship[2].b").undoes("a").late("ship[2].b")
    story.undoes("ship[2].b", covers=(1,)).undone("a").goes_on().undone("ship[2].b").ends("compensated")


def test_answers_that_come_twice_and_answers_to_elements_that_there_are_not() -> None:
    story = three().sends("ship[0].b").succeeds("ship[0].b").sends("ship[1].b").repeats().ignored("duplicate")
    for path in ("ship[2].b", "ship[3].b", "ship[01].b", "ship[x].b", "ship.b", "b", "ship[0].ship[0].b", "ship[0]"):
        story.answers(f"lab:j1/{path}/1", done("b")).ignored("not-awaited")


def test_the_deadline_undoes_the_elements() -> None:
    body = each(3, step("b"), name="ship", concurrency=2)
    story = Story(lab_saga(body, deadline=timedelta(seconds=20))).starts(BEGUN).sends("ship[0].b", "ship[1].b")
    story.succeeds("ship[0].b").sends("ship[2].b").passes(20 * SECOND).undoes().succeeds("ship[1].b")
    story.undoes("ship[1].b").refuses("ship[2].b").undoes("ship[0].b").undone("ship[1].b").undone("ship[0].b")
    story.ends("cancelled")


def test_a_new_try_and_a_persons_repair_of_one_element() -> None:
    body = sequence(pivot(), each(2, step("b", retry=Retry(attempts=2, first=SECOND)), name="ship", concurrency=2))
    story = Story(lab_saga(body)).starts(BEGUN).sends("ship[0].b", "ship[1].b").fails("ship[0].b").passes(SECOND)
    story.sends("ship[0].b").fails("ship[0].b").is_stuck("ship[0].b").succeeds("ship[1].b")
    story.operator("retry", "ship[0].b").sends("ship[0].b").succeeds("ship[0].b").ends("completed")
    assert story.command("ship[0].b").id == "lab:j1/ship[0].b/3"


def test_a_skipped_element() -> None:
    body = sequence(pivot(), each(2, step("b", retry=Retry(attempts=1)), name="ship"))
    story = Story(lab_saga(body)).starts(BEGUN).sends("ship[0].b").fails("ship[0].b").is_stuck("ship[0].b")
    story.operator("skip", "ship[0].b").sends("ship[1].b").succeeds("ship[1].b").ends("completed")


# What is injected.


def test_the_element_is_injected_also_into_the_undo() -> None:
    def pack(begun: Begun, item: Item) -> Do:
        return Do(job_id=begun.job_id, step=f"pack {item.number}")

    def unpack(begun: Begun, item: Item, packed: Done | None) -> Revert:
        return Revert(job_id=begun.job_id, step=f"unpack {item.number}", mark=packed.mark if packed else None)

    body = sequence(each(2, command(pack, undo=unpack), name="ship"), step("z", undo=False, irreversible=True))
    story = Story(lab_saga(body)).starts(BEGUN).sends("ship[0].pack").succeeds("ship[0].pack", done("p", "m0"))
    story.sends("ship[1].pack").succeeds("ship[1].pack", done("p", "m1")).sends("z")
    assert story.command("ship[1].pack").message == Do(job_id="j1", step="pack 1")
    story.refuses("z").undoes("ship[1].pack")
    assert story.undo("ship[1].pack").message == Revert(job_id="j1", step="unpack 1", mark="m1")
    story.undone("ship[1].pack").undoes("ship[0].pack").undone("ship[0].pack").ends("compensated")


def test_inside_the_same_element_afterwards_all_in_element_order() -> None:
    body = sequence(
        each(3, sequence(step("b"), step("c", needs="b")), name="ship", concurrency=3), step("d", needs_all="b")
    )
    story = Story(lab_saga(body)).starts(BEGUN).sends("ship[0].b", "ship[1].b", "ship[2].b")
    for index in (2, 0, 1):
        story.succeeds(f"ship[{index}].b", done("b", f"m{index}")).sends(f"ship[{index}].c")
        assert story.command(f"ship[{index}].c").message == Do(job_id="j1", step="c", saw=f"m{index}")
    for index in (1, 2, 0):
        story.succeeds(f"ship[{index}].c")
    story.sends("d")
    assert story.command("d").message == Do(job_id="j1", step="d", saw="m0,m1,m2")


def test_no_elements_are_an_empty_tuple() -> None:
    body = sequence(each(0, step("b"), name="ship"), step("d", needs_all="b"))
    story = Story(lab_saga(body)).starts(BEGUN).sends("d")
    assert story.command("d").message == Do(job_id="j1", step="d", saw="")


def test_loops_whose_names_end_alike_have_their_own_elements() -> None:
    def items(begun: Begun) -> tuple[Names, ...]:
        return (Names(name="x"), Names(name="y"))

    def pack(begun: Begun, item: Item, name: Names) -> Do:
        return Do(job_id=begun.job_id, step=f"{item.number}{name.name}")

    body = each(2, for_each(items, command(pack, irreversible=True), bound=2, name="reship"), name="ship")
    story = Story(lab_saga(body)).starts(BEGUN).sends("ship[0].reship[0].pack").succeeds("ship[0].reship[0].pack")
    story.sends("ship[0].reship[1].pack")
    assert story.command("ship[0].reship[1].pack").message == Do(job_id="j1", step="0y")
    story.succeeds("ship[0].reship[1].pack").sends("ship[1].reship[0].pack")
    assert story.command("ship[1].reship[0].pack").message == Do(job_id="j1", step="1x")


# What goes wrong with the list of elements.


def bad(items: Any, bound: int = 3) -> Story:
    body = sequence(step("a"), for_each(items, step("b"), bound=bound, name="ship"), told("after"))
    return Story(lab_saga(body, cancelled=told_ending())).starts(BEGUN).sends("a").succeeds("a")


def raising(begun: Begun) -> tuple[Item, ...]:
    raise LookupError("no list today")


def too_many(begun: Begun) -> tuple[Item, ...]:
    return tuple(Item(number=number) for number in range(4))


def no_tuple(begun: Begun) -> tuple[Item, ...]:
    return [Item(number=1)]  # type: ignore[return-value]


def no_elements(begun: Begun) -> tuple[Item, ...]:
    return (1, 2)  # type: ignore[return-value]


def unwritable(begun: Begun) -> tuple[Item, ...]:
    return (Item.model_construct(number="\ud800"),)  # type: ignore[arg-type]


def unreadable(begun: Begun) -> tuple[Item, ...]:
    return (Item.model_construct(number="x"),)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("items", "reason"),
    [
        (raising, "no list today"),
        (too_many, "4 elements, more than its bound of 3"),
        (no_tuple, "returned list, but declares tuple"),
        (no_elements, "returned a int among its elements"),
        (unwritable, "cannot be kept"),
        (unreadable, "cannot be kept"),
    ],
)
def test_elements_that_cannot_be_had_are_stuck_until_mended_skipped_or_given_up(items: Any, reason: str) -> None:
    bad(items).is_stuck("ship", reason=reason).operator("retry", "ship").is_stuck("ship", reason=reason)
    story = bad(items).operator("skip")
    story.emitted(Told)
    story.ends("completed")
    story = bad(items).operator("compensate").undoes("a").undone("a")
    story.emitted(Told)
    story.ends("cancelled")


def test_mended_elements() -> None:
    story = bad(raising).is_stuck("ship")
    fine = sequence(step("a"), each(1, step("b"), name="ship"), told("after"))
    story.deploys(lab_saga(fine, cancelled=told_ending())).operator("retry").sends("ship[0].b")


def test_more_blocks_than_a_process_may_have_cannot_be_compiled() -> None:
    body = each(1, each(1, step("b"), name="in", bound=400), name="out", bound=400)
    with pytest.raises(PlanError, match="more than 100000"):
        compile_saga(lab_saga(body))


# Three deep.


def test_a_for_each_in_a_fallback_in_a_parallel() -> None:
    body = parallel(fallback(each(3, step("b"), name="ship", concurrency=2), step("c")), step("d"))
    story = Story(lab_saga(body)).starts(BEGUN).sends("ship[0].b", "ship[1].b", "d").succeeds("ship[0].b")
    story.sends("ship[2].b").refuses("ship[1].b").sends("c").undoes("ship[0].b")  # 2 is awaited: 1's place is free
    story.succeeds("ship[2].b").undoes("ship[2].b").succeeds("c").succeeds("d").goes_on()
    story.undone("ship[2].b").undone("ship[0].b").ends("completed")


def test_an_element_under_way_in_a_given_up_alternative_begins_nothing_new() -> None:
    first = each(2, sequence(step("b"), step("c")), name="ship", concurrency=2)
    story = Story(lab_saga(fallback(first, step("d")))).starts(BEGUN).sends("ship[0].b", "ship[1].b")
    story.refuses("ship[1].b").sends("d").succeeds("ship[0].b").undoes("ship[0].b").succeeds("d").goes_on()
    story.undone("ship[0].b").ends("completed")


def test_a_repeat_in_a_for_each_in_a_for_each() -> None:
    inner = rounds(2, step("b"), counted="b", name="poll")
    body = each(2, each(1, inner, name="in"), name="out", concurrency=2)
    story = Story(lab_saga(sequence(body, step("z")))).starts(BEGUN)
    one, other = "out[0].in[0].poll", "out[1].in[0].poll"
    story.sends(f"{one}[0].b", f"{other}[0].b")
    for loop in (other, one):
        for index in (0, 1):
            story.succeeds(f"{loop}[{index}].b", done("b", f"lab:j1/{loop}[{index}].b/1"))
            if index == 0:
                story.sends(f"{loop}[1].b")
    story.sends("z").refuses("z").undoes(f"{one}[1].b", f"{other}[1].b").undone(f"{one}[1].b").undoes(f"{one}[0].b")
    story.undone(f"{other}[1].b").undoes(f"{other}[0].b").undone(f"{other}[0].b").undone(f"{one}[0].b")
    story.ends("compensated")


def test_a_sleeping_element_is_given_up_at_once() -> None:
    body = each(3, sequence(step("b"), sleep(timedelta(days=1), name="nap")), name="ship", concurrency=3)
    story = Story(lab_saga(body)).starts(BEGUN).sends("ship[0].b", "ship[1].b", "ship[2].b").succeeds("ship[0].b")
    story.succeeds("ship[1].b").refuses("ship[2].b").undoes("ship[0].b", "ship[1].b")
    assert not any(timer.endswith("/wake") for timer in story.process.timers)


def test_a_loop_that_fails_while_its_sibling_is_still_being_run_through() -> None:
    """Both in one turn: what the siblings have queued does not begin, and does not count."""
    failing = repeat(told("x"), until=predicate("never"), bound=1, name="fails")
    chain = sequence(sequence(sequence(told("y1"), told("y2")), told("y3")), told("y4"))
    story = Story(lab_saga(fallback(parallel(failing, chain, failing_twice()), step("z")))).starts(BEGUN)
    assert {sent.step for sent in story.last.sent if sent.kind == "emit"} <= {"fails[0].x", "again[0].w", "y1", "y2"}
    assert [sent.step for sent in story.last.sent if sent.kind == "command"] == ["z"]


def failing_twice() -> Any:
    return repeat(told("w"), until=predicate("never"), bound=1, name="again")
