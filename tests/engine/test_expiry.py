"""What has ended is forgotten by timers in the log: first what it was, later that it was there."""

from __future__ import annotations

from datetime import timedelta

import msgspec
import pytest

from contracts.envelope import Envelope, decode_headers, encode_headers
from contracts.process import OperatorAction, SignalSent
from contracts.record import IncomingRecord
from contracts.topics import DAY_MS, INBOX, ORCHESTRATOR_DEAD_LETTERS, RETENTION_MS, TOMBSTONE_MS
from orchestrator.engine.book import SagaBook
from orchestrator.engine.decide import decide
from orchestrator.engine.decision import Decision
from orchestrator.engine.expiry import EXPIRY_TIMER, KEEP_ENDED_MS, may_expire
from orchestrator.engine.inputs import AT_HEADER, SAGA_HEADER, VERSION_HEADER, Input, InputError, read_input
from orchestrator.engine.process import Process, decode_process, encode_process
from orchestrator.language import Saga, pivot, sequence
from orchestrator.language.saga import SagaError
from orchestrator.testkit.inbox import FIRST_MS, Inbox
from orchestrator.testkit.lab import Begun, Done, Refused, Reverted, lab_saga, step, told

SAGA = lab_saga(sequence(step("a"), step("b")))
BEGUN = Begun(job_id="j1")


class Case:
    """One process, input by input; `process` is what is kept."""

    def __init__(self, *sagas: Saga) -> None:
        self.book = SagaBook(sagas or (SAGA,))
        self.inbox = Inbox("lab:j1", "lab", 1)
        self.process: Process | None = None

    def feed(self, item: Input) -> Decision:
        decision = decide(self.book, self.process, item)
        kept = decision.process
        self.process = None if kept is None else decode_process(encode_process(kept))
        assert self.process == kept
        return decision

    def ended(self) -> Case:
        self.feed(self.inbox.start(BEGUN, id="s", source="/lab"))
        for name in "ab":
            self.feed(self.inbox.answer(Done(job_id="j1", step=name), f"lab:j1/{name}/1"))
        assert self.kept.phase == "completed"
        return self

    def expired(self) -> Case:
        self.ended().expire(KEEP_ENDED_MS)
        assert self.kept.phase == "expired"
        return self

    @property
    def kept(self) -> Process:
        assert self.process is not None
        return self.process

    def expire(self, after_ms: int) -> Decision:
        self.inbox.now_ms = self.kept.updated_at_ms + after_ms
        return self.feed(self.inbox.timer(EXPIRY_TIMER, self.inbox.now_ms))


def test_an_ended_process_is_kept_for_seven_days() -> None:
    case = Case().ended()
    assert case.kept.expires_at_ms == case.kept.updated_at_ms + 7 * DAY_MS
    assert case.kept.timers == {}, "it waits for nothing"
    decision = case.expire(KEEP_ENDED_MS - 1)
    assert (decision.result, decision.reason, case.kept.phase) == ("ignored", "premature", "completed")
    assert decision.history is not None
    decision = case.expire(KEEP_ENDED_MS)
    assert (decision.result, decision.forget, decision.history, decision.effects) == ("applied", True, None, ())


def test_a_saga_may_keep_its_processes_longer() -> None:
    saga = Saga(
        name="lab", version=1, starts_on=Begun, key=lambda begun: begun.job_id, body=told("t"),
        keep_ended=timedelta(days=30),
    )  # fmt: skip
    case = Case(saga)
    case.feed(case.inbox.start(BEGUN, id="s", source="/lab"))
    assert case.kept.expires_at_ms == FIRST_MS + 30 * DAY_MS


def test_a_process_is_not_kept_for_nothing() -> None:
    with pytest.raises(SagaError, match="keep_ended"):
        Saga(name="lab", version=1, starts_on=Begun, key=lambda b: b.job_id, body=told("t"), keep_ended=timedelta(0))


def test_a_tombstone_has_at_most_200_bytes() -> None:
    case = Case().expired()
    long = msgspec.structs.replace(
        case.kept, id=f"order-fulfilment:{'1' * 36}", saga="order-fulfilment", version=100, ended="compensated"
    )
    assert len(encode_process(long)) <= 200
    assert case.kept.history_length == 0


def test_what_comes_for_a_tombstone_is_ignored_and_a_success_alerts() -> None:
    case = Case().expired()
    before = case.kept
    late = case.feed(case.inbox.answer(Done(job_id="j1", step="a"), "lab:j1/a/1"))
    assert (late.result, late.reason, late.alerts) == ("ignored", "expired", ("success-without-process",))
    refused = case.feed(case.inbox.answer(Refused(job_id="j1", step="a"), "lab:j1/a/1"))
    assert (refused.reason, refused.alerts) == ("expired", ())
    action = OperatorAction(process_id="lab:j1", action="retry", revision=1, operator="ann")
    assert case.feed(case.inbox.operator(action)).reason == "expired"
    assert case.kept == before


def test_a_start_of_what_has_ended_is_ignored_and_remembered_for_as_long_as_it_can_come_again() -> None:
    case = Case().expired()
    case.inbox.now_ms += TOMBSTONE_MS - 1_000
    decision = case.feed(case.inbox.start(BEGUN, id="again", source="/lab"))
    assert (decision.result, decision.reason, decision.effects) == ("ignored", "already-ended", ())
    assert case.kept.expires_at_ms == case.inbox.now_ms + TOMBSTONE_MS >= case.inbox.now_ms + RETENTION_MS


def test_a_tombstone_ends_too() -> None:
    case = Case().expired()
    assert case.expire(TOMBSTONE_MS - 1).reason == "premature"
    decision = case.expire(TOMBSTONE_MS)
    assert (decision.result, decision.process, decision.forget) == ("applied", None, True)


def test_no_definition_is_needed_to_forget() -> None:
    """The version may be gone from the build: nothing pins it any more."""
    case = Case().ended()
    case.book = SagaBook([])
    case.expire(KEEP_ENDED_MS)
    assert case.expire(TOMBSTONE_MS).process is None


def test_what_still_undoes_something_is_not_forgotten() -> None:
    case = Case(lab_saga(sequence(step("a"), step("b"))))
    case.feed(case.inbox.start(BEGUN, id="s", source="/lab"))
    case.inbox.now_ms += 16 * 60_000
    for _ in range(3):
        due = min(case.kept.timers.items(), key=lambda one: one[1])
        case.inbox.now_ms = max(case.inbox.now_ms, due[1])
        case.feed(case.inbox.timer(*due))
        if case.kept.cause:
            break
    case.feed(case.inbox.answer(Reverted(job_id="j1", step="a"), "lab:j1/a/undo/1"))
    assert may_expire(case.kept)
    case.feed(case.inbox.answer(Done(job_id="j1", step="a"), "lab:j1/a/1"))
    assert case.kept.ended and case.kept.awaited() and not may_expire(case.kept)

    decision = case.expire(KEEP_ENDED_MS)
    assert (decision.result, case.kept.phase, case.kept.expires_at_ms) == ("applied", "compensated", 0)
    case.feed(case.inbox.answer(Reverted(job_id="j1", step="a"), "lab:j1/a/undo/2"))
    assert case.kept.expires_at_ms == case.kept.updated_at_ms + KEEP_ENDED_MS


def test_what_is_stuck_is_not_forgotten() -> None:
    case = Case(lab_saga(sequence(step("a"), pivot(), step("b", undo=False), told("t", raises=ValueError()))))
    case.feed(case.inbox.start(BEGUN, id="s", source="/lab"))
    for name in "ab":
        case.feed(case.inbox.answer(Done(job_id="j1", step=name), f"lab:j1/{name}/1"))
    assert case.kept.phase == "stuck" and not case.kept.expires_at_ms


def test_states_of_before_there_was_an_expiry_get_one_when_they_are_asked() -> None:
    case = Case().ended()
    case.process = msgspec.structs.replace(case.kept, expires_at_ms=0)
    decision = case.expire(5)
    assert (decision.result, case.kept.expires_at_ms) == ("applied", case.kept.updated_at_ms + KEEP_ENDED_MS)
    assert decision.history is not None and case.kept.history_length == 4


def test_a_running_process_has_no_expiry() -> None:
    case = Case()
    case.feed(case.inbox.start(BEGUN, id="s", source="/lab"))
    assert case.expire(KEEP_ENDED_MS).reason == "stale"


def test_what_was_kept_for_a_process_that_never_began_is_forgotten() -> None:
    from tests.engine.test_waits import GOODS, arrival

    case = Case(lab_saga(sequence(arrival())))
    case.feed(case.inbox.observed(GOODS, id="g", source="/dock"))
    case.inbox.advance(timedelta(hours=24))
    case.feed(case.inbox.timer("early", case.inbox.now_ms))
    assert (case.kept.early, case.kept.timers) == ((), {}) and case.kept.expires_at_ms
    assert case.expire(KEEP_ENDED_MS - 1).reason == "premature"
    case.feed(case.inbox.observed(GOODS, id="g2", source="/dock"))
    assert case.kept.expires_at_ms == 0, "there is something to wait for again"
    case.inbox.advance(timedelta(hours=24))
    case.feed(case.inbox.timer("early", case.inbox.now_ms))
    decision = case.expire(KEEP_ENDED_MS)
    assert (decision.process, decision.forget) == (None, True)


def stamped(at_ms: int, origin: bytes, key: str = "lab:j1") -> IncomingRecord:
    envelope = Envelope(id="s", source="/lab", type=BEGUN.type)
    stamp = ((SAGA_HEADER, b"lab"), (VERSION_HEADER, b"1"), (AT_HEADER, origin))
    return IncomingRecord(INBOX, 0, 7, at_ms, key.encode(), BEGUN.to_json(), (*encode_headers(envelope), *stamp))


def test_a_start_that_is_older_than_the_memory_of_what_has_ended_is_given_up() -> None:
    case = Case()
    old = stamped(FIRST_MS, b"%d" % (FIRST_MS - TOMBSTONE_MS - 1))
    decision = case.feed(read_input(old))
    assert (decision.process, decision.result, decision.reason) == (None, "ignored", "too-old")
    (letter,) = decision.effects
    headers = dict(letter.headers)
    assert (letter.topic, letter.key, letter.value) == (ORCHESTRATOR_DEAD_LETTERS, b"j1", old.value)
    assert (headers["dl_reason"], headers["dl_offset"]) == (b"too-old", b"7")
    assert decode_headers(letter.headers).id == "s" and AT_HEADER not in headers
    young = case.feed(read_input(stamped(FIRST_MS, b"%d" % (FIRST_MS - TOMBSTONE_MS))))
    assert young.process is not None and young.process.phase == "running"


@pytest.mark.parametrize("origin", [b"", b"x", b"-1", b"9" * 16])
def test_a_stamp_that_is_no_time_is_no_stamp_of_ours(origin: bytes) -> None:
    with pytest.raises(InputError, match="bad-stamp"):
        read_input(stamped(FIRST_MS, origin))


def test_a_signal_for_a_tombstone_is_stamped_and_starts_nothing() -> None:
    case = Case().expired()
    sent = SignalSent(process_id="lab:j1", signal="x")
    headers = (*encode_headers(Envelope(id="x", source="/o", type=sent.type)), (SAGA_HEADER, b"lab"))
    item = read_input(
        IncomingRecord(INBOX, 0, 9, case.inbox.now_ms, b"lab:j1", sent.to_json(), (*headers, (VERSION_HEADER, b"1")))
    )
    assert case.feed(item).reason == "already-ended"
