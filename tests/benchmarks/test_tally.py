"""What the tally of a run calls wrong."""

from __future__ import annotations

import pytest

from benchmarks.backlog import overfull
from benchmarks.tally import Tally
from contracts.envelope import Envelope, encode_headers
from contracts.record import IncomingRecord
from contracts.topics import LIFECYCLE

P = "order-fulfilment:run-1"


def record(topic: str, envelope: Envelope) -> IncomingRecord:
    return IncomingRecord(topic, 0, 0, 0, P.encode(), b"{}", encode_headers(envelope))


def phase(kind: str, id: str) -> IncomingRecord:
    return record(LIFECYCLE, Envelope(id=id, source="/o", type=f"orchestrator.process-{kind}.v1"))


def sent(id: str) -> IncomingRecord:
    envelope = Envelope(id=id, source="/o", type="payment.charge.v1", process_id=P, idempotency_key=id)
    return record("payment.commands", envelope)


def answered(id: str, cause: str) -> IncomingRecord:
    envelope = Envelope(id=id, source="/p", type="payment.captured.v1", process_id=P, causation_id=cause)
    return record("payment.events", envelope)


SOUND = [phase("started", "1"), sent("c"), sent("c"), answered("a", "c"), answered("a", "c"), phase("completed", "2")]


def problems(*records: IncomingRecord) -> list[str]:
    tally = Tally("order-fulfilment:run-")
    for one in records:
        tally.take(one)
    return tally.problems(1)


def test_the_same_message_again_is_no_second_one() -> None:
    assert problems(*SOUND) == []


@pytest.mark.parametrize(
    ("records", "problem"),
    [
        (SOUND[1:], "1 of 1 orders have not started"),
        (SOUND[:-1], "1 of 1 processes have not ended"),
        ([*SOUND, phase("compensated", "3")], "1 processes have ended twice"),
        ([*SOUND, answered("b", "c")], "1 commands have two answers"),
        ([*SOUND, sent("d")], "1 commands have no answer"),
        ([*SOUND, answered("a", "x")], "1 answers are to commands that nobody sent"),
    ],
)
def test_what_is_wrong_is_told(records: list[IncomingRecord], problem: str) -> None:
    assert problems(*records) == [problem]


def test_what_others_do_does_not_count() -> None:
    other = sent("z")._replace(headers=encode_headers(Envelope(id="z", source="/o", type="t.t.v1", process_id="x:1")))
    assert problems(*SOUND, other) == []


def test_a_queue_above_its_limit_is_told() -> None:
    assert overfull({"a": {"peak": 5, "limit": 5}, "b": {"peak": 6, "limit": 5}}) == ["b was 6 long, its limit is 5"]
