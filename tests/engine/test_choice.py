"""`choice`: the first branch whose predicate holds."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated

import pytest

from orchestrator.language import From, choice, fallback, otherwise, parallel, sequence, when
from orchestrator.testkit import Story
from orchestrator.testkit.lab import Begun, Done, Told, lab_saga, step, told, told_ending
from orchestrator.testkit.lab_flow import each, predicate

BEGUN = Begun(job_id="j1")
ALWAYS, NEVER, ODD = predicate("always"), predicate("never"), predicate("odd")
BUG = LookupError("not today")


def large(begun: Begun) -> bool:
    return begun.note == "large"


def marked(done: Annotated[Done, From("a")]) -> bool:
    return bool(done.mark)


def test_the_first_that_holds_is_taken_and_no_other() -> None:
    body = choice(when(NEVER, step("a")), when(ALWAYS, step("b")), when(ALWAYS, step("c")), otherwise(step("d")))
    Story(lab_saga(body)).starts(BEGUN).sends("b").succeeds("b").ends("completed")


def test_data_decides() -> None:
    body = choice(when(large, step("crane")), otherwise(step("hand")))
    Story(lab_saga(body)).starts(Begun(job_id="j1", note="large")).sends("crane")
    Story(lab_saga(body)).starts(BEGUN).sends("hand")


def test_an_outcome_decides() -> None:
    body = sequence(step("a"), choice(when(marked, step("b"))), step("c"))
    story = Story(lab_saga(body)).starts(BEGUN).sends("a")
    story.succeeds("a", Done(job_id="j1", step="a", mark="m")).sends("b").succeeds("b").sends("c")
    Story(lab_saga(body)).starts(BEGUN).sends("a").succeeds("a").sends("c")


def test_none_holds() -> None:
    body = sequence(step("a"), choice(when(NEVER, step("b"))), step("c"))
    story = Story(lab_saga(body)).starts(BEGUN).sends("a").succeeds("a").sends("c").refuses("c")
    story.undoes("a").undone("a").ends("compensated")


def test_the_branch_that_was_taken_is_undone_between_its_neighbours() -> None:
    body = sequence(step("a"), choice(when(NEVER, step("b")), otherwise(sequence(step("c"), step("d")))), step("e"))
    story = Story(lab_saga(body)).starts(BEGUN).sends("a").succeeds("a").sends("c").succeeds("c").sends("d")
    story.succeeds("d").sends("e").silent("e").undoes("e").undone("e").undoes("d").undone("d").undoes("c")
    story.undone("c").undoes("a").undone("a").ends("compensated").late("d", number=1).ignored("duplicate")


def test_failure_silence_and_late_success_in_a_branch() -> None:
    saga = lab_saga(choice(when(ALWAYS, step("b"))), cancelled=told_ending())
    story = Story(saga).starts(BEGUN).sends("b").fails("b", retryable=False)
    assert story.emitted(Told).step == "b"
    story.ends("compensated").late("b").undoes("b").undone("b").ends("compensated")
    story = Story(saga).starts(BEGUN).sends("b").silent("b").undoes("b", covers=(1,)).late("b").undone("b")
    story.undoes("b").undone("b").emitted(Told)
    story.ends("compensated")


def test_the_deadline_in_a_branch() -> None:
    saga = lab_saga(choice(when(ALWAYS, step("b"))), deadline=timedelta(seconds=10))
    story = Story(saga).starts(BEGUN).sends("b").passes(timedelta(seconds=10)).succeeds("b").undoes("b").undone("b")
    story.ends("cancelled")


def test_a_predicate_that_raises_is_stuck_until_mended_skipped_or_given_up() -> None:
    def body(bug: Exception | None) -> object:
        return sequence(step("a"), choice(when(predicate("always", raises=bug), step("b"))), told("after"))

    def stuck() -> Story:
        story = Story(lab_saga(body(BUG))).starts(BEGUN).sends("a").succeeds("a")  # type: ignore[arg-type]
        return story.announces("stuck").is_stuck("#2", reason="not today")

    stuck().operator("retry").is_stuck("#2")
    stuck().deploys(lab_saga(body(None))).operator("retry", "#2").announces("resumed").sends("b")  # type: ignore[arg-type]
    story = stuck().operator("skip")
    story.emitted(Told)
    story.ends("completed")
    stuck().operator("compensate").undoes("a").undone("a").ends("cancelled")


def test_a_predicate_says_true_or_false() -> None:
    def unsure(begun: Begun) -> bool:
        return None  # type: ignore[return-value]

    Story(lab_saga(choice(when(unsure, step("b"))))).starts(BEGUN).is_stuck("#0", reason="returned NoneType")


def test_three_deep_each_element_has_its_own_branch() -> None:
    body = parallel(each(3, choice(when(ODD, step("b")), otherwise(fallback(step("c"), step("d")))), name="ship"))
    story = Story(lab_saga(sequence(body, step("z")))).starts(BEGUN).sends("ship[0].c").refuses("ship[0].c")
    story.sends("ship[0].d").succeeds("ship[0].d").sends("ship[1].b").succeeds("ship[1].b").sends("ship[2].c")
    story.succeeds("ship[2].c").sends("z").refuses("z").undoes("ship[2].c").undone("ship[2].c").undoes("ship[1].b")
    story.undone("ship[1].b").undoes("ship[0].d").undone("ship[0].d").ends("compensated")


def test_what_cannot_be_meant() -> None:
    for branches in ((), (otherwise(step("a")), when(ALWAYS, step("b")))):
        with pytest.raises(ValueError, match="otherwise"):
            choice(*branches)
