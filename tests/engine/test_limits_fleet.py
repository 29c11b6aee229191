"""Many processes at one limiter, in virtual time: rates and counts are never exceeded, and all are served."""

from __future__ import annotations

from datetime import timedelta
from random import Random

import msgspec
import pytest

from orchestrator.engine.permits import LEASE_MARGIN_MS
from orchestrator.engine.process import Process, encode_process
from orchestrator.language import Concurrency, Rate, Saga, sequence
from orchestrator.testkit.inbox import FIRST_MS
from orchestrator.testkit.lab import Begun, step
from tests.engine.fleet import Fleet, Sent


def fleet(*, body: object = None, **options: object) -> Fleet:
    limit = options.pop("limit", None)
    saga = Saga(
        name="lab", version=1, starts_on=Begun, key=lambda begun: begun.job_id, body=body, limit=limit  # type: ignore[arg-type]
    )  # fmt: skip
    return Fleet(saga, **options)  # type: ignore[arg-type]


def phases(one: Fleet) -> set[str]:
    return {process.phase for name, process in one.processes.items() if name.startswith("lab:")}


@pytest.mark.parametrize("repeats", [0.0, 0.2])
def test_a_thousand_processes_through_a_rate(repeats: float) -> None:
    """All are sent, none too early: within `burst`, the rate, and how late a slot may be used."""
    all_of_them = fleet(body=step("a", limit=Rate(100, per="second")), random=Random(1), repeats=repeats)
    for number in range(1_000):
        all_of_them.starts(f"j{number}", FIRST_MS)
    all_of_them.run()
    assert phases(all_of_them) == {"completed"} and len(all_of_them.sent) == 1_000
    late_ms = 100  # timers fire up to so late here
    for window_ms in (100, 1_000, 3_000):
        assert all_of_them.most_within(window_ms) <= 100 + (window_ms + late_ms) * 100 / 1_000
    took_s = (max(sent.at_ms for sent in all_of_them.sent) - FIRST_MS) / 1_000
    assert 9 <= took_s <= 9 * (1 + 1.5 * repeats) + 0.5
    assert all_of_them.folded_again() == {name: encode_process(one) for name, one in all_of_them.processes.items()}


def test_an_outage_is_not_followed_by_a_burst() -> None:
    """No timer fires for a minute; then all that were due fire at once."""
    away = fleet(body=step("a", limit=Rate(100, per="second")), random=Random(2))
    for number in range(3_000):
        away.starts(f"j{number}", FIRST_MS)
    back_ms = FIRST_MS + 60_000
    held = away._set_timers

    def set_timers(process: Process, before: dict[str, int]) -> None:
        timers = {timer: max(due, back_ms) if away.now_ms < back_ms else due for timer, due in process.timers.items()}
        held(replace_timers(process, timers), before)

    away._set_timers = set_timers  # type: ignore[method-assign]
    away.run()
    assert phases(away) == {"completed"} and len(away.sent) == 3_000
    after = [sent for sent in away.sent if sent.at_ms >= back_ms]
    assert len(after) >= 2_900
    away.sent = after
    assert away.most_within(1_000) <= 100 + (1_000 + 100) * 100 / 1_000


def replace_timers(process: Process, timers: dict[str, int]) -> Process:

    return msgspec.structs.replace(process, timers=timers)


@pytest.mark.parametrize("repeats", [0.0, 0.3])
@pytest.mark.parametrize("place", ["step", "saga"])
def test_never_more_than_allowed_at_once(place: str, repeats: float) -> None:
    limit = Concurrency(7)
    many = fleet(
        body=step("a", limit=limit if place == "step" else None),
        limit=limit if place == "saga" else None,
        random=Random(3),
        repeats=repeats,
    )
    for number in range(300):
        many.starts(f"j{number}", FIRST_MS + number % 50)
    many.run()
    assert phases(many) == {"completed"} and len(many.sent) == 300
    assert many.most_at_once(20) == 7
    assert many.folded_again() == {name: encode_process(one) for name, one in many.processes.items()}
    (limiter,) = (one for name, one in many.processes.items() if name.startswith("limiter:"))
    assert limiter.limiter is not None and not limiter.limiter.leases and not limiter.limiter.waiting


def test_who_never_gives_back_holds_up_the_others_for_a_lease_only() -> None:
    def answer_ms(sent: Sent) -> int | None:
        return None if sent.process in ("lab:j0", "lab:j1") else 20

    poisoned = fleet(
        body=step("a", limit=Concurrency(2), patience=timedelta(minutes=1), timeout=timedelta(minutes=1)),
        random=Random(4),
        answer_ms=answer_ms,
    )
    for number in range(20):
        poisoned.starts(f"j{number}", FIRST_MS + number)
    poisoned.run()
    ended = [one.phase for name, one in poisoned.processes.items() if name.startswith("lab:")]
    assert (ended.count("completed"), len(poisoned.sent)) == (18, 20)
    freed_ms = min(sent.at_ms for sent in poisoned.sent if sent.process == "lab:j2")
    assert 60_000 + LEASE_MARGIN_MS <= freed_ms - FIRST_MS <= 60_000 + LEASE_MARGIN_MS + 1_000
    assert sum(measure.expired for measure in poisoned.measures) == 2


def test_one_limit_for_two_steps_and_two_limits_for_one() -> None:
    shared = Concurrency(3, name="provider")
    body = sequence(step("a", limit=shared), step("b", limit=(Rate(20, per="second", name="provider"), shared)))
    many = fleet(body=body, random=Random(5))
    for number in range(100):
        many.starts(f"j{number}", FIRST_MS)
    many.run()
    assert phases(many) == {"completed"} and len(many.sent) == 200
    assert many.most_at_once(20) <= 3
    assert {name for name in many.processes if name.startswith("limiter:")} == {
        "limiter:concurrency:provider",
        "limiter:rate:provider",
    }
