"""Inputs that start nothing, start again, answer nobody, come early or come twice: each has its fate."""

from __future__ import annotations

import dataclasses
from datetime import timedelta

import msgspec
import pytest

from contracts.envelope import Envelope, encode_headers
from contracts.process import OperatorAction, TimerFired
from contracts.record import IncomingRecord
from contracts.technical import CommandFailed
from orchestrator.engine.book import SagaBook, UnknownVersion
from orchestrator.engine.decide import decide
from orchestrator.engine.history import HISTORY_MAX, decode_entry, entry_json
from orchestrator.engine.inputs import Input, InputError, read_input
from orchestrator.language import sequence
from orchestrator.testkit import Story
from orchestrator.testkit.inbox import Inbox
from orchestrator.testkit.lab import Begun, Done, Refused, lab_saga, step

BEGUN = Begun(job_id="j1")
SAGA = lab_saga(sequence(step("a"), step("b")))
BOOK = SagaBook([SAGA])


def started() -> Story:
    return Story(SAGA).starts(BEGUN, id="e1", source="/shop").sends("a")


# A start that comes again.


def test_the_same_start_again_is_a_duplicate() -> None:
    started().repeats().ignored("duplicate-start").starts(BEGUN, id="e1", source="/shop").ignored("duplicate-start")


def test_the_same_start_with_another_payload_is_a_conflict() -> None:
    story = started().starts(Begun(job_id="j1", note="other"), id="e1", source="/shop").ignored("conflicting-start")
    story.goes_on()


def test_the_same_id_of_another_producer_is_another_message() -> None:
    story = started().starts(BEGUN, id="e1", source="/elsewhere").ignored("already-started")
    story.starts(Begun(job_id="j1", note="other"), id="e1", source="/elsewhere").ignored("conflicting-start")


def test_another_message_with_the_same_payload_has_already_started_it() -> None:
    started().starts(BEGUN, id="e2", source="/shop").ignored("already-started")


def test_a_start_after_the_end_starts_nothing() -> None:
    story = started().refuses("a").ends("compensated").starts(BEGUN, id="e1", source="/shop")
    story.ignored("duplicate-start").ends("compensated")


def test_a_newer_stamp_does_not_move_a_running_process() -> None:
    story = started().starts(BEGUN, id="e1", source="/shop", version=2)
    assert story.ignored("duplicate-start").process.version == 1


# Without a process.


def lonely() -> Inbox:
    return Inbox("lab:j1", "lab", 1)


@pytest.mark.parametrize(
    ("event", "alerts"),
    [
        (Done(job_id="j1", step="a"), ("success-without-process",)),
        (Refused(job_id="j1", step="a"), ()),
        (CommandFailed(command_type="x", code="x", message="", effect="none", retryable=True), ()),
    ],
)
def test_an_outcome_without_a_process_is_ignored_and_a_success_alerts(event: Done, alerts: tuple[str, ...]) -> None:
    decision = decide(BOOK, None, lonely().answer(event, "lab:j1/a/1"))
    assert (decision.process, decision.result, decision.reason) == (None, "ignored", "no-process")
    assert (decision.effects, decision.history, decision.alerts) == ((), None, alerts)


def test_timers_and_operators_without_a_process_are_ignored() -> None:
    action = OperatorAction(process_id="lab:j1", action="retry", revision=1, operator="ann")
    for item in (lonely().timer("a/silence", 5), lonely().operator(action)):
        decision = decide(BOOK, None, item)
        assert (decision.process, decision.reason, decision.alerts) == (None, "no-process", ())


@pytest.mark.parametrize("data", [b"{}", b"", b"nonsense", b'{"job_id":"a:b"}', b"[" * 100_000])
def test_a_start_against_its_contract_starts_nothing(data: bytes) -> None:
    item = lonely().start(BEGUN, id="e1", source="/shop")
    broken = Input(item.offset, item.at_ms, item.process_id, item.envelope, data, item.saga, item.version)
    decision = decide(BOOK, None, broken)
    assert (decision.process, decision.reason) == (None, "invalid-payload")


def test_a_stamped_event_that_the_saga_does_not_start_on_starts_nothing() -> None:
    item = lonely().start(Done(job_id="j1", step="a"), id="e1", source="/shop")
    assert decide(BOOK, None, item).reason == "no-process"


def test_a_version_that_this_build_lacks_is_raised() -> None:
    with pytest.raises(UnknownVersion, match="version 2"):
        decide(BOOK, None, lonely().start(BEGUN, id="e1", source="/shop", version=2))
    process = started().process
    with pytest.raises(UnknownVersion, match="version 7"):
        decide(BOOK, msgspec.structs.replace(process, version=7), lonely().timer("a/silence", 1))


# Timers.


def test_a_timer_that_is_early_stays_set_and_one_that_is_not_set_is_stale() -> None:
    story = started().timer_fires("a/silence").ignored("premature").timer_fires("b/silence").ignored("stale")
    story.timer_fires("nonsense").ignored("stale").timer_fires("a/undo/1/silence").ignored("stale")
    assert set(story.process.timers) == {"a/silence"}
    story.silent("a").undoes("a").timer_fires("a/silence").ignored("stale")


def test_a_timer_that_fires_twice_counts_once() -> None:
    story = started()
    story.without_clock(timedelta(seconds=30)).timer_fires("a/silence").resends("a").repeats().ignored("premature")


def test_a_malformed_timer_is_ignored() -> None:
    envelope = Envelope(id="x", source="/test", type=TimerFired.type)
    started().receives(envelope, b"{}").ignored("invalid-payload")


def test_time_never_runs_backwards() -> None:
    story = started()
    story.without_clock(timedelta(minutes=-1)).succeeds("a").sends("b")
    assert story.process.updated_at_ms == story.process.started_at_ms
    assert story.process.timers["b/silence"] == story.process.started_at_ms + 30_000


# Anything else.


@pytest.mark.parametrize(
    "envelope",
    [
        Envelope(id="x", source="/test", type="lab.done.v1"),
        Envelope(id="x", source="/test", type="lab.done.v1", process_id="lab:j1"),
        Envelope(id="x", source="/test", type="lab.done.v1", causation_id="lab:j1/a/1"),
        Envelope(id="x", source="/test", type="lab.begun.v1"),
        Envelope(id="x", source="/test", type="who.knows.v1"),
    ],
)
def test_what_has_no_process_id_and_causation_is_never_an_outcome(envelope: Envelope) -> None:
    started().receives(envelope, Done(job_id="j1", step="a").to_json()).ignored("unexpected-type").goes_on()


def test_every_input_is_in_the_history_with_its_body() -> None:
    story = started().succeeds("a", Done(job_id="j1", step="a", mark="m")).sends("b").repeats().ignored("duplicate")
    entries = [decode_entry(fed.decision.history) for fed in story.fed if fed.decision.history]
    assert [(entry.result, entry.reason) for entry in entries] == [
        ("applied", None),
        ("applied", None),
        ("ignored", "duplicate"),
    ]
    shown = entry_json(entries[1])
    assert shown["input"]["data"] == {"job_id": "j1", "step": "a", "mark": "m"}
    assert shown["input"]["causation_id"] == "lab:j1/a/1"
    assert shown["effects"][0]["id"] == "lab:j1/b/1"
    assert shown["effects"][0]["data"] == {"job_id": "j1", "step": "b", "note": ""}


def test_a_body_that_is_no_json_is_shown_as_text() -> None:
    story = started().answers("lab:j1/a/1", Done(job_id="j1", step="a"), data=b"\xffoh").ignored("invalid-payload")
    assert story.last.decision.history is not None
    assert entry_json(decode_entry(story.last.decision.history))["input"]["data"] == "\ufffdoh"


def test_the_book_says_who_starts_on_what_with_the_newest_version() -> None:
    newer = dataclasses.replace(SAGA, version=2)
    book = SagaBook([newer, SAGA])
    (route,) = book.routes(Begun.type)
    assert (route.saga, route.version, route.key(BEGUN)) == ("lab", 2, "j1")
    assert book.routes("lab.done.v1") == ()
    assert [plan.saga.version for plan in book.plans()] == [2, 1]
    assert book.success_types == {"lab.done.v1", "lab.done-else.v1", "lab.reverted.v1"}


def test_a_full_history_keeps_only_what_was_applied() -> None:
    story = started()
    full = msgspec.structs.replace(story.process, history_length=HISTORY_MAX)
    ignored = decide(BOOK, full, lonely().timer("nonsense", 1))
    assert (ignored.history, ignored.process, ignored.reason) == (None, full, "stale")
    applied = decide(BOOK, full, lonely().answer(Done(job_id="j1", step="a"), "lab:j1/a/1"))
    assert applied.history is not None


# Reading records.


def record(**changes: object) -> IncomingRecord:
    headers = encode_headers(Envelope(id="x", source="/test", type="lab.done.v1"))
    fields: dict[str, object] = {"key": b"lab:j1", "value": b"{}", "headers": headers}
    fields |= changes
    return IncomingRecord("orchestrator.inbox", 0, 7, 1_000, **fields)  # type: ignore[arg-type]


def test_a_record_is_read_as_an_input() -> None:
    stamped = record(headers=(*record().headers, ("cp_saga", b"lab"), ("cp_version", b"12")))
    item = read_input(stamped)
    assert (item.offset, item.at_ms, item.process_id, item.saga, item.version) == (7, 1_000, "lab:j1", "lab", 12)


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"key": None}, "missing-key"),
        ({"key": b""}, "missing-key"),
        ({"key": b"\xff"}, "bad-key"),
        ({"value": None}, "missing-value"),
        ({"headers": ()}, "missing-attribute"),
        ({"headers": (*record().headers, ("cp_version", b"one"))}, "bad-stamp"),
        ({"headers": (*record().headers, ("cp_version", "٣".encode()))}, "bad-stamp"),
        ({"headers": (*record().headers, ("cp_version", b"9" * 5_000))}, "bad-stamp"),
        ({"headers": (*record().headers, ("cp_version", None))}, "bad-stamp"),
    ],
)
def test_a_record_that_is_no_input_says_why(changes: dict[str, object], code: str) -> None:
    with pytest.raises(InputError) as caught:
        read_input(record(**changes))
    assert caught.value.code == code
