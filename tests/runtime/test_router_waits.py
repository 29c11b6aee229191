"""Where an event goes that processes wait for: to each process of a key function, once."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from contracts.envelope import Envelope, encode_headers
from contracts.message import Message
from contracts.orders import OrderFulfilled
from contracts.record import IncomingRecord
from orchestrator.engine.book import SagaBook
from orchestrator.engine.decide import decide
from orchestrator.engine.inputs import Input, read_input
from orchestrator.language import Saga, observe, parallel, pivot, sequence, wait_for
from orchestrator.runtime.log import Place
from orchestrator.runtime.routed_batch import RoutedBatch
from orchestrator.runtime.router import router_topics
from orchestrator.runtime.routing import Routed, Routing
from orchestrator.testkit.lab import Begun, Done, lab_saga, step
from tests.engine.test_waits import BEGUN, GOODS, Arrived, Released

DAY = timedelta(days=1)


def by_job(arrived: Arrived) -> str:
    return arrived.job_id


def by_pallets(arrived: Arrived) -> str:
    return f"{arrived.job_id}:{arrived.pallets}"


def failing(arrived: Arrived) -> str:
    raise LookupError("no key")


WAITS = sequence(step("a"), wait_for(Arrived, key=by_job, limit=DAY, name="w1"))
OTHER = replace(lab_saga(observe(Arrived, key=by_pallets, limit=DAY)), name="audit")


def routing(*sagas: Saga) -> Routing:
    return Routing(SagaBook(sagas))


def record(message: Message, **attributes: object) -> IncomingRecord:
    envelope = Envelope(**{"id": "e1", "source": "/dock", "type": message.type, **attributes})  # type: ignore[arg-type]
    return IncomingRecord(message.topic, 0, 0, 1_000, None, message.to_json(), encode_headers(envelope))


def places(routed: Routed) -> list[tuple[str, str | None, int | None]]:
    read = [read_input(IncomingRecord("x", 0, 0, 0, sent.key, sent.value, sent.headers)) for sent in routed.inbox]
    return [(item.process_id, item.saga, item.version) for item in read]


def test_an_awaited_event_goes_to_the_process_of_each_saga_that_waits_for_it() -> None:
    routed = routing(lab_saga(WAITS), OTHER).route(record(GOODS))
    assert places(routed) == [("audit:j1:7", "audit", 1), ("lab:j1", "lab", 1)]
    assert (routed.observed, routed.starts, routed.dead) == (2, 0, None)


def test_a_process_gets_it_once_however_many_blocks_wait_for_it() -> None:
    first, second = (wait_for(Arrived, key=by_job, limit=DAY, name=name) for name in ("w1", "w2"))
    twice = parallel(first, second)
    routed = routing(lab_saga(twice)).route(record(GOODS, process_id="lab:j1"))
    assert places(routed) == [("lab:j1", "lab", 1)]
    named = routing(lab_saga(twice)).route(record(GOODS, process_id="lab:other"))
    assert places(named) == [("lab:other", None, None), ("lab:j1", "lab", 1)]


def test_an_older_version_that_still_runs_gets_what_only_it_waits_for() -> None:
    newer = replace(lab_saga(sequence(step("a"), pivot(), step("b"))), version=2)
    assert places(routing(lab_saga(WAITS), newer).route(record(GOODS))) == [("lab:j1", "lab", 1)]
    both = replace(lab_saga(WAITS), version=2)
    assert places(routing(lab_saga(WAITS), both).route(record(GOODS))) == [("lab:j1", "lab", 2)]


def test_what_starts_a_newer_version_is_stamped_to_start_it() -> None:
    released = wait_for(Released, limit=DAY)
    newer = replace(lab_saga(released), version=2, starts_on=Arrived, key=by_job)
    routed = routing(lab_saga(WAITS), newer).route(record(GOODS))
    assert places(routed) == [("lab:j1", "lab", 2)] and (routed.observed, routed.starts) == (0, 1)


def test_a_key_function_that_fails_dead_letters_the_event_for_its_saga_alone() -> None:
    broken = replace(lab_saga(wait_for(Arrived, key=failing, limit=DAY)), name="broken")
    routed = routing(lab_saga(WAITS), broken).route(record(GOODS))
    assert [place[0] for place in places(routed)] == ["lab:j1"]
    assert routed.dead is not None and routed.dead.reason == "key-failed"


def test_what_nobody_waits_for_is_skipped_as_before() -> None:
    routed = routing(lab_saga(WAITS)).route(record(Done(job_id="j1", step="a")))
    assert routed.skipped == "unknown-type"


def test_the_router_reads_the_topics_of_awaited_events() -> None:
    saga = lab_saga(wait_for(OrderFulfilled, key=lambda order: order.order_id, limit=DAY))
    assert "orders.events" in router_topics(SagaBook([saga]))


def test_a_batch_counts_them_by_what_they_are() -> None:
    batch = RoutedBatch(routing(lab_saga(WAITS)), {Place("lab.events", 0): [record(GOODS), record(BEGUN)]})
    routed, dead = batch.appended()
    assert (dict(routed), dict(dead)) == ({"observed": 1, "start": 1}, {})


def test_what_the_router_stamps_is_kept_by_the_engine_until_the_start() -> None:
    book = SagaBook([lab_saga(WAITS)])
    router = Routing(book)

    def inputs(message: Message, offset: int) -> Input:
        (sent,) = router.route(record(message, id=f"e{offset}")).inbox
        return read_input(IncomingRecord("x", 0, offset, 1_000, sent.key, sent.value, sent.headers))

    kept = decide(book, None, inputs(GOODS, 0))
    assert kept.result == "buffered" and kept.process is not None
    begun = decide(book, kept.process, inputs(Begun(job_id="j1"), 1))
    assert begun.process is not None and (begun.process.phase, len(begun.process.early)) == ("running", 1)
