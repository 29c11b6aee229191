"""A command line over memory, and processes that the real engine has made."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from contracts.catalog import standard_catalog
from contracts.envelope import Envelope
from contracts.inventory import StockReleased, StockReserved
from contracts.message import Event, Message
from contracts.orders import Address, OrderLine, OrderPlaced
from contracts.payment import PaymentCaptured, PaymentDeclined
from contracts.shipping import LabelCreated, LabelVoided
from contracts.technical import CommandFailed
from orchestrator.cli.app import build_app
from orchestrator.cli.connections_memory import MemoryConnections
from orchestrator.cli.surroundings import Surroundings
from orchestrator.engine.book import SagaBook
from orchestrator.engine.decide import decide
from orchestrator.engine.history import decode_entry
from orchestrator.engine.inputs import Input
from orchestrator.runtime.inbox_writer import PersonsMessage
from orchestrator.sagas import all_sagas

BOOK = SagaBook(all_sagas())
START_MS = 1_767_225_600_000
"""2026-01-01T00:00:00Z"""
ORDER = OrderPlaced(
    order_id="o1",
    customer_id="c1",
    lines=(OrderLine(sku="milk", quantity=2, unit_price_cents=150),),
    total_cents=300,
    currency="USD",
    ship_to=Address(name="Ada", street="1 Elm Street", city="Dayton", postal_code="45402", country="US"),
    payment_method="pm_card",
)


@dataclass
class World:
    """Feeds inputs to the engine and keeps what the read model would show."""

    connections: MemoryConnections = field(default_factory=MemoryConnections)
    book: SagaBook = BOOK
    now_ms: int = START_MS
    offsets: Any = field(default_factory=itertools.count)

    def feed(
        self,
        process: str,
        message: Message,
        envelope: Envelope,
        *,
        starts: bool = False,
        stamp: tuple[str, int] | None = None,
    ) -> None:
        self.now_ms += 10
        before = self.connections.states.get(process)
        saga = ("order-fulfilment", 1) if starts else stamp or (None, None)
        item = Input(next(self.offsets), self.now_ms, process, envelope, message.to_json(), *saga)
        decision = decide(self.book, before, item)
        assert decision.process is not None
        self.connections.states[process] = decision.process
        if decision.history is not None:
            self.connections.histories.setdefault(process, []).append(decode_entry(decision.history))

    def start(self, order: OrderPlaced = ORDER, message_id: str = "e1") -> str:
        process = f"order-fulfilment:{order.order_id}"
        self.feed(process, order, Envelope(id=message_id, source="/shop/web", type=order.type), starts=True)
        return process

    def answer(self, process: str, causation: str, event: Event, source: str = "/counterpoint/service") -> None:
        envelope = Envelope(
            id=f"answer-{causation}",
            source=source,
            type=event.type,
            process_id=process,
            causation_id=f"{process}/{causation}",
        )
        self.feed(process, event, envelope)

    async def act(self, action: PersonsMessage, message_id: str) -> None:
        envelope = Envelope(id=message_id, source="/counterpoint/cli", type=action.type)
        self.feed(action.process_id, action, envelope, stamp=self.connections.stamps[-1])

    # Whole stories.

    def running(self, order_id: str = "o1") -> str:
        return self.start(ORDER.model_copy(update={"order_id": order_id}))

    def compensated(self, order_id: str = "o1") -> str:
        process = self.running(order_id)
        self.answer(process, "reserve/1", StockReserved(order_id=order_id, reservation_id="r1", lines=()))
        self.answer(process, "charge/1", PaymentDeclined(order_id=order_id, code="insufficient_funds"))
        label = LabelCreated(order_id=order_id, label_id="l1", carrier="ACME", tracking_number="t1")
        self.answer(process, "create_label/1", label)
        self.answer(process, "reserve/undo/1", StockReleased(order_id=order_id, lines=()))
        self.answer(process, "create_label/undo/1", LabelVoided(order_id=order_id, label_id="l1"))
        self.start(ORDER.model_copy(update={"order_id": order_id}))
        return process

    def stuck_past_pivot(self, order_id: str = "o1") -> str:
        process = self.running(order_id)
        self.answer(process, "reserve/1", StockReserved(order_id=order_id, reservation_id="r1", lines=()))
        captured = PaymentCaptured(order_id=order_id, payment_id="p1", amount_cents=300, currency="USD")
        self.answer(process, "charge/1", captured)
        label = LabelCreated(order_id=order_id, label_id="l1", carrier="ACME", tracking_number="t1")
        self.answer(process, "create_label/1", label)
        failed = CommandFailed(
            command_type="shipping.dispatch.v1", code="handler-failed", message="boom", effect="none", retryable=False
        )
        self.answer(process, "dispatch/1", failed)
        return process

    def stuck_undo(self, order_id: str = "o1") -> str:
        process = self.running(order_id)
        self.answer(process, "reserve/1", StockReserved(order_id=order_id, reservation_id="r1", lines=()))
        self.answer(process, "charge/1", PaymentDeclined(order_id=order_id, code="insufficient_funds"))
        label = LabelCreated(order_id=order_id, label_id="l1", carrier="ACME", tracking_number="t1")
        self.answer(process, "create_label/1", label)
        failed = CommandFailed(
            command_type="inventory.release.v1", code="handler-failed", message="boom", effect="none", retryable=False
        )
        self.answer(process, "reserve/undo/1", failed)
        self.answer(process, "create_label/undo/1", LabelVoided(order_id=order_id, label_id="l1"))
        return process


@pytest.fixture
def world() -> World:
    found = World()
    found.connections.on_action = found.act
    return found


@dataclass
class CommandLine:
    """Runs `counterpoint` over the world."""

    around: Surroundings
    endpoints: Path

    def __call__(self, *words: str, stdin: str | bytes | None = None) -> Any:
        return CliRunner().invoke(build_app(), list(words), obj=self.around, input=stdin)

    def json(self, *words: str, stdin: str | None = None) -> Any:
        result = self(*words, "--json", stdin=stdin)
        assert result.exit_code == 0, result.output
        return json.loads(result.stdout)

    def changed(self, **changes: Any) -> CommandLine:
        return CommandLine(replace(self.around, **changes), self.endpoints)


def listening() -> tuple[Any, int]:
    """A port that accepts connections, for the reachability check."""
    import socket

    server = socket.create_server(("127.0.0.1", 0))
    return server, server.getsockname()[1]


@pytest.fixture
def counterpoint(world: World, tmp_path: Path) -> Any:
    server, port = listening()
    address = f"127.0.0.1:{port}"
    redis = {"orchestrator": f"redis://{address}/0", "services": f"redis://{address}/0"}
    file = tmp_path / "stack.json"
    file.write_text(json.dumps({"kafka": address, "redis": redis}))
    serial: Callable[[], int] = itertools.count(1).__next__
    around = Surroundings(
        environment={"COUNTERPOINT_ENDPOINTS": str(file)},
        folder=tmp_path,
        operator="ada",
        interactive=False,
        now_ms=lambda: world.now_ms + 1_000,
        new_id=lambda: f"id-{serial()}",
        connections=world.connections,
        sagas=all_sagas(),
        catalog=standard_catalog(),
    )
    with server:
        yield CommandLine(around, file)


def lines_of(text: str) -> Sequence[str]:
    return [line for line in text.splitlines() if line.strip()]
