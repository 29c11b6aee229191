"""What an outsider makes of the topics: every message once, ends and dead letters as they are."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from contracts.envelope import Envelope, encode_headers
from contracts.inventory import StockChanged
from contracts.message import Event
from contracts.orders import OrderCancelled
from contracts.payment import PaymentCaptured
from contracts.process import ProcessCompensated, ProcessStarted
from contracts.record import IncomingRecord
from contracts.technical import CommandFailed
from deploy.demo.observation import DeadLetter, Observation
from deploy.demo.tally import counted, percentile, process_durations_ms, steps_per_second

AT = datetime(2026, 1, 1, tzinfo=UTC)
PROCESS = "order-fulfilment:o1"


def record(
    event: Event, message_id: str, at_ms: int = 0, causation: str | None = None, process: str | None = None
) -> IncomingRecord:
    envelope = Envelope(id=message_id, source="/s", type=event.type, process_id=process, causation_id=causation)
    topic = event.topic if event.topic != "counterpoint.events" else "payment.events"
    return IncomingRecord(topic, 0, 0, at_ms, event.key.encode(), event.to_json(), encode_headers(envelope))


def started() -> ProcessStarted:
    return ProcessStarted(process_id=PROCESS, saga="order-fulfilment", version=1, phase="running", at=AT)


def compensated() -> ProcessCompensated:
    return ProcessCompensated(process_id=PROCESS, saga="order-fulfilment", version=1, phase="compensated", at=AT)


def test_a_repeated_message_counts_once_and_an_old_one_does_not_turn_time_back() -> None:
    seen = Observation()
    cancelled = OrderCancelled(order_id="o1", customer_id="c", reason="refused")
    for one in (
        record(started(), "p/1", 10),
        record(cancelled, "c", 20),
        record(compensated(), "p/2", 30),
        record(started(), "p/1", 40),
        record(cancelled, "c", 50),
        record(compensated(), "p/2", 60),
    ):
        seen.take(one)
    assert seen.endings == {"o1": ["cancelled"]}
    assert seen.phases == {PROCESS: "compensated"}
    assert seen.ended_ms == {PROCESS: 30}


def test_two_announcements_with_different_ids_are_two() -> None:
    seen = Observation()
    for message_id in ("one", "two"):
        seen.take(record(OrderCancelled(order_id="o1", customer_id="c", reason="refused"), message_id))
    assert seen.endings == {"o1": ["cancelled", "cancelled"]}


def test_answers_are_counted_by_the_command_that_they_answer() -> None:
    seen = Observation()
    captured = PaymentCaptured(order_id="o1", payment_id="p", amount_cents=1, currency="USD")
    failed = CommandFailed(command_type="t", code="timed-out", message="m", effect="unknown", retryable=False)
    seen.take(record(captured, "a", causation="c/1", process=PROCESS))
    seen.take(record(captured, "b", causation="c/1", process=PROCESS))
    seen.take(record(captured, "no-answer"))
    seen.take(record(failed, "f", causation="c/2", process=PROCESS))
    assert seen.answered_ms == {"c/1": 0, "c/2": 0}
    assert seen.failure_codes == {"c/2": "timed-out"}


def test_the_highest_revision_of_a_shelf_counts() -> None:
    seen = Observation()
    for revision, on_hand in ((1, 10), (3, 7), (2, 9)):
        change = StockChanged(
            sku="s", warehouse="east", on_hand=on_hand, reserved=0, revision=revision, changed_at=AT + timedelta(0)
        )
        seen.take(record(change, f"r{revision}"))
    assert seen.shelves == {("s", "east"): (3, 7, 0)}


def test_dead_letters_are_kept_with_reason_and_origin_and_bad_records_are_stepped_over() -> None:
    seen = Observation()
    headers = tuple(
        (name, value.encode())
        for name, value in {
            "dl_reason": "invalid-json",
            "dl_topic": "orders.events",
            "dl_partition": "3",
            "dl_offset": "9",
            "dl_service": "orchestrator",
        }.items()
    )
    seen.take(IncomingRecord("orchestrator.dead-letters", 0, 0, 0, None, b"{", headers))
    seen.take(IncomingRecord("orders.events", 0, 0, 0, None, b"{", ()))
    seen.take(IncomingRecord("orders.events", 0, 0, 0, None, None, ()))
    seen.take(IncomingRecord("orders.events", 0, 0, 0, None, b"[]", ()))
    assert seen.dead_letters == [DeadLetter("orchestrator", "invalid-json", ("orders.events", 3, 9))]
    assert seen.records == 4


def test_percentiles_are_by_nearest_rank() -> None:
    hundred = list(range(1, 101))
    assert (percentile(hundred, 50), percentile(hundred, 99), percentile(hundred, 100)) == (50, 99, 100)
    assert (percentile([5], 99), percentile([], 50)) == (5, 0)


def test_durations_and_speed_are_from_append_to_append() -> None:
    seen = Observation()
    for number in range(4):
        seen.starts(f"p{number}", 1_000 * number)
        seen.ended_ms[f"p{number}"] = 1_000 * number + 100 - number
    seen.starts("never-ended", 0)
    assert process_durations_ms(seen) == [97, 98, 99, 100]


def test_speed_is_over_99_of_100_answers_so_that_a_silent_provider_does_not_count() -> None:
    seen = Observation()
    seen.starts("p", 1_000)
    seen.answered_ms = {str(number): 1_000 + 10 * (number + 1) for number in range(99)} | {"silent": 60_000}
    assert round(steps_per_second(seen), 1) == 100.0
    assert steps_per_second(Observation()) == 0.0


def test_counts_are_told_the_most_frequent_first() -> None:
    assert counted({"stale": 1, "duplicate": 3, "odd": 1}) == "3 duplicate, 1 odd, 1 stale"
