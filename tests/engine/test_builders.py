"""Bugs of a saga's author: each is a decision, the process is stuck, and the engine goes on."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Annotated

import pytest

from contracts.message import Command, Event, Identifier
from contracts.topics import MESSAGE_BYTES_MAX
from orchestrator.engine.book import SagaBook
from orchestrator.engine.plan import PlanError
from orchestrator.language import Ending, From, Retry, Saga, Undo, command, emit, parallel, pivot, sequence
from orchestrator.language.signature import SignatureError
from orchestrator.testkit import Story
from orchestrator.testkit.lab import Begun, Do, Done, Refused, Revert, Told, lab_saga, step, told, told_ending

BEGUN = Begun(job_id="j1")
BUG = RuntimeError("not today")
SECOND = timedelta(seconds=1)


def made_by(builder: Callable[..., Do]) -> Story:
    return Story(lab_saga(command(builder, name="a", irreversible=True))).starts(BEGUN)


def test_a_builder_that_raises_makes_the_process_stuck_and_the_others_go_on() -> None:
    story = Story(lab_saga(parallel(step("a", raises=BUG), step("b")))).starts(BEGUN)
    story.announces("started", "stuck").is_stuck("a", reason="raised RuntimeError: not today")
    story.sends("b").succeeds("b").is_stuck("a")


def test_when_it_is_mended_a_retry_goes_on() -> None:
    story = Story(lab_saga(sequence(step("a", raises=BUG), step("b")))).starts(BEGUN).is_stuck("a")
    story.operator("retry").is_stuck("a").deploys(lab_saga(sequence(step("a"), step("b"))))
    story.operator("retry").announces("resumed").sends("a").succeeds("a").sends("b")


def test_a_failure_elsewhere_gives_a_stuck_step_up() -> None:
    story = Story(lab_saga(parallel(step("a", raises=BUG), step("b")))).starts(BEGUN).sends("b")
    story.refuses("b").announces("resumed", "compensating", "compensated").ends("compensated")


def test_an_undo_that_cannot_be_built_is_stuck_until_it_is_mended() -> None:
    def saga(bug: Exception | None) -> Saga:
        return lab_saga(sequence(step("a", undo_raises=bug), step("b")))

    story = Story(saga(BUG)).starts(BEGUN).sends("a").succeeds("a", Done(job_id="j1", step="a", mark="m"))
    story.sends("b").refuses("b").is_stuck("a/undo", reason="not today").operator("retry").is_stuck("a/undo")
    story.deploys(saga(None)).operator("retry").undoes("a", covers=(1,))
    assert story.undo("a").message == Revert(job_id="j1", step="a", mark="m")
    story.undone("a").ends("compensated")


def test_a_mended_undo_of_a_surplus_success_sees_the_surplus_outcome() -> None:
    def saga(bug: Exception | None) -> Saga:
        return lab_saga(sequence(step("a", retry=Retry(), undo_raises=bug), pivot(), step("b")))

    story = Story(saga(BUG)).starts(BEGUN).sends("a").fails("a").passes(SECOND).sends("a")
    story.succeeds("a", Done(job_id="j1", step="a", mark="m2")).sends("b")
    story.late("a", Done(job_id="j1", step="a", mark="m1"), number=1).is_stuck("a/undo")
    story.deploys(saga(None)).operator("retry", "a").undoes("a", covers=(1,))
    assert story.undo("a").message == Revert(job_id="j1", step="a", mark="m1")


def test_a_mended_undo_of_a_perhaps_done_try_sees_no_outcome() -> None:
    def saga(bug: Exception | None) -> Saga:
        return lab_saga(sequence(step("a", undo_raises=bug), step("b")))

    story = Story(saga(BUG)).starts(BEGUN).sends("a").fails("a").passes(SECOND).sends("a")
    story.succeeds("a", Done(job_id="j1", step="a", mark="m1"), number=1).sends("b").is_stuck("a/undo")
    story.deploys(saga(None)).operator("retry", "a").undoes("a", covers=(2,))
    assert story.undo("a").message == Revert(job_id="j1", step="a", mark=None)


def test_a_cancelled_flow_that_cannot_be_built_is_stuck_until_it_is_mended() -> None:
    body = step("a")
    story = Story(lab_saga(body, cancelled=told_ending(raises=BUG))).starts(BEGUN).sends("a").refuses("a")
    story.announces("compensating", "stuck").is_stuck("over", reason="not today")
    story.deploys(lab_saga(body, cancelled=told_ending())).operator("retry").emitted(Told)
    story.announces("resumed", "compensated").ends("compensated")


def test_an_emit_that_cannot_be_built_is_given_up_when_all_is_undone() -> None:
    story = Story(lab_saga(parallel(told("news", raises=BUG), step("a")))).starts(BEGUN).sends("a").is_stuck("news")
    story.refuses("a").ends("compensated")


def test_a_builder_that_makes_something_else_is_stuck() -> None:
    def builder(begun: Begun) -> Do:
        return Told(job_id=begun.job_id, name="x")  # type: ignore[return-value]

    made_by(builder).is_stuck("a", reason="returned Told, but declares Do")


def test_a_message_that_cannot_be_written_is_stuck() -> None:
    def builder(begun: Begun) -> Do:
        return Do.model_construct(job_id=begun.job_id, step="\ud800")

    made_by(builder).is_stuck("a", reason="what builder made cannot be sent")


def test_a_key_that_cannot_be_written_is_stuck() -> None:
    def builder(begun: Begun) -> Do:
        return Do.model_construct(step="x")  # type: ignore[call-arg]

    made_by(builder).is_stuck("a", reason="what builder made cannot be sent")


class Mute(Exception):
    def __str__(self) -> str:
        raise ValueError


@pytest.mark.parametrize(
    "error",
    [Mute(), ValueError("x" * 100_000), ValueError("\ud800\n\x00"), KeyError(), RecursionError(), MemoryError()],
)
def test_whatever_an_authors_exception_says_the_process_is_stuck(error: Exception) -> None:
    story = Story(lab_saga(step("a", raises=error))).starts(BEGUN).announces("started", "stuck").is_stuck("a")
    assert type(error).__name__ in (story.process.reason or "")
    assert "\n" not in (story.process.reason or "")


def test_a_message_over_the_size_limit_is_stuck() -> None:
    big = Begun(job_id="j1", note="x" * MESSAGE_BYTES_MAX)
    story = Story(lab_saga(step("a"))).starts(big).is_stuck("a", reason=f"the broker takes {MESSAGE_BYTES_MAX}")
    story.operator("retry").is_stuck("a").operator("compensate").ends("cancelled")


@pytest.mark.parametrize("origin", ["/o", "/" + "ö" * 1_000])
def test_what_is_sent_fits_the_broker_with_headers_and_key(origin: str) -> None:
    """The causation is a stranger's id, up to 1,024 characters of up to 4 bytes."""
    for spare in (20_000, 6_500, 3_000, 1_000):
        big = Begun(job_id="j1", note="x" * (MESSAGE_BYTES_MAX - spare))
        story = Story(lab_saga(step("a"))).starts(big, id=origin)
        for sent in story.last.sent:
            headers = sum(len(name) + len(value) + 2 for name, value in sent.record.headers)
            assert len(sent.record.value) + len(sent.record.key or b"") + headers + 100 < MESSAGE_BYTES_MAX
        assert story.process.stuck or spare > 1_000


def largest_note(fits: Callable[[int], bool]) -> int:
    low, high = 0, MESSAGE_BYTES_MAX
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low


def test_a_new_try_that_no_longer_fits_is_stuck() -> None:
    """Its headers are longer than the first one's: they name a timer as their cause."""

    def started(size: int) -> Story:
        return Story(lab_saga(step("a"))).starts(Begun(job_id="j1", note="x" * size), id="e")

    story = started(largest_note(lambda size: not started(size).process.stuck)).sends("a").fails("a")
    story.passes(SECOND).is_stuck("a", reason="the broker takes").operator("retry").is_stuck("a")
    story.operator("compensate").ends("cancelled")


def test_a_new_attempt_of_an_undo_that_no_longer_fits_is_stuck() -> None:
    def started(size: int) -> Story:
        def undo(begun: Begun) -> Do:
            return Do(job_id=begun.job_id, step="x", note="x" * size)

        policy = Undo(undo, retry=Retry(attempts=9))
        story = Story(lab_saga(sequence(command(a_do, name="a", undo=policy), step("b")))).starts(BEGUN)
        return story.sends("a").succeeds("a").sends("b").refuses("b")

    story = started(largest_note(lambda size: not started(size).process.stuck)).undoes("a").undo_fails("a")
    story.passes(SECOND).is_stuck("a/undo", reason="the broker takes").operator("retry").is_stuck("a/undo")
    story.operator("skip").ends("compensated")


def a_do(begun: Begun) -> Do:
    return Do(job_id=begun.job_id, step="a")


def test_an_outcome_that_no_longer_fits_its_contract_makes_its_reader_stuck() -> None:
    class Narrow(Event, type="lab.done.v1"):
        job_id: Identifier
        colour: str

    class Paint(Command, type="lab.do.v1", succeeds=Narrow):
        job_id: Identifier

    def paint(begun: Begun) -> Paint:
        return Paint(job_id=begun.job_id)

    def again(painted: Narrow) -> Paint:
        return Paint(job_id=painted.job_id)

    mended = lab_saga(
        sequence(
            command(_annotated(paint, begun=Begun, returns=Paint), name="a"),
            command(_annotated(again, painted=Annotated[Narrow, From("a")], returns=Paint), name="b"),
        )
    )
    story = Story(lab_saga(sequence(step("a"), step("b", raises=BUG)))).starts(BEGUN).sends("a").succeeds("a")
    story.deploys(mended).operator("retry", "b").is_stuck("b", reason="does not fit its contract any more")


def _annotated(builder: Callable[..., Command], **hints: object) -> Callable[..., Command]:
    """Local classes cannot be named in postponed annotations."""
    builder.__annotations__ = {("return" if name == "returns" else name): hint for name, hint in hints.items()}
    return builder


def test_an_outcome_that_several_steps_captured_is_ambiguous() -> None:
    def both(done: Done) -> Do:
        return Do(job_id=done.job_id, step="b")

    body = sequence(step("a"), step("b"), command(both, name="c", irreversible=True))
    story = Story(lab_saga(body)).starts(BEGUN).sends("a").succeeds("a").sends("b").succeeds("b")
    story.is_stuck("c", reason="several steps have captured it")


def test_an_optional_outcome_is_none_where_nothing_has_captured_it() -> None:
    def builder(begun: Begun, no: Refused | None, ending: Ending | None) -> Do:
        return Do(job_id=begun.job_id, step="x", note=repr((no, ending)))

    message = made_by(builder).sends("a").command("a").message
    assert isinstance(message, Do) and message.note == "(None, None)"


def test_the_cancelled_flow_may_read_the_refusal() -> None:
    def over(begun: Begun, no: Refused, ending: Ending) -> Told:
        return Told(job_id=begun.job_id, name=no.step, reason=ending.reason)

    story = Story(lab_saga(step("a"), cancelled=emit(over))).starts(BEGUN).sends("a").refuses("a")
    assert story.emitted(Told).name == "a"
    story.ends("compensated")


# What cannot be compiled.


def nobody_yields(told_before: Told) -> Do:
    raise AssertionError


def no_such_step(done: Annotated[Done, From("zzz")]) -> Do:
    raise AssertionError


def an_event(begun: Begun) -> Told:
    raise AssertionError


def a_command(begun: Begun) -> Do:
    raise AssertionError


@pytest.mark.parametrize(
    ("body", "what"),
    [
        (command(nobody_yields), "nothing yields lab.told.v1"),
        (command(no_such_step), "nothing yields lab.done.v1"),
        (command(an_event), "not a command"),  # type: ignore[arg-type]
        (command(a_command, undo=an_event), "not a command"),  # type: ignore[arg-type]
        (command(a_command, undo=Undo(an_event)), "not a command"),  # type: ignore[arg-type]
        (emit(a_command), "not an event"),  # type: ignore[arg-type]
    ],
)
def test_a_saga_that_cannot_work_is_not_compiled(body: object, what: str) -> None:
    with pytest.raises(PlanError, match=what):
        SagaBook([lab_saga(body)])  # type: ignore[arg-type]


def test_one_version_is_defined_once() -> None:
    with pytest.raises(PlanError, match="twice"):
        SagaBook([lab_saga(step("a")), lab_saga(step("b"))])


def no_hint(begun) -> Do:  # type: ignore[no-untyped-def]
    raise AssertionError


def no_return(begun: Begun):  # type: ignore[no-untyped-def]
    raise AssertionError


def variadic(*begun: Begun) -> Do:
    raise AssertionError


def unknown_name(begun: Begunn) -> Do:  # type: ignore[name-defined]  # noqa: F821
    raise AssertionError


def two_types(begun: Begun | Done) -> Do:
    raise AssertionError


def plain(begun: int) -> Do:
    raise AssertionError


@pytest.mark.parametrize("builder", [no_hint, no_return, variadic, unknown_name, two_types, plain])
def test_annotations_that_say_nothing_are_refused(builder: Callable[..., Do]) -> None:
    with pytest.raises(SignatureError, match=builder.__name__):
        SagaBook([lab_saga(command(builder))])
