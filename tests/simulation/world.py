"""One run: programs, broker, stores and providers of one scenario, until everything has come to rest and is judged."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import count

from contracts.envelope import Envelope, encode_headers
from contracts.ids import partition_of
from contracts.message import Event
from contracts.record import IncomingRecord, OutgoingRecord
from contracts.topics import INBOX, LIFECYCLE, ORCHESTRATOR_DEAD_LETTERS, ORCHESTRATOR_REPLAYS, SHARDS, SNAPSHOTS
from orchestrator.engine.book import SagaBook
from orchestrator.runtime.engine_loop import ENGINE_GROUP
from orchestrator.runtime.log import Place
from orchestrator.runtime.store import Checkpoint, WriteResult
from orchestrator.sagas.order_fulfilment import ORDER_FULFILMENT
from services.inventory.handlers import service as inventory
from services.inventory.store_memory import MemoryStock
from services.payment.handlers import service as payment
from services.sdk import Service
from services.sdk.start import needed_topics
from services.shipping.handlers import service as shipping
from tests.simulation import lab_service
from tests.simulation.broker import Broker, Line
from tests.simulation.chance import Chance
from tests.simulation.hosts import START_MS, OrchestratorHost, ServiceHost
from tests.simulation.oracle import Oracle
from tests.simulation.outside import FaultyCarrier, Gateway, LabProvider, Ledger, Stock, Temper
from tests.simulation.program import Program, adopt
from tests.simulation.scenario import Fault, Scenario
from tests.simulation.stores import Images, ServiceStore
from tests.simulation.virtual_loop import VirtualLoop

DOMAIN_PARTITIONS = 2
IDLE = frozenset(("poll", "poll again", "timers?", "timers, answered"))
"""Crossings that happen all the time: faults are not counted by them."""


class Broken(AssertionError):
    """An invariant does not hold; the message says which, and what happened."""


@dataclass(slots=True)
class Slot:
    """A place for a program: what dies here is started again."""

    name: str
    start: Callable[[Slot], None]
    program: Program | None = None
    host: OrchestratorHost | ServiceHost | None = None
    starts: int = 0

    @property
    def line(self) -> Line | None:
        return None if self.host is None else self.host.line


class World:
    """`trace` gets every line of the run, if given."""

    def __init__(
        self,
        scenario: Scenario,
        loop: VirtualLoop,
        chance: Chance,
        trace: list[str] | None,
    ) -> None:
        self.scenario = scenario
        self.loop = loop
        self.chance = chance
        self.trace = trace
        self.violation: str | None = None
        self.crossings = 0
        self.calm = False
        self.pending = 0
        """Records that strangers will still publish."""
        self.waiting: list[Fault] = list(scenario.faults)
        self.armed: list[Fault] = []
        """Their number has come; they wait for the kind of crossing that they want."""
        self.junk: set[tuple[str, int, int]] = set()
        """Topic, partition and offset of what must end as a dead letter."""
        self.strike: Callable[[Fault, Program], None] = lambda fault, program: None
        self._sloppy = chance.stream("sloppy")
        self._jitter = chance.stream("broker clock")
        self.book = SagaBook([ORDER_FULFILMENT, scenario.saga, *scenario.children], lab_service.CATALOG)
        self.services: tuple[Service, ...] = self._needed_services()
        self.partitions = self._topics()
        self.broker = Broker(self.partitions | {INBOX: SHARDS, SNAPSHOTS: SHARDS}, scenario.shards, self.broker_ms)
        self.broker.on_put = self._put
        self.broker.on_commit = self._commit
        self.broker.group(ENGINE_GROUP)
        self.broker.commit_start(ENGINE_GROUP, INBOX)
        self.images = Images()
        self.oracle = Oracle(self.book, self.broken, self.say)
        self.seen = self.broker.seen = self.images.seen = self.oracle.seen
        """How often what happened (coverage.py)."""
        self.images.on_write = self._stored
        self.ledger = Ledger(self.say, self.broken)
        pace = scenario.pace
        self.temper = Temper(scenario.seed, pace.lab_trouble, pace.order_trouble, self.seen)
        self.lab = LabProvider(self.ledger, self.temper, self.tell)
        self.gateway = Gateway(self.temper)
        self.carrier = FaultyCarrier(self.temper, self.now_ms)
        self.stock = MemoryStock(lambda sku: {} if sku.startswith("absent") else {"east": 2, "west": 3})
        self.service_stores = {service.name: ServiceStore(self.now_ms, self.seen) for service in self.services}
        self.slots: dict[str, Slot] = {}
        self._foreign = count(1)
        loop.born = adopt

    def _needed_services(self) -> tuple[Service, ...]:
        orders = (inventory, payment, shipping) if self.scenario.orders else ()
        return (*orders, *((lab_service.service,) if self.scenario.jobs else ()))

    def _topics(self) -> dict[str, int]:
        names = {topic for service in self.services for topic in needed_topics(service)}
        self._domain = {f"{context}.{suffix}" for context in self.book.contexts for suffix in ("commands", "events")}
        names |= self._domain
        topics = dict.fromkeys(sorted(names), DOMAIN_PARTITIONS)
        return topics | {LIFECYCLE: 1, ORCHESTRATOR_DEAD_LETTERS: 1, ORCHESTRATOR_REPLAYS: 1}

    # Time, and what is told of it.

    def now_ms(self) -> int:
        return START_MS + int(self.loop.time() * 1000)

    def broker_ms(self) -> int:
        jitter = self.scenario.pace.broker_jitter_ms
        return self.now_ms() - (self._jitter.randint(0, jitter) if jitter else 0)

    def say(self, text: str) -> None:
        if self.trace is not None:
            self.trace.append(f"{self.loop.time():10.3f} s  {text}")

    def broken(self, what: str) -> None:
        if self.violation is None:
            self.violation = f"at {self.loop.time():.3f} s, crossing {self.crossings}: {what}"
            self.say(f"BROKEN: {what}")

    # What the world hears.

    def crossing(self, program: Program, what: str) -> float:
        if what == "finish_restore, answered":
            self.seen["restored"] += 1
        if what not in IDLE:
            self.crossings += 1
            while self.waiting and self.waiting[0].at <= self.crossings:
                self.armed.append(self.waiting.pop(0))
        for fault in [fault for fault in self.armed if what.startswith(fault.where)] if self.armed else ():
            self.armed.remove(fault)
            self.strike(fault, program)
        return self.chance.latency_s()

    def _put(self, record: IncomingRecord, program: Program | None) -> None:
        if record.topic == SNAPSHOTS:
            self.seen["snapshot record"] += 1
            self.say(f"{program and program.name} -> {record.topic}/{record.partition}/{record.offset}: {record.key!r}")
            return
        if self.trace is not None and record.topic != INBOX:
            headers = dict(record.headers)
            who = program.name if program else "a stranger"
            about = headers.get("ce_causationid", b"").decode()
            kind, identity = headers.get("ce_type", b"").decode(), headers.get("ce_id", b"").decode()
            self.say(f"{who} -> {record.topic}/{record.partition}/{record.offset}: {kind} {identity} {about}")
        if program is not None:
            self._repeat_later(record)
        ours = program is not None and program.name.startswith("orchestrator")
        self.oracle.appended(record, ours)

    def _repeat_later(self, record: IncomingRecord) -> None:
        """Somebody who forwards a topic, or has seen no ack, publishes what is there already."""
        sloppy = self.scenario.pace.sloppy
        if not sloppy or self.calm or record.topic not in self._domain:
            return
        if self._sloppy.random() < sloppy:
            after_s = self._sloppy.random() * self._sloppy.choice((0.05, 2.0, 60.0))
            self.pending += 1
            self.seen["answered twice" if "ce_causationid" in dict(record.headers) else "repeated later"] += 1
            self.loop.call_later(after_s, self.repeat, record)

    def repeat(self, record: IncomingRecord) -> None:
        self.pending -= 1
        assert record.value is not None
        self.broker.put_from(OutgoingRecord(record.topic, record.key, record.value, record.headers), None)

    def tell(self, event: Event, key: str) -> None:
        """What a provider says by itself, long after it was asked under `key`: an outcome, by the protocol's rules."""
        envelope = Envelope(
            id=f"late-{key}", source="/provider", type=event.type, process_id=key.split("/")[0], causation_id=key
        )
        record = OutgoingRecord(event.topic, event.key.encode(), event.to_json(), encode_headers(envelope))
        self.broker.put_from(record, None)

    def _commit(self, group: str, offsets: Mapping[Place, int], program: Program) -> None:
        if group == ENGINE_GROUP:
            self.oracle.committed({place.partition: offset for place, offset in offsets.items()})
            text = ", ".join(f"{place.partition}/{offset}" for place, offset in offsets.items())
            self.say(f"{program.name}: the engine's group is at {text}")

    def _stored(self, checkpoint: Checkpoint, result: WriteResult, program: Program) -> None:
        self.say(
            f"{program.name}: checkpoint of shard {checkpoint.shard} {checkpoint.expected_next} ->"
            f" {checkpoint.position.next}: {result.value}"
        )
        self.seen[f"checkpoint {result.value}"] += 1
        self.oracle.stored(checkpoint, result)

    # Programs.

    def line(self, program: Program) -> Line:
        return Line(self.broker, program, self.chance.stream(f"line {program.name}"))

    def add_orchestrator(self, name: str) -> Slot:
        def start(slot: Slot) -> None:
            program = self._new_program(slot)
            host = OrchestratorHost(
                self.book, self.images, self.line(program), name, self.scenario.pace, self.scenario.snapshots
            )
            slot.host = host
            program.main(host.run)

        return self._add(Slot(name, start))

    def add_service(self, service: Service, instance: str) -> Slot:
        def start(slot: Slot) -> None:
            program = self._new_program(slot)
            skew_ms = self.chance.stream(f"skew {slot.name}").choice((0, 0, -1_500, 1_500))
            slot.host = ServiceHost(
                service, self._resources(service), self.service_stores[service.name], self.line(program),
                self.partitions, instance, self.scenario.pace, skew_ms,
            )  # fmt: skip
            program.main(slot.host.run)

        return self._add(Slot(f"{service.name}-{instance}", start))

    def _resources(self, service: Service) -> tuple[object, ...]:
        if service is inventory:
            return (Stock(self.stock, self.temper),)
        if service is payment:
            return (self.gateway,)
        return (self.carrier,) if service is shipping else (self.lab,)

    def _new_program(self, slot: Slot) -> Program:
        slot.starts += 1
        slot.program = Program(f"{slot.name}#{slot.starts}", self)
        self.say(f"{slot.program.name} starts")
        return slot.program

    def _add(self, slot: Slot) -> Slot:
        self.slots[slot.name] = slot
        self.start(slot)
        return slot

    def start(self, slot: Slot) -> None:
        """Start what is in this slot, unless it runs."""
        if slot.name in self.slots and (slot.program is None or not slot.program.alive):
            slot.start(slot)

    # Strangers.

    def publish(self, event: Event, identity: str) -> None:
        """As some shop does: at once, and perhaps twice."""
        envelope = Envelope(id=identity, source="/shop/web", type=event.type)
        record = OutgoingRecord(event.topic, event.key.encode(), event.to_json(), encode_headers(envelope))
        self.broker.put_from(record, None)

    def shard_of(self, process_id: str) -> int:
        return partition_of(process_id, SHARDS)

    def foreign_id(self) -> str:
        return f"foreign-{next(self._foreign)}"
