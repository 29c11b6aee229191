"""Decisions per second of the engine alone: no broker, no store, no event loop. `python -m benchmarks.engine_bench`.

Processor time, not time of day: what else the machine does must not count. Each figure is the median of `REPEATS` runs.
"""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from statistics import median
from time import process_time

from contracts.inventory import AllocatedLine, StockReserved
from contracts.message import Command, Event, Message
from contracts.orders import OrderPlaced
from contracts.payment import PaymentCaptured
from contracts.shipping import LabelCreated, OrderDispatched
from orchestrator.engine.book import SagaBook
from orchestrator.engine.decide import decide
from orchestrator.engine.inputs import Input
from orchestrator.engine.process import Process, encode_process
from orchestrator.language import Saga, sequence
from orchestrator.sagas.order_fulfilment import ORDER_FULFILMENT
from orchestrator.testkit.answers import answer_like
from orchestrator.testkit.inbox import Inbox
from orchestrator.testkit.lab import Begun, Done, Refused, lab_saga, step
from orchestrator.testkit.lab_flow import each
from orchestrator.testkit.reading import read_sent

ORDERS = 300
REPEATS = 3
ELEMENTS = (250, 500, 1_000, 2_000)
CONCURRENCIES = (1, 100)
HISTORIES = (10, 10_000, 19_000)
NEXT_STEPS = 2_000
ORDER = OrderPlaced.model_validate(
    {
        "order_id": "o1",
        "customer_id": "c1",
        "customer_email": "ann@example.org",
        "lines": [{"sku": "tea", "quantity": 2, "unit_price_cents": 350}],
        "total_cents": 700,
        "currency": "EUR",
        "ship_to": {
            "name": "Ann",
            "street": "Main Street 1",
            "city": "Springfield",
            "postal_code": "12345",
            "country": "US",
        },
        "payment_method": "pm_card",
    }
)
ANSWERS: dict[str, Event] = {
    "reserve": StockReserved(
        order_id="o1", reservation_id="r1", lines=(AllocatedLine(sku="tea", quantity=2, warehouse="east"),)
    ),
    "charge": PaymentCaptured(order_id="o1", payment_id="p1", amount_cents=700, currency="EUR"),
    "create_label": LabelCreated(order_id="o1", label_id="l1", carrier="swift", tracking_number="t1"),
    "dispatch": OrderDispatched(order_id="o1", tracking_number="t1", dispatched_at=datetime(2026, 1, 2, tzinfo=UTC)),
}


@dataclass(frozen=True, slots=True)
class Run:
    """What was measured: the processor time in `decide` alone."""

    decisions: int
    seconds: float
    state_bytes: int
    slowest_ms: float

    def __str__(self) -> str:
        rate = self.decisions / self.seconds
        return (
            f"{rate:9,.0f} decisions/s  ({self.decisions:,} decisions, {1e6 / rate:.0f} us each, slowest "
            f"{self.slowest_ms:.1f} ms, state {self.state_bytes:,} bytes)"
        )


def run_through(saga: Saga, start: Message, answers: dict[str, Event]) -> Run:
    """One process from its start to its end: every command is answered by its success."""
    book = SagaBook([saga])
    plan, key = book.plan(saga.name, saga.version), saga.key(start)
    inbox = Inbox(f"{saga.name}:{key}", saga.name, saga.version)
    waiting: deque[Input] = deque([inbox.start(start, id="start", source="/bench")])
    process: Process | None = None
    decisions, seconds, slowest = 0, 0.0, 0.0
    while waiting:
        item = waiting.popleft()
        began = process_time()
        decision = decide(book, process, item)
        took = process_time() - began
        process, decisions, seconds, slowest = decision.process, decisions + 1, seconds + took, max(slowest, took)
        assert decision.result == "applied"
        for record in decision.effects:
            sent = read_sent(plan, inbox.process_id, record, again=False)
            if sent.kind in ("command", "undo"):
                assert issubclass(sent.model, Command)
                event = answers.get(sent.step) or answer_like(sent.message, sent.model.succeeds[0])
                waiting.append(inbox.answer(event, sent.id))
    assert process is not None and process.ended is not None
    return Run(decisions, seconds, len(encode_process(process)), slowest * 1000)


def order_saga() -> Run:
    """The order saga, `ORDERS` times."""
    runs = [run_through(ORDER_FULFILMENT, ORDER, ANSWERS) for _ in range(ORDERS)]
    decisions, seconds = sum(run.decisions for run in runs), sum(run.seconds for run in runs)
    return Run(decisions, seconds, runs[-1].state_bytes, max(run.slowest_ms for run in runs))


def loop(elements: int, concurrency: int) -> Run:
    """A `for_each` of one step, and a builder that sees all its outcomes."""
    inside = each(elements, step("b"), name="ship", concurrency=concurrency, bound=elements)
    return run_through(lab_saga(sequence(inside, step("z", needs_all="b"))), Begun(job_id="j1"), {})


def undone_loop(elements: int, concurrency: int) -> Run:
    """The same, refused at the end and undone."""
    inside = each(elements, step("b"), name="ship", concurrency=concurrency, bound=elements)
    saga = lab_saga(sequence(inside, step("z")))
    return run_through(saga, Begun(job_id="j1"), {"z": Refused(job_id="j1", step="z")})


def next_step(history: int) -> Run:
    """The next step of a process that has `history` entries already; the same decision, many times."""
    saga = lab_saga(sequence(step("a"), step("b")))
    book, inbox = SagaBook([saga]), Inbox("lab:j1", "lab", 1)
    item = inbox.start(Begun(job_id="j1"), id="start", source="/bench")
    process = decide(book, None, item).process
    while process is not None and process.history_length < history:
        process = decide(book, process, inbox.again(item)).process
    assert process is not None
    answer = inbox.answer(Done(job_id="j1", step="a"), "lab:j1/a/1")
    began = process_time()
    for _ in range(NEXT_STEPS):
        assert decide(book, process, answer).result == "applied"
    seconds = process_time() - began
    return Run(NEXT_STEPS, seconds, len(encode_process(process)), seconds / NEXT_STEPS * 1000)


def middle(measure: Callable[[], Run]) -> Run:
    """The run of median length."""
    runs = [measure() for _ in range(REPEATS)]
    wanted = median(run.seconds for run in runs)
    return next(run for run in runs if run.seconds == wanted)


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def main() -> None:
    say(f"order saga                          {middle(order_saga)}")
    for concurrency in CONCURRENCIES:
        for elements in ELEMENTS:
            forward = middle(partial(loop, elements, concurrency))
            undone = middle(partial(undone_loop, elements, concurrency))
            say(f"for_each {elements:5,}, {concurrency:3} at a time      {forward}")
            say(f"for_each {elements:5,}, {concurrency:3}, then undone    {undone}")
    for history in HISTORIES:
        say(f"next step after {history:6,} entries      {middle(partial(next_step, history))}")


if __name__ == "__main__":
    main()
