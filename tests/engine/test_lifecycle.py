"""What the world is told about a process: which events, in which order, with which ids; and what its trace is."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.process import ProcessCompensating, ProcessCompleted, ProcessLifecycle, ProcessStarted
from orchestrator.engine.effects import child_traceparent, first_traceparent
from orchestrator.engine.lifecycle import lifecycle_json
from orchestrator.engine.process import Process
from orchestrator.language import Retry, parallel, pivot, sequence
from orchestrator.testkit import Story
from orchestrator.testkit.lab import Begun, Told, lab_saga, step, told, told_ending

BEGUN = Begun(job_id="j1")
ONCE = Retry(attempts=1)


def announced(story: Story) -> list[tuple[str, str, str | None, str | None]]:
    """(id, phase, step, reason) of everything so far."""
    found: list[tuple[str, str, str | None, str | None]] = []
    for fed in story.fed:
        for sent in fed.sent:
            if sent.kind == "lifecycle":
                event = sent.message
                assert isinstance(event, ProcessLifecycle)
                assert (event.process_id, event.saga, event.version) == ("lab:j1", "lab", 1)
                assert event.at == datetime.fromtimestamp(fed.after.updated_at_ms / 1000, UTC)  # type: ignore[union-attr]
                assert sent.record.topic == "orchestrator.events"
                assert sent.record.key == b"lab:j1"
                assert sent.envelope.process_id is None  # only a command's outcome carries one
                found.append((sent.id.removeprefix("lab:j1/phase/"), event.phase, event.step, event.reason))
    return found


def test_a_process_that_completes() -> None:
    story = Story(lab_saga(step("a"))).starts(BEGUN).sends("a").succeeds("a").ends("completed")
    assert announced(story) == [("1.0", "running", None, None), ("2.0", "completed", None, None)]


def test_a_process_that_is_undone() -> None:
    story = Story(lab_saga(parallel(step("a"), step("b")), cancelled=told_ending())).starts(BEGUN).sends("a", "b")
    story.succeeds("a").refuses("b").undoes("a").undone("a").emitted(Told)
    assert announced(story) == [
        ("1.0", "running", None, None),
        ("3.0", "compensating", "b", "refused"),
        ("4.0", "compensated", "b", "refused"),
    ]


def test_a_process_that_is_stuck_twice_and_goes_on_once() -> None:
    body = sequence(pivot(), parallel(step("a", retry=ONCE), step("b")))
    story = Story(lab_saga(body)).starts(BEGUN).sends("a", "b").fails("a").silent("b")
    story.operator("retry", "a").sends("a").succeeds("a").late("b").ends("completed")
    assert announced(story)[1:] == [
        ("2.0", "stuck", "a", "failed"),
        (announced(story)[2][0], "stuck", "b", "silent"),
        (f"{story.process.revision}.0", "running", None, None),  # resumed
        (f"{story.process.revision}.1", "completed", None, None),
    ]
    story.announces("resumed", "completed")


def test_a_process_that_does_everything_in_one_turn() -> None:
    story = Story(lab_saga(sequence(told("one"), pivot(), told("two")))).starts(BEGUN)
    assert [sent.id for sent in story.last.sent] == ["lab:j1/one", "lab:j1/two", "lab:j1/phase/1.0", "lab:j1/phase/1.1"]
    assert story.last.sent[0].envelope.process_id is None
    assert [measure.outcome for measure in story.last.decision.measures] == ["completed"]


def test_an_ended_process_that_is_stuck_and_resumes_says_in_which_phase_it_is() -> None:
    body = step("a", undo_policy={"retry": ONCE})
    story = Story(lab_saga(body)).starts(BEGUN).sends("a").silent("a").undoes("a").undone("a").ends("compensated")
    story.late("a").undoes("a").undo_fails("a").operator("skip").ends("compensated")
    assert [(phase, step) for _, phase, step, _ in announced(story)] == [
        ("running", None),
        ("compensating", "a"),
        ("compensated", "a"),
        ("stuck", "a/undo"),
        ("compensated", None),  # resumed
    ]


def test_durations_are_measured_from_the_first_send() -> None:
    story = Story(lab_saga(sequence(step("a"), step("b")))).starts(BEGUN).sends("a")
    story.silent("a")
    measure = story.last.decision.measures[0]
    assert (measure.kind, measure.saga, measure.name, measure.outcome) == ("step", "lab", "a", "silent")
    assert measure.duration_ms == 15 * 60 * 1000


GIVEN = "00-0123456789abcdef0123456789abcdef-0123456789abcdef-01"


def test_a_trace_goes_on_and_every_message_has_a_span_of_its_own() -> None:
    assert first_traceparent(GIVEN, "p") == GIVEN
    child = child_traceparent(GIVEN, "x")
    assert child.startswith("00-0123456789abcdef0123456789abcdef-") and child.endswith("-01") and child != GIVEN
    assert child == child_traceparent(GIVEN, "x") != child_traceparent(GIVEN, "y")


@pytest.mark.parametrize("given", [None, "", "x" * 55, GIVEN.upper(), "-" * 55, GIVEN.replace("0", "ö"), GIVEN + "\n"])
def test_a_trace_that_is_none_is_replaced_by_one_made_from_the_process_id(given: str | None) -> None:
    made = first_traceparent(given, "p")
    assert made == first_traceparent(None, "p") != first_traceparent(None, "q")
    assert first_traceparent(made, "x") == made


WORDS = st.none() | st.text(min_size=1, max_size=20)


@settings(derandomize=True, max_examples=300, deadline=None, database=None)
@given(
    st.sampled_from([ProcessStarted, ProcessCompensating, ProcessCompleted]),
    st.text(min_size=1, max_size=20),
    WORDS,
    WORDS,
    st.integers(0, 253_402_300_799_999),
)
def test_what_is_written_without_the_contract_is_what_the_contract_writes(
    event: type[ProcessLifecycle], name: str, step: str | None, reason: str | None, now_ms: int
) -> None:
    """Byte for byte, up to the end of the year 9999: a message that is sent again is the same one."""
    process = Process(id=name, saga="lab", version=3, phase="running", started_at_ms=0, updated_at_ms=0)
    at = datetime.fromtimestamp(now_ms / 1000, UTC)
    said = event(process_id=name, saga="lab", version=3, phase="running", step=step, reason=reason, at=at)
    assert lifecycle_json(event, process, "running", step, reason, now_ms) == said.to_json()
