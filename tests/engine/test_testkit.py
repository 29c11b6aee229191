"""The kit itself: what it finds that a story does not say."""

from __future__ import annotations

from itertools import count
from random import Random

import pytest

from orchestrator.language import command, sequence
from orchestrator.testkit import Broken, Story, Unexpected
from orchestrator.testkit.explore import explore
from orchestrator.testkit.lab import Begun, Do, Done, lab_saga, step

BEGUN = Begun(job_id="j1")


def test_a_builder_that_is_not_a_function_of_its_parameters_is_found() -> None:
    numbers = count()

    def impure(begun: Begun) -> Do:
        return Do(job_id=begun.job_id, step=f"number-{next(numbers)}")

    with pytest.raises(Broken, match="decides otherwise"):
        Story(lab_saga(command(impure, irreversible=True))).starts(BEGUN)


def test_a_builder_that_remembers_the_last_process_is_found() -> None:
    seen: list[str] = []

    def greedy(begun: Begun, done: Done) -> Do:
        seen.append(done.mark)
        return Do(job_id=begun.job_id, step="b", saw=str(len(seen)))

    body = sequence(step("a"), command(greedy, name="b", irreversible=True))
    with pytest.raises(Broken):
        Story(lab_saga(body)).starts(BEGUN).sends("a").succeeds("a", Done(job_id="j1", step="a", mark="m"))


def test_a_success_that_cannot_be_made_from_the_command_must_be_given() -> None:
    from tests.engine.test_order_story import placed

    with pytest.raises(AssertionError, match="PaymentCaptured cannot be made from ChargePayment; give it"):
        placed().succeeds("charge")


def test_a_story_that_expects_too_much_hears_what_the_process_waits_for() -> None:
    story = Story(lab_saga(step("a"))).starts(BEGUN).sends("a").fails("a")
    with pytest.raises(Unexpected, match=r"Phase: running, reason: None, next timer: a/retry in \d+(\.\d+)? s$"):
        story.ends("compensated")


def test_a_broken_run_is_told_in_a_readable_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    from orchestrator.engine.blocks import undo

    monkeypatch.setattr(undo, "late_success", lambda turn, node, outcome: None)
    for seed in range(500):
        try:
            explore(Random(seed))
        except Broken as error:
            lines = str(error).splitlines()
            assert any("begun" in line and ", number 1" in line for line in lines)
            assert lines[2].startswith("cancelled: ")
            return
    pytest.fail("nothing was found")
