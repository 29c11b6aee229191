"""The pure parts of the scale benchmarks: what is made of what was seen."""

from __future__ import annotations

import pytest

from benchmarks import audit_share, recovery
from benchmarks.decided import Decided
from benchmarks.engines import grouped
from benchmarks.parts import percentiles, us_per_step
from benchmarks.timers_due import Rung
from benchmarks.waiting_scale import sizes_of
from contracts.envelope import Envelope, encode_headers
from contracts.ids import ORCHESTRATOR_SOURCE, partition_of
from contracts.record import IncomingRecord
from contracts.topics import INBOX, LIFECYCLE, SHARDS

FIRST, SECOND = "order-fulfilment:a", "order-fulfilment:b"
DUE_MS = 1_000_000


def command(process: str, id: str, at_ms: int) -> IncomingRecord:
    envelope = Envelope(id=id, source=ORCHESTRATOR_SOURCE, type="payment.charge.v1", process_id=process)
    key = process.partition(":")[2].encode()
    return IncomingRecord("payment.commands", 0, 0, at_ms, key, b"{}", encode_headers(envelope))


def decided(*records: IncomingRecord) -> Decided:
    found = Decided()
    for record in records:
        found.take(record)
    return found


def test_a_recovery_is_over_when_every_shard_has_decided_anew() -> None:
    assert partition_of(FIRST, SHARDS) != partition_of(SECOND, SHARDS)
    found = decided(
        command(FIRST, "1", 100), command(SECOND, "2", 200),
        command(FIRST, "3", 2_500), command(FIRST, "4", 3_000), command(SECOND, "2", 3_500),
        command(SECOND, "5", 4_000),
    )  # fmt: skip
    assert recovery.summary(found, 1_000) == {"first_seconds": 1.5, "every_seconds": 3.0}


def test_what_was_under_way_at_the_kill_is_no_recovery_and_a_silent_shard_is_none() -> None:
    found = decided(command(SECOND, "1", 200), command(SECOND, "2", 1_050), command(FIRST, "3", 2_000))
    assert recovery.summary(found, 1_000) == {"first_seconds": 1.0, "every_seconds": None}


def ring(topic: str, kind: str, key: bytes, at_ms: int) -> IncomingRecord:
    headers = encode_headers(Envelope(id="x", source="/o", type=kind))
    return IncomingRecord(topic, 0, 0, at_ms, key, b"{}", headers)


def test_how_late_timers_are() -> None:
    rung = Rung()
    for number in range(100):
        key = f"ring:r-{number}".encode()
        rung.take(ring(INBOX, "orchestrator.timer-fired.v1", key, DUE_MS + 10 * number))
        rung.take(ring(LIFECYCLE, "orchestrator.process-completed.v1", key, DUE_MS + 20 * number))
    rung.take(ring(INBOX, "orchestrator.timer-fired.v1", b"ring:r-5", DUE_MS + 9_000))
    rung.take(ring(INBOX, "orchestrator.timer-fired.v1", b"order-fulfilment:x", DUE_MS + 9_000))
    assert rung.lateness(DUE_MS) == {
        "fired": {"p50": 0.5, "p99": 0.99, "max": 0.99},
        "decided": {"p50": 1.0, "p99": 1.98, "max": 1.98},
    }
    assert rung.again == 1


def test_the_audits_share_is_the_difference_of_medians() -> None:
    turn = {"steps_per_second": 1000.0, "us_per_step": 200.0, "idle_share": 0.02}
    found = audit_share.summary(
        {"with": [turn | {"us_per_step": 202.0, "idle_share": 0.03}], "without": [turn, turn, turn]}
    )
    assert (found["share_of_processor"], found["share_of_step"]) == (0.01, 0.01)


def test_engines_count_together() -> None:
    used = {"kafka": 1.0, "router": 2.0, "engine-1": 3.0, "engine-2": 4.0}
    assert grouped(used) == {"kafka": 1.0, "router": 2.0, "engines": 7.0}
    assert us_per_step({"kafka": 1.0}, 1_000) == {"kafka": 1_000}


def test_percentiles() -> None:
    assert percentiles(range(1, 201)) == {"p50": 101, "p99": 199, "max": 200}
    with pytest.raises(IndexError):
        percentiles([])


@pytest.mark.parametrize("text", ["", "a", "5,4", "3,3", "-1"])
def test_sizes_must_ascend(text: str) -> None:
    assert sizes_of("0,10,200") == [0, 10, 200]
    with pytest.raises(ValueError, match=r"ascending|invalid literal"):
        sizes_of(text)
