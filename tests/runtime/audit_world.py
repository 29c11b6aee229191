"""Orders in memory, folded by the real engine, and an audit of them; with what damages them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

import msgspec

from contracts.envelope import Envelope, encode_headers
from contracts.ids import partition_of
from contracts.inventory import StockReserved
from contracts.message import Event
from contracts.orders import Address, OrderLine, OrderPlaced
from contracts.payment import PaymentCaptured
from contracts.record import IncomingRecord, OutgoingRecord
from contracts.shipping import LabelCreated, OrderDispatched
from contracts.topics import (
    DOMAIN_PARTITIONS,
    INBOX,
    LIFECYCLE,
    ORCHESTRATOR_DEAD_LETTERS,
    SHARDS,
    dead_letters_topic,
)
from orchestrator.engine.book import SagaBook
from orchestrator.engine.inputs import SAGA_HEADER, VERSION_HEADER
from orchestrator.engine.process import Process, decode_process, encode_process
from orchestrator.runtime.audit_letters import starts_of
from orchestrator.runtime.audit_log_memory import MemoryAuditLog
from orchestrator.runtime.audit_marks_memory import MemoryMarks
from orchestrator.runtime.audit_memory import MemoryAuditStore
from orchestrator.runtime.audit_run import Audit, Audited, Repaired, repair
from orchestrator.runtime.auditor import Auditor, Pace
from orchestrator.runtime.dead_letters import dead_letter
from orchestrator.runtime.engine_loop import ENGINE_GROUP
from orchestrator.runtime.log_memory import MemoryLog
from orchestrator.runtime.rules import rules_of
from orchestrator.sagas import all_sagas
from tests.runtime.world import Engine, World

BOOK = SagaBook(all_sagas())
CONTEXTS = ("orders", "inventory", "payment", "shipping")
TOPICS = {
    INBOX: SHARDS,
    LIFECYCLE: DOMAIN_PARTITIONS,
    ORCHESTRATOR_DEAD_LETTERS: DOMAIN_PARTITIONS,
    **{f"{service}.dead-letters": DOMAIN_PARTITIONS for service in ("inventory", "payment", "shipping")},
    "lab.commands": DOMAIN_PARTITIONS,
    "lab.events": DOMAIN_PARTITIONS,
    **{f"{context}.{kind}": DOMAIN_PARTITIONS for context in CONTEXTS for kind in ("commands", "events")},
}
SERVICES = {
    "payment.charge.v1": "payment",
    "inventory.reserve.v1": "inventory",
    "shipping.create-label.v1": "shipping",
    "shipping.dispatch.v1": "shipping",
}
STEPS = ("reserve", "charge", "create_label", "dispatch")


async def no_pause(seconds: float) -> None:
    await asyncio.sleep(0)


class AuditWorld(World):
    """`on_pause` is done whenever the audit waits: what the running system does meanwhile."""

    def __init__(self, book: SagaBook = BOOK) -> None:
        super().__init__()
        self.book = book
        self.marks = MemoryMarks()
        self.log = MemoryLog(TOPICS, lambda: self.now_ms)
        self.log.commit_start(ENGINE_GROUP, INBOX)
        self.audit_store: MemoryAuditStore = MemoryAuditStore(self.store)
        self.on_pause: Callable[[], object] = lambda: None
        self._engine: Engine | None = None

    async def work(self) -> None:
        """The engine folds and stores all there is."""
        if self._engine is None:
            self._engine = await self.engine(rules_of(self.book))
        await self._engine.work()

    async def audit(self, *, deep: bool = False) -> Audited:
        async def pause(seconds: float) -> None:
            done = self.on_pause()
            if asyncio.iscoroutine(done):
                await done
            await asyncio.sleep(0)

        auditor = Auditor(self.audit_store, Pace(1, lambda: 0.0, no_pause), lambda: self.now_ms, pause)
        log = MemoryAuditLog(self.log)
        starts = starts_of(self.book)
        audit = Audit(
            self.audit_store, self.store, log, auditor, SERVICES, lambda: self.now_ms, pause, self.marks, starts
        )
        return await audit.run(deep=deep)

    async def repair(self, audited: Audited) -> Repaired:
        async def send(records: Sequence[OutgoingRecord]) -> None:
            self.put(*records)

        return await repair(audited, self.audit_store, MemoryAuditLog(self.log), send)

    # What happens to orders.

    def start(self, order_id: str) -> str:
        order = OrderPlaced(
            order_id=order_id,
            customer_id="c1",
            lines=(OrderLine(sku="milk", quantity=2, unit_price_cents=150),),
            total_cents=300,
            currency="USD",
            ship_to=Address(name="Ada", street="1 Elm Street", city="Dayton", postal_code="45402", country="US"),
            payment_method="pm_card",
        )
        process_id = f"order-fulfilment:{order_id}"
        envelope = Envelope(id=f"start-{order_id}", source="/shop", type=order.type)
        stamp = ((SAGA_HEADER, b"order-fulfilment"), (VERSION_HEADER, b"1"))
        headers = encode_headers(envelope) + stamp
        shard = partition_of(process_id, SHARDS)
        self.put(OutgoingRecord(INBOX, process_id.encode(), order.to_json(), headers, shard))
        return process_id

    def answer(self, process_id: str, step: str, *, topic: str = INBOX) -> None:
        """What the step's service says; to the inbox, as a router would, or to another topic."""
        event = _answers(process_id.partition(":")[2])[step]
        command_id = f"{process_id}/{step}/1"
        envelope = Envelope(
            id=f"answer-{command_id}", source="/s", type=event.type, process_id=process_id, causation_id=command_id
        )
        if topic == INBOX:
            key, place = process_id, partition_of(process_id, SHARDS)
        else:
            key, place = event.key, partition_of(event.key, DOMAIN_PARTITIONS)
        self.put(OutgoingRecord(topic, key.encode(), event.to_json(), encode_headers(envelope), place))

    def give_up(self, record: IncomingRecord, service: str, reason: str) -> IncomingRecord:
        """What the service, or the orchestrator, does with a record that it cannot take."""
        letter = dead_letter(record, reason, "as it was planted", self.now_ms)
        topic = dead_letters_topic(service)
        headers = (*((n, v) for n, v in letter.headers if n != "dl_service"), ("dl_service", service.encode()))
        self.put(letter._replace(topic=topic, headers=headers, partition=0))
        return self.log.records(topic)[-1]

    def states(self) -> list[str]:
        """Ids of all that the store has."""
        return [process_id for shard in self.store._shards.values() for process_id in shard.blobs]

    # Damage. The store's insides are looked into on purpose: no port allows what happens here.

    def process(self, process_id: str) -> Process:
        return decode_process(self.store._shards[partition_of(process_id, SHARDS)].blobs[process_id])

    def lose_timer(self, process_id: str, timer: str) -> None:
        del self.store._shards[partition_of(process_id, SHARDS)].timers[process_id, timer]

    def lose_state(self, process_id: str) -> None:
        del self.store._shards[partition_of(process_id, SHARDS)].blobs[process_id]

    def lose_index_entry(self, process_id: str, index: str) -> None:
        del self.store._shards[partition_of(process_id, SHARDS)].indexes[index][process_id]

    def overwrite(self, process_id: str, **changes: object) -> None:
        """Another state, with timers and indexes that agree with it."""
        shard = self.store._shards[partition_of(process_id, SHARDS)]
        changed = msgspec.structs.replace(self.process(process_id), **changes)
        shard.blobs[process_id] = encode_process(changed)
        for key in [key for key in shard.timers if key[0] == process_id]:
            del shard.timers[key]
        shard.timers.update({(process_id, name): due for name, due in changed.timers.items()})


def _answers(order_id: str) -> dict[str, Event]:
    return {
        "reserve": StockReserved(order_id=order_id, reservation_id="r1", lines=()),
        "charge": PaymentCaptured(order_id=order_id, payment_id="p1", amount_cents=300, currency="USD"),
        "create_label": LabelCreated(order_id=order_id, label_id="l1", carrier="ACME", tracking_number="t1"),
        "dispatch": OrderDispatched(order_id=order_id, tracking_number="t1", dispatched_at="2026-01-01T00:00:00Z"),
    }
