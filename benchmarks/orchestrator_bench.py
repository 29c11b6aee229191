"""Processor time of the orchestrator's own work for a durable step: `python -m benchmarks.orchestrator_bench`.

Router, engine and checkpoints of the order flow, stage by stage, with the real code and nothing running: services
answer from templates, what goes to Kafka or Redis is encoded and dropped. Sockets and event loop are left out. Each
stage is the best of several rounds of `time.process_time`; `--profile FILE` writes where one more round goes.
"""

from __future__ import annotations

import asyncio
import cProfile
import sys
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from time import process_time
from typing import Any, TypeVar

import hiredis
from aiokafka.producer.message_accumulator import BatchBuilder

from benchmarks.orders import order_record
from benchmarks.peers.flow import is_declined, steps_of
from contracts.envelope import Envelope, decode_headers, encode_headers
from contracts.ids import fingerprint, partition_of
from contracts.record import IncomingRecord, OutgoingRecord
from contracts.topics import DOMAIN_PARTITIONS, INBOX, SHARDS
from operations.collector import settle_collector
from orchestrator.engine.book import SagaBook
from orchestrator.runtime.claim import Claim
from orchestrator.runtime.keys_redis import CheckpointCall
from orchestrator.runtime.log import Place
from orchestrator.runtime.log_kafka import BATCH_BYTES, KafkaAppender
from orchestrator.runtime.routed_batch import RoutedBatch
from orchestrator.runtime.routing import Routing
from orchestrator.runtime.rules import Rules, rules_of
from orchestrator.runtime.shard import Folded, Item, Shard
from orchestrator.runtime.store import Checkpoint, Loaded
from orchestrator.sagas import all_sagas

ROUNDS = 5
ORDERS = 2_000
POLL = 500
"""Records of one batch."""
AT_MS = 1_800_000_000_000
Result = TypeVar("Result")

ANSWERS: Mapping[str, tuple[tuple[str, str], ...]] = {
    "inventory.reserve.v1": (
        ("inventory.reserved.v1", '{"order_id":"%s","reservation_id":"r-17","lines":[%s]}'),
        *[("inventory.stock-changed.v1", "")] * 3,
    ),
    "inventory.release.v1": (
        ("inventory.released.v1", '{"order_id":"%s","lines":[%s]}'),
        *[("inventory.stock-changed.v1", "")] * 3,
    ),
    "payment.charge.v1": (
        ("payment.captured.v1", '{"order_id":"%s","payment_id":"p-17","amount_cents":1194,"currency":"USD"}'),
    ),
    "shipping.create-label.v1": (
        ("shipping.label-created.v1", '{"order_id":"%s","label_id":"l1","carrier":"swift","tracking_number":"t1"}'),
    ),
    "shipping.void-label.v1": (("shipping.label-voided.v1", '{"order_id":"%s"}'),),
    "shipping.dispatch.v1": (
        ("shipping.dispatched.v1", '{"order_id":"%s","tracking_number":"t","dispatched_at":"2026-01-02T03:04:05Z"}'),
        *[("inventory.stock-changed.v1", "")] * 3,
    ),
}
"""What the services say to a command: an outcome, and what else changes."""
LINES = ",".join(f'{{"sku":"p{line}","quantity":1,"warehouse":"east"}}' for line in range(3))
DECLINED = ("payment.declined.v1", '{"order_id":"%s","code":"card_declined"}')
STOCK = (
    '{"sku":"p1","warehouse":"east","on_hand":5,"reserved":2,"revision":3,"changed_at":"2026-01-02T03:04:05.678000Z"}'
)


def answers(command: OutgoingRecord) -> list[OutgoingRecord]:
    """What a service publishes for it."""
    asked = decode_headers(command.headers)
    order = (command.key or b"").decode()
    said = ANSWERS[asked.type]
    if asked.type == "payment.charge.v1" and is_declined(int(order.rpartition("-")[2])):
        said = (DECLINED,)
    found = []
    for index, (type_name, template) in enumerate(said):
        key, data = ("p1", STOCK) if not template else (order, template.replace("%s", order, 1).replace("%s", LINES))
        context = type_name.split(".", 1)[0]
        envelope = Envelope(
            id=fingerprint(f"{asked.id} {index}", b""), source=f"/counterpoint/{context}", type=type_name,
            time="2026-01-02T03:04:05.678Z", process_id=asked.process_id if template else None,
            causation_id=asked.id, traceparent=asked.traceparent,
        )  # fmt: skip
        partition = partition_of(key, DOMAIN_PARTITIONS)
        found.append(
            OutgoingRecord(f"{context}.events", key.encode(), data.encode(), encode_headers(envelope), partition)
        )
    return found


class Producer:
    """Builds batches as aiokafka's does, and sends none."""

    def create_batch(self) -> BatchBuilder:
        return BatchBuilder(BATCH_BYTES, 0)

    async def partitions_for(self, topic: str) -> Sequence[int]:
        return range(DOMAIN_PARTITIONS)


class Bench:
    """One round: orders in, until every process has ended."""

    def __init__(self, book: SagaBook, rules: Rules) -> None:
        self.used: dict[str, float] = defaultdict(float)
        self.inputs = self.checkpoints = self.redis_bytes = self.operations = 0
        self._routing = Routing(book)
        self._shards = {n: Shard(n, rules, Claim(0, None, 0, None), 10_000) for n in range(SHARDS)}
        self._offsets: dict[Place, int] = defaultdict(int)
        self._appender, self._producer = KafkaAppender(""), Producer()

    def run(self) -> None:
        events = [order_record(number, "load") for number in range(ORDERS)]
        inbox: list[OutgoingRecord] = []
        while events or inbox:
            batch, events = events[:POLL], events[POLL:]
            inbox += self._route(batch)
            batch, inbox = inbox[:POLL], inbox[POLL:]
            for effect in self._fold(batch):
                if effect.topic.endswith(".commands"):
                    events += answers(effect)
                elif effect.topic.endswith("orders.events"):
                    events.append(effect._replace(partition=0))
            self._store()

    def _timed(self, stage: str, work: Callable[[], Result]) -> Result:
        began = process_time()
        result = work()
        self.used[stage] += process_time() - began
        return result

    def _polled(self, records: Sequence[OutgoingRecord]) -> dict[Place, list[IncomingRecord]]:
        polled: dict[Place, list[IncomingRecord]] = defaultdict(list)
        for record in records:
            place = Place(record.topic, record.partition or 0)
            offset = self._offsets[place]
            self._offsets[place] += 1
            polled[place].append(IncomingRecord(*place, offset, AT_MS, record.key, record.value, tuple(record.headers)))
        return polled

    def _route(self, records: Sequence[OutgoingRecord]) -> list[OutgoingRecord]:
        if not records:
            return []
        polled = self._polled(records)
        routed = self._timed("router: route", lambda: RoutedBatch(self._routing, polled))
        outgoing = self._timed("router: collect", lambda: (routed.outgoing(), routed.appended()))[0]
        self._timed("router: encode for the inbox", lambda: self._encode(outgoing))
        return outgoing

    def _encode(self, records: Sequence[OutgoingRecord]) -> None:
        for batch in asyncio.run(self._appender._batches(self._producer, records)):
            batch.builder._build()

    def _fold(self, records: Sequence[OutgoingRecord]) -> list[OutgoingRecord]:
        if not records:
            return []
        assert all(record.topic == INBOX for record in records)
        polled = self._polled(records)
        shards = [(self._shards[place.partition], found) for place, found in polled.items()]
        batch = self._timed("engine: read", lambda: [(shard, shard.read(found)) for shard, found in shards])
        self._admit(batch)
        folds = self._timed("engine: fold", lambda: [(shard, shard.fold(items)) for shard, items in batch])
        effects = [effect for _, folded in folds for effect in folded.effects]
        self._timed("engine: encode effects", lambda: self._encode(effects))
        self._timed("engine: accept", lambda: _accept(folds))
        self.inputs += sum(_applied(folded) for _, folded in folds)
        return effects

    @staticmethod
    def _admit(batch: Sequence[tuple[Shard, list[Item]]]) -> None:
        for shard, items in batch:
            wanted = shard.missing(items)
            shard.admit(wanted, Loaded(shard.stored_next, (None,) * len(wanted)))

    def _store(self) -> None:
        dirty = [shard for shard in self._shards.values() if shard.dirty]
        found = self._timed("write-behind: cut", lambda: [shard.cut("c" * 32) for shard in dirty])
        checkpoints = [one for one in found if one is not None]
        for packed in self._timed("write-behind: encode for Redis", lambda: [_packed(one) for one in checkpoints]):
            self.redis_bytes += len(packed)
        self._timed("write-behind: confirm", lambda: _confirm(dirty))
        self.checkpoints += len(checkpoints)


def _accept(folds: Sequence[tuple[Shard, Folded]]) -> None:
    for shard, folded in folds:
        shard.accept(folded)


def _confirm(shards: Sequence[Shard]) -> None:
    for shard in shards:
        shard.confirm()


def _applied(folded: Folded) -> int:
    assert folded.halt is None and all(decision.result == "applied" for decision in folded.decisions)
    return len(folded.decisions)


def _packed(checkpoint: Checkpoint) -> bytes:
    call = CheckpointCall(checkpoint)
    command: tuple[Any, ...] = ("EVALSHA", "c" * 40, len(call.keys), *call.keys, *call.arguments)
    packed: bytes = hiredis.pack_command(command)
    return packed


def main() -> None:
    settle_collector()
    book = SagaBook(all_sagas())
    rules = rules_of(book)
    rounds = []
    for _ in range(ROUNDS):
        bench = Bench(book, rules)
        bench.run()
        rounds.append(bench)
    steps, last = steps_of(ORDERS), rounds[-1]
    for stage in last.used:
        best = min(bench.used[stage] for bench in rounds)
        sys.stdout.write(f"{stage:32} {best / steps * 1e6:7.2f} us a step\n")
    total = sum(min(bench.used[stage] for bench in rounds) for stage in last.used)
    sys.stdout.write(f"{'all':32} {total / steps * 1e6:7.2f} us a step\n")
    sys.stdout.write(
        f"{last.inputs / steps:.2f} inputs, {last.checkpoints / steps:.2f} checkpoints, "
        f"{last.redis_bytes / steps:,.0f} bytes to Redis a step\n"
    )
    if len(sys.argv) > 2 and sys.argv[1] == "--profile":
        profile = cProfile.Profile()
        profile.runcall(Bench(book, rules).run)
        profile.dump_stats(sys.argv[2])


if __name__ == "__main__":
    main()
