"""What counts as a new decision, and how long there was none."""

from __future__ import annotations

from contracts.envelope import Envelope, encode_headers
from contracts.record import IncomingRecord
from deploy.chaos.decisions import ENGINE_SOURCE, PROBE_TYPE, Decisions, is_decided


def record(id: str, at_ms: int, source: str = ENGINE_SOURCE, type: str = "payment.charge.v1") -> IncomingRecord:
    headers = encode_headers(Envelope(id=id, source=source, type=type))
    return IncomingRecord("payment.commands", 0, at_ms, at_ms, b"o1", b"{}", headers)


def fold(*records: IncomingRecord) -> Decisions:
    decisions = Decisions()
    for one in records:
        decisions.take(one)
    return decisions


def test_a_repeat_a_probe_and_a_stranger_are_no_decisions() -> None:
    decisions = fold(
        record("p/charge/1", 1_000),
        record("p/charge/1", 2_000),
        record("probe", 3_000, type=PROBE_TYPE),
        record("other", 4_000, source="/shop/web"),
    )
    assert decisions.count == 1
    assert decisions.first_after_ms(1_001) is None


def test_a_record_that_is_no_cloud_event_is_passed() -> None:
    assert fold(IncomingRecord("payment.commands", 0, 0, 1_000, None, b"", ())).count == 0


def test_the_first_decision_after_a_moment_is_found_whatever_order_the_topics_were_read_in() -> None:
    decisions = fold(record("b", 2_000), record("c", 3_000), record("a", 1_000))
    assert decisions.first_after_ms(0) == 1_000
    assert decisions.first_after_ms(1_500) == 2_000
    assert decisions.first_after_ms(3_000) == 3_000


def test_the_longest_pause_reaches_over_both_ends_of_the_window() -> None:
    decisions = fold(*(record(f"{at}", at) for at in (0, 1_000, 1_100, 5_000, 5_100, 20_000)))
    assert decisions.longest_pause_ms(1_050, 1_060) == 100
    assert decisions.longest_pause_ms(1_200, 2_000) == 3_900
    assert decisions.longest_pause_ms(5_050, 5_060) == 100
    assert decisions.longest_pause_ms(30_000, 40_000) == 0


def test_commands_and_the_lifecycle_are_decided_and_events_are_not() -> None:
    assert is_decided("payment.commands")
    assert is_decided("orchestrator.events")
    assert not is_decided("payment.events")
