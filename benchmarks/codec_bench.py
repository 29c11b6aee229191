"""Processor time of what every record costs in Python: `python -m benchmarks.codec_bench`. Needs nothing running.

Each row is the best of several rounds of `time.process_time`, so that other work on the machine matters little.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from datetime import UTC, datetime
from time import process_time

from benchmarks.orders import order_record
from contracts.envelope import Envelope, decode_headers, encode_headers
from contracts.inventory import ReserveStock, StockChanged, StockLine, StockReserved
from contracts.message import Message
from contracts.record import IncomingRecord, OutgoingRecord
from orchestrator.engine.book import SagaBook
from orchestrator.engine.inputs import read_input
from orchestrator.runtime.log import Place
from orchestrator.runtime.routed_batch import RoutedBatch
from orchestrator.runtime.routing import Routing
from orchestrator.sagas import all_sagas
from services.inventory.handlers import service as inventory
from services.sdk.middleware.decode import Decode
from services.sdk.outcomes import pack, record_of
from services.sdk.work import Work

ROUNDS = 7
CALLS = 5_000
PROCESS = "order-fulfilment:load-17"
AT = datetime(2026, 1, 2, 3, 4, 5, 678_000, tzinfo=UTC)
AT_MS = int(AT.timestamp() * 1000)
TRACE = f"00-{'a' * 32}-{'b' * 16}-01"


def incoming(record: OutgoingRecord) -> IncomingRecord:
    return IncomingRecord(record.topic, record.partition or 0, 42, AT_MS, record.key, record.value, record.headers)


def record(message: Message, envelope: Envelope) -> OutgoingRecord:
    return OutgoingRecord(message.topic, message.key.encode(), message.to_json(), encode_headers(envelope))


RESERVE = ReserveStock(order_id="load-17", lines=(StockLine(sku="p1", quantity=2), StockLine(sku="p2", quantity=1)))
COMMAND = Envelope(
    id=f"{PROCESS}/reserve/1", source="/counterpoint/orchestrator", type=RESERVE.type, process_id=PROCESS,
    idempotency_key=f"{PROCESS}/reserve/1", deadline="2099-01-01T00:00:00.250Z", try_number=1, traceparent=TRACE,
)  # fmt: skip
RESERVED = StockReserved.model_validate(
    {"order_id": "load-17", "reservation_id": "r", "lines": [{"sku": "p1", "quantity": 2, "warehouse": "east"}]}
)
OUTCOME = Envelope(
    id="f" * 32, source="/counterpoint/inventory", type=RESERVED.type, time="2026-01-02T03:04:05.678Z",
    process_id=PROCESS, causation_id=COMMAND.id, traceparent=TRACE,
)  # fmt: skip
CHANGED = StockChanged(sku="p1", warehouse="east", on_hand=5, reserved=2, revision=3, changed_at=AT)
NOTICE = Envelope(
    id="e" * 32, source=OUTCOME.source, type=CHANGED.type, time=OUTCOME.time,
    causation_id=COMMAND.id, traceparent=TRACE,
)  # fmt: skip


def rows() -> dict[str, Callable[[], object]]:
    """What is measured, by name."""
    headers = encode_headers(COMMAND)
    routing, decode = Routing(SagaBook(all_sagas())), Decode(inventory)
    start, outcome = incoming(order_record(17, "load")), incoming(record(RESERVED, OUTCOME))
    notice = incoming(record(CHANGED, NOTICE))
    (inbox,) = routing.route(outcome).inbox
    folded, command = incoming(inbox), incoming(record(RESERVE, COMMAND))
    work = decode(command)
    assert isinstance(work, Work)
    batch = {Place("inventory.events", 0): [outcome, notice, notice, notice]}
    answer = record_of("inventory", work, RESERVED, 0, answers=True, now_ms=AT_MS)
    return {
        "envelope: decode a command's headers": lambda: decode_headers(headers),
        "envelope: encode a command's headers": lambda: encode_headers(COMMAND),
        "contract: make stock-changed": lambda: StockChanged(
            sku="p1", warehouse="east", on_hand=5, reserved=2, revision=3, changed_at=AT
        ),
        "contract: key and JSON of reserved": lambda: (RESERVED.key, RESERVED.to_json()),
        "router: a start": lambda: routing.route(start),
        "router: an outcome": lambda: routing.route(outcome),
        "router: an event for no saga": lambda: routing.route(notice),
        "router: a batch of an outcome and three others": lambda: RoutedBatch(routing, batch),
        "engine: read an input": lambda: read_input(folded),
        "service: decode a command": lambda: decode(command),
        "service: record of an answer": lambda: record_of("inventory", work, RESERVED, 0, answers=True, now_ms=AT_MS),
        "service: pack an answer": lambda: pack((answer,)),
    }


def cost_us(call: Callable[[], object]) -> float:
    """Microseconds of processor time of one call."""
    best = float("inf")
    for _ in range(ROUNDS):
        began = process_time()
        for _ in range(CALLS):
            call()
        best = min(best, process_time() - began)
    return best / CALLS * 1e6


def main() -> None:
    for name, call in rows().items():
        sys.stdout.write(f"{name:50} {cost_us(call):6.2f} us\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
