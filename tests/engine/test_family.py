"""Parents and children together: what one publishes really arrives at the other."""

from __future__ import annotations

from datetime import timedelta

import pytest

from contracts.message import Event
from orchestrator.engine.expiry import may_expire
from orchestrator.language import Saga, parallel, pivot, sequence
from orchestrator.language.blocks import Block
from orchestrator.testkit.family import Family
from orchestrator.testkit.lab import Begun, Done, Refused, Reverted, lab_saga, step
from orchestrator.testkit.lab_children import ChildBegun, child, child_saga, child_step, pivoted_child
from orchestrator.testkit.lab_flow import each

CHILD = child_saga()
BEGUN = Begun(job_id="j1")
PARENT = "lab:j1"


def done(name: str, mark: str = "") -> Event:
    return Done(job_id="j1", step=name, mark=mark)


def undone(name: str) -> Event:
    return Reverted(job_id="j1", step=name)


def refused(name: str) -> Event:
    return Refused(job_id="j1", step=name)


def family(*blocks: Block, children: tuple[Saga, ...] = (CHILD,), deadline: timedelta | None = None) -> Family:
    saga = lab_saga(sequence(*blocks), deadline=deadline)
    found = Family([saga, *children])
    found.starts(saga, BEGUN)
    found.deliver()
    return found


def test_both_complete() -> None:
    both = family(step("a"), child("ship", CHILD), step("bill", needs="ship"))
    both.answers("lab:j1/a/1", done("a"))
    assert both.deliver() == 1
    both.answers("lab-child:j1-ship/c1/1", done("c1", "shelf 7"))
    assert both.deliver() == 1
    assert both.sent["lab:j1/bill/1"].message.model_dump()["saw"] == "shelf 7"
    both.answers("lab:j1/bill/1", done("bill"))
    assert both.deliver() == 1, "the child is let go"
    assert both.phases() == {PARENT: "completed", "lab-child:j1-ship": "completed"}
    assert may_expire(both.process("lab-child:j1-ship"))


def test_a_child_that_fails_has_its_parent_undone() -> None:
    both = family(step("a"), child("ship", CHILD))
    both.answers("lab:j1/a/1", done("a"))
    both.deliver()
    both.answers("lab-child:j1-ship/c1/1", refused("c1"))
    both.deliver()
    both.answers("lab:j1/a/undo/1", undone("a"))
    both.deliver()
    assert both.phases() == {PARENT: "compensated", "lab-child:j1-ship": "compensated"}
    cause = both.process(PARENT).cause
    assert cause is not None and (cause.step, cause.reason) == ("ship", "refused")
    assert may_expire(both.process("lab-child:j1-ship"))


def test_what_a_completed_child_did_is_undone_between_what_came_after_and_before_it() -> None:
    both = family(step("a"), child("ship", CHILD), step("b"), step("c"))
    both.answers("lab:j1/a/1", done("a"))
    both.deliver()
    both.answers("lab-child:j1-ship/c1/1", done("c1"))
    both.deliver()
    both.answers("lab:j1/b/1", done("b"))
    both.answers("lab:j1/c/1", refused("c"))
    both.deliver()
    assert [key for key in both.sent if "/undo/" in key] == ["lab:j1/b/undo/1"]
    both.answers("lab:j1/b/undo/1", undone("b"))
    both.deliver()
    assert "lab-child:j1-ship/c1/undo/1" in both.sent and "lab:j1/a/undo/1" not in both.sent
    both.answers("lab-child:j1-ship/c1/undo/1", undone("c1"))
    both.deliver()
    both.answers("lab:j1/a/undo/1", undone("a"))
    both.deliver()
    assert both.phases() == {PARENT: "compensated", "lab-child:j1-ship": "compensated"}


def test_a_parent_that_is_cancelled_waits_until_its_child_has_undone_itself() -> None:
    both = family(child("ship", CHILD))
    both.cancels(PARENT)
    both.deliver()
    assert both.phases() == {PARENT: "compensating", "lab-child:j1-ship": "compensating"}
    both.answers("lab-child:j1-ship/c1/1", done("c1"))
    both.deliver()
    both.answers("lab-child:j1-ship/c1/undo/1", undone("c1"))
    both.deliver()
    assert both.phases() == {PARENT: "cancelled", "lab-child:j1-ship": "cancelled"}


def test_a_child_completes_while_the_word_that_it_is_called_off_is_on_its_way() -> None:
    both = family(child("ship", CHILD))
    both.cancels(PARENT)
    both.answers("lab-child:j1-ship/c1/1", done("c1"))
    assert both.process("lab-child:j1-ship").phase == "completed"
    both.deliver()
    both.answers("lab-child:j1-ship/c1/undo/1", undone("c1"))
    both.deliver()
    assert both.phases() == {PARENT: "cancelled", "lab-child:j1-ship": "compensated"}


@pytest.mark.parametrize("irreversible", [False, True])
def test_a_child_past_its_pivot_completes_and_is_undone_by_a_command_or_stays(irreversible: bool) -> None:
    sure = pivoted_child()
    both = family(child("ship", sure, undo=not irreversible, irreversible=irreversible), children=(sure,))
    both.answers("lab-sure:j1-ship/c1/1", done("c1"))
    both.cancels(PARENT)
    both.deliver()
    both.answers("lab-sure:j1-ship/c2/1", done("c2"))
    both.deliver()
    if not irreversible:
        assert both.process(PARENT).phase == "compensating"
        both.answers("lab:j1/ship/undo/1", undone("ship"))
        both.deliver()
    assert both.phases() == {PARENT: "cancelled", "lab-sure:j1-ship": "completed"}


def test_a_stuck_child_is_loud_itself_and_its_parent_goes_on_when_a_person_has_helped() -> None:
    broken = child_saga(child_step("c1", raises=LookupError("x")))
    both = family(child("ship", broken), children=(broken,))
    assert both.phases() == {PARENT: "running", "lab-child:j1-ship": "stuck"}
    both.operator("lab-child:j1-ship", "skip", "c1", outcome={"job_id": "j1", "step": "c1", "mark": "by hand"})
    both.deliver()
    assert both.phases() == {PARENT: "completed", "lab-child:j1-ship": "completed"}


def test_a_child_that_a_person_cancels_makes_its_parent_fail_there() -> None:
    both = family(child("ship", CHILD))
    both.cancels("lab-child:j1-ship")
    both.answers("lab-child:j1-ship/c1/1", refused("c1"))
    both.deliver()
    assert both.phases() == {PARENT: "compensated", "lab-child:j1-ship": "cancelled"}
    cause = both.process(PARENT).cause
    assert cause is not None and cause.detail == "lab-child:j1-ship is cancelled: operator"


def test_a_process_that_exists_already_is_nobodys_child() -> None:
    both = Family([saga := lab_saga(child("ship", CHILD)), CHILD])
    both.starts(CHILD, ChildBegun(child_id="j1-ship", job_id="j1"))
    both.starts(saga, BEGUN)
    both.deliver()
    cause = both.process(PARENT).cause
    assert both.phases() == {PARENT: "compensated", "lab-child:j1-ship": "running"}
    assert cause is not None and cause.detail is not None and "there is such a process already" in cause.detail
    assert both.process("lab-child:j1-ship").parent is None


def test_two_steps_that_name_one_child_have_one_of_them_fail() -> None:
    both = family(child("ship", CHILD, key="same"), child("again", CHILD, key="same"))
    both.answers("lab-child:same/c1/1", done("c1"))
    both.deliver()
    both.answers("lab-child:same/c1/undo/1", undone("c1"))
    both.deliver()
    assert both.phases() == {PARENT: "compensated", "lab-child:same": "compensated"}


def test_a_child_that_would_be_its_own_parent_is_not_started() -> None:
    inner = child_saga(name="lab-inner")
    outer = child_saga(child("deep", inner, key="x", begun=ChildBegun), name="lab-inner", returns=False)
    both = Family([outer])
    both.starts(outer, ChildBegun(child_id="x", job_id="j1"))
    both.deliver()
    assert both.phases() == {"lab-inner:x": "compensated"}


# Three generations.

INNER = child_saga(name="lab-inner")
MIDDLE = child_saga(
    sequence(child_step("m1"), child("deep", INNER, begun=ChildBegun), child_step("m2")), name="lab-middle", of="deep"
)


def three(*more: Block) -> Family:
    all_three = family(child("mid", MIDDLE), *more, children=(MIDDLE, INNER))
    all_three.answers("lab-middle:j1-mid/m1/1", done("m1"))
    all_three.deliver()
    return all_three


def finish_middle(all_three: Family) -> None:
    all_three.answers("lab-inner:j1-deep/c1/1", done("c1", "gold"))
    all_three.deliver()
    all_three.answers("lab-middle:j1-mid/m2/1", done("m2"))
    all_three.deliver()


def test_a_result_comes_home_over_three_generations_and_all_are_let_go_at_last() -> None:
    all_three = three(step("z", needs="mid"))
    finish_middle(all_three)
    assert not may_expire(all_three.process("lab-inner:j1-deep")), "its parent can still be undone"
    assert all_three.sent["lab:j1/z/1"].message.model_dump()["saw"] == "gold"
    all_three.answers("lab:j1/z/1", done("z"))
    assert all_three.deliver() == 2
    assert set(all_three.phases().values()) == {"completed"} and len(all_three.phases()) == 3
    assert all(may_expire(all_three.process(name)) for name in all_three.phases())


def test_an_undo_goes_down_three_generations_in_reverse() -> None:
    all_three = three(step("z"))
    finish_middle(all_three)
    all_three.answers("lab:j1/z/1", refused("z"))
    all_three.deliver()
    for sent, name in (
        ("lab-middle:j1-mid/m2/undo/1", "m2"),
        ("lab-inner:j1-deep/c1/undo/1", "c1"),
        ("lab-middle:j1-mid/m1/undo/1", "m1"),
    ):
        assert [key for key in all_three.sent if "/undo/" in key][-1] == sent
        all_three.answers(sent, undone(name))
        all_three.deliver()
    assert set(all_three.phases().values()) == {"compensated"} and len(all_three.phases()) == 3
    assert all(may_expire(all_three.process(name)) for name in all_three.phases())


def test_calling_off_goes_down_three_generations() -> None:
    all_three = three()
    all_three.cancels(PARENT)
    all_three.deliver()
    assert set(all_three.phases().values()) == {"compensating"}
    all_three.answers("lab-inner:j1-deep/c1/1", refused("c1"))
    all_three.deliver()
    all_three.answers("lab-middle:j1-mid/m1/undo/1", undone("m1"))
    all_three.deliver()
    assert set(all_three.phases().values()) == {"cancelled"}


def test_a_grandchild_that_fails_has_everything_undone() -> None:
    all_three = three()
    all_three.answers("lab-inner:j1-deep/c1/1", refused("c1"))
    all_three.deliver()
    all_three.answers("lab-middle:j1-mid/m1/undo/1", undone("m1"))
    all_three.deliver()
    assert set(all_three.phases().values()) == {"compensated"}


# Many.


def test_of_many_children_beside_each_other_one_fails_and_the_others_are_undone() -> None:
    body = each(3, child("ship", CHILD, in_each=True), name="every", concurrency=3)
    many = family(body)
    many.answers("lab-child:j1-ship-0/c1/1", done("c1"))
    many.answers("lab-child:j1-ship-1/c1/1", refused("c1"))
    many.deliver()
    assert many.process("lab-child:j1-ship-2").phase == "compensating", "it was called off"
    many.answers("lab-child:j1-ship-2/c1/1", refused("c1"))
    many.answers("lab-child:j1-ship-0/c1/undo/1", undone("c1"))
    many.deliver()
    assert many.phases() == {
        PARENT: "compensated",
        "lab-child:j1-ship-0": "compensated",
        "lab-child:j1-ship-1": "compensated",
        "lab-child:j1-ship-2": "cancelled",
    }


def test_every_message_between_them_delivered_twice_changes_nothing() -> None:
    def run(twice: bool) -> dict[str, str]:
        both = family(parallel(child("ship", CHILD), step("a")), step("b"))
        both.answers("lab-child:j1-ship/c1/1", done("c1"))
        both.answers("lab:j1/a/1", done("a"))
        both.deliver()
        both.answers("lab:j1/b/1", refused("b"))
        both.deliver()
        both.answers("lab-child:j1-ship/c1/undo/1", undone("c1"))
        both.answers("lab:j1/a/undo/1", undone("a"))
        both.deliver()
        if twice:
            before = dict(both.phases())
            for identity, fold in list(both.folds.items()):
                for fed in list(fold.fed):
                    again = both.feed(identity, both._inbox(identity).again(fed.item))
                    assert again.decision.result == "ignored", fed.item.envelope.type
            assert both.deliver() == 0 and both.phases() == before
        return both.phases()

    assert run(twice=True) == run(twice=False)


def test_past_the_parents_pivot_a_child_is_not_called_off() -> None:
    both = family(step("a"), pivot(), parallel(child("ship", CHILD), step("b", undo=False)))
    both.answers("lab:j1/a/1", done("a"))
    both.deliver()
    both.answers("lab:j1/b/1", refused("b"))
    both.deliver()
    assert both.phases() == {PARENT: "stuck", "lab-child:j1-ship": "running"}
    both.answers("lab-child:j1-ship/c1/1", done("c1"))
    both.deliver()
    both.operator(PARENT, "skip", "b")
    both.deliver()
    assert both.phases() == {PARENT: "completed", "lab-child:j1-ship": "completed"}
