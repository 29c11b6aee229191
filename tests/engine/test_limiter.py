"""The limiter's own transitions, and many processes at one limiter."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.envelope import Envelope, decode_headers
from contracts.ids import ORCHESTRATOR_SOURCE, partition_of
from contracts.limits import PermitDeferred, PermitGranted, PermitReleased, PermitRequested
from contracts.message import Message
from contracts.process import TimerFired
from contracts.topics import INBOX, SHARDS
from orchestrator.engine import limiter as module
from orchestrator.engine.book import SagaBook
from orchestrator.engine.decide import decide
from orchestrator.engine.decision import Decision, LimiterMeasure
from orchestrator.engine.inputs import Input
from orchestrator.engine.limiter import DEFER_MS, LEASE_TIMER, limiter_id, next_slot, requester_of
from orchestrator.engine.process import Process, decode_process, encode_process
from orchestrator.engine.waiting_line import PIECE_MAX, contains, first, joined, left, length
from orchestrator.testkit.inbox import FIRST_MS
from orchestrator.testkit.lab import Begun

BOOK = SagaBook([])
PLACES, SPEED = limiter_id("concurrency", "places"), limiter_id("rate", "speed")
LEASE_MS = 60_000


class Log:
    """One limiter, folded input by input; every state is stored and loaded in between."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.now_ms = FIRST_MS
        self.state: Process | None = None
        self.inputs: list[Input] = []

    def feed(self, message: Message) -> Decision:
        envelope = Envelope(id=f"m{len(self.inputs)}", source=ORCHESTRATOR_SOURCE, type=message.type)
        item = Input(len(self.inputs), self.now_ms, self.name, envelope, message.to_json())
        self.inputs.append(item)
        before = None if self.state is None else decode_process(encode_process(self.state))
        decision = decide(BOOK, before, item)
        assert decision == decide(BOOK, self.state, item)
        self.state = decision.process
        return decision

    def asks(self, request: str, count: int = 1, lease_ms: int = LEASE_MS) -> Decision:
        return self.feed(PermitRequested(process_id=self.name, request=request, count=count, lease_ms=lease_ms))

    def asks_rate(self, request: str, count: int = 1, period_ms: int = 1_000, burst: int | None = None) -> Decision:
        asked = PermitRequested(process_id=self.name, request=request, count=count, period_ms=period_ms, burst=burst)
        return self.feed(asked)

    def gives_back(self, request: str) -> Decision:
        return self.feed(PermitReleased(process_id=self.name, request=request))

    def timer_fires(self, timer_id: str = LEASE_TIMER) -> Decision:
        return self.feed(TimerFired(process_id=self.name, timer_id=timer_id, due_ms=0))

    @property
    def leases(self) -> list[str]:
        assert self.state is not None and self.state.limiter is not None
        return list(self.state.limiter.leases)

    @property
    def waiting(self) -> list[str]:
        assert self.state is not None and self.state.limiter is not None
        return [request for piece in self.state.limiter.waiting for request in piece]


def granted(decision: Decision) -> list[str]:
    return [one.request for one in answers(decision) if isinstance(one, PermitGranted)]


def answers(decision: Decision) -> list[PermitGranted | PermitDeferred]:
    found: list[PermitGranted | PermitDeferred] = []
    for record in decision.effects:
        kind = decode_headers(record.headers).type
        model = PermitGranted if kind == PermitGranted.type else PermitDeferred
        found.append(model.model_validate_json(record.value))
    return found


def names(count: int, of: str = "p") -> list[str]:
    return [f"lab:{of}{number}/a/1/permit/1" for number in range(count)]


# A concurrency.


def test_first_come_first_served() -> None:
    log = Log(PLACES)
    one, two, three, four = names(4)
    assert [granted(log.asks(request, 2)) for request in (one, two, three, four)] == [[one], [two], [], []]
    assert granted(log.gives_back(two)) == [three]
    assert granted(log.gives_back(one)) == [four]
    assert (log.leases, log.waiting) == ([three, four], [])


def test_answers_go_to_the_shard_of_who_asked() -> None:
    (record,) = Log(PLACES).asks("lab:p0/a/1/permit/1").effects
    assert (record.topic, record.key, record.partition) == (INBOX, b"lab:p0", partition_of("lab:p0", SHARDS))
    assert requester_of("lab:p0/a/1/permit/1") == "lab:p0"


def test_repeats_change_nothing_but_the_length_of_a_lease() -> None:
    log = Log(PLACES)
    one, two = names(2)
    log.asks(one)
    log.asks(two)
    log.now_ms += 1_000
    assert granted(log.asks(one)) == [one], "the grant may have been lost"
    assert log.asks(two).reason == "duplicate"
    assert (log.leases, log.waiting) == ([one], [two])
    assert granted(log.gives_back(one)) == [two]
    assert log.gives_back(one).reason == "stale"
    log.gives_back(two)
    assert log.gives_back(two).reason == "stale"
    assert log.state is not None and log.state.limiter is not None
    assert (log.state.timers, log.state.limiter.size) == ({}, 0)


def test_who_waits_may_withdraw() -> None:
    log = Log(PLACES)
    one, two, three = names(3)
    for request in (one, two, three):
        log.asks(request)
    assert granted(log.gives_back(two)) == []
    assert granted(log.gives_back(one)) == [three]


def test_a_lease_ends_by_time_and_the_next_one_is_served() -> None:
    log = Log(PLACES)
    one, two = names(2)
    log.asks(one)
    log.now_ms += 10_000
    log.asks(two, lease_ms=5_000)
    assert log.timer_fires().reason == "premature"
    log.now_ms = FIRST_MS + LEASE_MS
    decision = log.timer_fires()
    assert granted(decision) == [two]
    (measure,) = decision.measures
    assert measure == LimiterMeasure("concurrency", "places", granted=1, deferred=0, expired=1, waiting=0)
    assert log.state is not None and log.state.timers == {LEASE_TIMER: log.now_ms + 5_000}
    assert log.gives_back(one).reason == "stale", "it comes too late, and takes nobody's place away"
    assert log.leases == [two]


def test_the_timer_is_set_to_the_lease_that_ends_first() -> None:
    log = Log(PLACES)
    one, two, three = names(3)
    log.asks(one, 3, lease_ms=50_000)
    log.asks(two, 3, lease_ms=20_000)
    log.asks(three, 3, lease_ms=70_000)
    for after_ms, remain in ((20_000, [one, three]), (50_000, [three]), (70_000, [])):
        assert log.state is not None and log.state.timers == {LEASE_TIMER: FIRST_MS + after_ms}
        log.now_ms = FIRST_MS + after_ms
        log.timer_fires()
        assert log.leases == remain
    assert log.state is not None and log.state.timers == {}
    assert log.timer_fires().reason == "stale"


def test_the_newest_request_says_how_many() -> None:
    log = Log(PLACES)
    requests = names(5)
    for request in requests[:4]:
        log.asks(request, 1)
    assert len(log.leases) == 1
    assert granted(log.asks(requests[4], 3)) == requests[1:3]
    log.asks(requests[3], 1)
    assert granted(log.gives_back(requests[0])) == [requests[3]], "a repeated request is ignored, with its numbers"


def test_a_full_line_says_when_to_ask_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "WAITING_MAX", 2)
    log = Log(PLACES)
    requests = names(5)
    for request in requests[:3]:
        log.asks(request)
    for request in requests[3:]:
        (deferred,) = answers(log.asks(request))
        assert isinstance(deferred, PermitDeferred)
        assert DEFER_MS <= deferred.again_at_ms - log.now_ms < 2 * DEFER_MS
    assert log.waiting == requests[1:3]
    log.gives_back(requests[0])
    log.asks(requests[3])
    assert log.waiting == [requests[2], requests[3]]


def test_a_state_fits_into_a_record() -> None:
    """However long the names are."""
    log = Log(PLACES)
    long = [f"lab:{'k' * 250}{number}/{'s' * 60}/1/permit/1" for number in range(5_000)]
    for request in long:
        log.state = decide(BOOK, log.state, _input(request, 500)).process
    assert log.state is not None and 500_000 < len(encode_process(log.state)) < 1024 * 1024
    assert len(log.waiting) < 5_000


def _input(request: str, count: int) -> Input:
    asked = PermitRequested(process_id=PLACES, request=request, count=count, lease_ms=LEASE_MS)
    return Input(0, FIRST_MS, PLACES, Envelope(id=request, source="/x", type=asked.type), asked.to_json())


@given(st.lists(st.tuples(st.sampled_from("aargt"), st.integers(0, 7), st.integers(0, 30_000)), max_size=60))
def test_never_more_than_count_hold_and_nobody_waits_beside_a_free_place(steps: list[tuple[str, int, int]]) -> None:
    log, requests, order = Log(PLACES), names(8), []
    for kind, number, passed_ms in steps:
        log.now_ms += passed_ms
        request = requests[number]
        if kind == "a":
            known = log.state is not None and request in log.leases + log.waiting
            decision = log.asks(request, 3)
            order += [] if known else [request]
        elif kind == "t":
            decision = log.timer_fires()
        else:
            decision = log.gives_back(request)
        if log.state is None:
            continue
        assert len(log.leases) <= 3
        assert len(log.leases) == 3 or not log.waiting
        assert log.state.limiter is not None
        assert log.state.limiter.size == sum(map(len, log.leases + log.waiting))
        assert (LEASE_TIMER in log.state.timers) == bool(log.leases)
        if log.leases:
            assert log.state.timers[LEASE_TIMER] <= min(log.state.limiter.leases.values())
        assert log.waiting == [one for one in order if one in log.waiting][-len(log.waiting) :] or not log.waiting
        for one in granted(decision):
            assert one in log.leases


# A line.


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 2_000)), max_size=1_200))
def test_a_line_is_an_ordered_map_in_pieces(steps: list[tuple[bool, int]]) -> None:
    line: tuple[dict[str, int], ...] = ()
    plain: dict[str, int] = {}
    for joins, number in steps:
        name = f"n{number}"
        if joins and name not in plain:
            line, plain[name] = joined(line, name, number), number
        elif not joins and plain:
            name = name if name in plain else next(iter(plain))
            line = left(line, name)
            del plain[name]
    assert [pair for piece in line for pair in piece.items()] == list(plain.items())
    assert length(line) == len(plain) and all(0 < len(piece) <= PIECE_MAX for piece in line)
    assert not plain or first(line) == next(iter(plain.items()))
    assert all(contains(line, name) for name in plain) and not contains(line, "other")


# A rate.

RATES = st.tuples(st.integers(1, 50), st.integers(1, 100_000), st.integers(1, 50))


@given(RATES, st.lists(st.integers(0, 3_000), min_size=1, max_size=150), st.integers(1, 200_000))
def test_in_no_window_more_than_burst_and_what_flows_in(
    rate: tuple[int, int, int], gaps_ms: list[int], window_ms: int
) -> None:
    count, period_ms, burst = rate[0], rate[1], min(rate[2], rate[0])
    slots = slots_of(count, period_ms, burst, gaps_ms)
    allowed = burst + window_ms * count / period_ms
    for start in slots:
        assert sum(start <= slot < start + window_ms for slot in slots) <= allowed


@given(RATES, st.lists(st.integers(0, 3_000), min_size=1, max_size=150))
def test_slots_come_in_the_order_of_the_requests_and_none_before_its_request(
    rate: tuple[int, int, int], gaps_ms: list[int]
) -> None:
    count, period_ms, burst = rate[0], rate[1], min(rate[2], rate[0])
    slots, at_ms = slots_of(count, period_ms, burst, gaps_ms), FIRST_MS
    assert slots == sorted(slots)
    for slot, gap_ms in zip(slots, gaps_ms, strict=True):
        at_ms += gap_ms
        assert slot >= at_ms


@given(st.integers(1, 50), st.integers(50, 100_000), st.integers(2, 300))
def test_the_whole_rate_is_given(count: int, period_ms: int, requests: int) -> None:
    """Nobody starves: `n` requests at once are served within the time that the rate needs, and a rounding error."""
    slots = slots_of(count, period_ms, count, [0] * requests)
    needed_ms = max(0, requests - count) * period_ms / count
    assert needed_ms <= slots[-1] - FIRST_MS <= needed_ms + 1 + requests / 1_000


def slots_of(count: int, period_ms: int, burst: int, gaps_ms: Iterable[int]) -> list[int]:
    now_ms, next_us, slots = FIRST_MS, 0, []
    for gap_ms in gaps_ms:
        now_ms += gap_ms
        slot = next_slot(next_us, now_ms, count, period_ms, burst)
        next_us = slot.next_us
        slots.append(slot.not_before_ms)
    return slots


def test_a_rate_as_a_table() -> None:
    log = Log(SPEED)
    found = []
    for request in names(6):
        (answer,) = answers(log.asks_rate(request, 2))
        assert isinstance(answer, PermitGranted)
        found.append(answer.not_before_ms - FIRST_MS)
    assert found == [0, 0, 500, 1_000, 1_500, 2_000]
    log.now_ms += 60_000
    (answer,) = answers(log.asks_rate("lab:z/a/1/permit/1", 2))
    assert isinstance(answer, PermitGranted) and answer.not_before_ms == log.now_ms
    assert log.state is not None and log.state.timers == {} and len(encode_process(log.state)) < 300


def test_a_rate_spaced_evenly() -> None:
    log = Log(SPEED)
    found = [answers(log.asks_rate(request, 10, burst=1))[0] for request in names(3)]
    assert [one.not_before_ms - FIRST_MS for one in found if isinstance(one, PermitGranted)] == [0, 100, 200]


# What is none of a limiter's business.


def test_other_inputs_are_ignored() -> None:
    log = Log(PLACES)
    assert log.feed(Begun(job_id="j1")).reason == "unexpected-type"
    assert log.gives_back("lab:x/a/1/permit/1").reason == "no-process"
    assert log.timer_fires().reason == "stale"
    assert log.state is None
    bad = PermitRequested(process_id=PLACES, request="r", count=1)
    assert log.feed(bad).reason == "invalid-payload"
