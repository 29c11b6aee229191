"""The judgement at the end of a run, when no fault is left and nothing moves any more."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from contracts.envelope import decode_headers
from contracts.ids import command_id, partition_of
from contracts.orders import OrderPlaced
from contracts.topics import INBOX, ORCHESTRATOR_DEAD_LETTERS, SHARDS, dead_letters_topic
from orchestrator.engine.expiry import may_expire
from orchestrator.engine.process import Process
from orchestrator.runtime.checkpoint import indexes_of, stored_timers
from orchestrator.runtime.log import Place
from orchestrator.runtime.router import router_topics
from orchestrator.runtime.routing import OFFSET_HEADER, PARTITION_HEADER, TOPIC_HEADER
from orchestrator.testkit.invariants import Broken as RuleBroken
from services.inventory.handlers import reservation_of
from tests.simulation.limiters import LimiterJudge
from tests.simulation.oracle import Followed
from tests.simulation.world import World

NEVER_STARTED = b"never-started"
"""Why the engine gives up an early message; the judge has seen that it had to (orchestrator/testkit/judge_waits.py)."""


def verdict(world: World) -> Iterator[str]:
    """Everything that is wrong, one sentence each."""
    yield from _started(world)
    yield from _routed(world)
    yield from _published(world)
    yield from _stored(world)
    yield from _books(world)
    yield from _families(world)
    standing = _standing(world)
    for followed in world.oracle.processes.values():
        process = followed.whole
        if process is None or process.phase == "early":
            continue
        try:
            followed.fold.refold()
            if isinstance(followed.judge, LimiterJudge):
                followed.judge.end(process)
            else:
                after = _of(process, standing)
                followed.judge.end(process, {key: step for key, step in after.items() if key not in followed.too_late})
        except RuleBroken as error:
            yield f"{process.id}: {error}"


def _families(world: World) -> Iterator[str]:
    """Every child belongs to a step of its parent, says the same of its end, and is let go with it; what is over has a
    time at which it is forgotten."""
    processes = {name: one.whole for name, one in world.oracle.processes.items() if one.whole is not None}
    for process in processes.values():
        for key, step in process.steps.items():
            child = processes.get(step.child or "")
            if step.child is not None and child is None:
                yield f"{process.id}: {key} has started {step.child}, and there is no such process"
            if step.status == "succeeded" and child is not None and not _is_child_of(child, process, key):
                yield f"{process.id}: {key} has succeeded, and {child.id} is nobody's child"
        if process.parent is not None:
            yield from _child(process, processes.get(process.parent.process))
        if may_expire(process) and not process.expires_at_ms:
            yield f"{process.id} is {process.phase}, and will never be forgotten"


def _is_child_of(child: Process, parent: Process, key: str) -> bool:
    return child.parent is not None and child.parent.start == command_id(parent.id, key, 1)


def _child(child: Process, parent: Process | None) -> Iterator[str]:
    assert child.parent is not None
    step = None if parent is None else parent.steps.get(child.parent.step)
    if parent is None or step is None or step.child != child.id:
        yield f"{child.id} is the child of {child.parent}, which knows nothing of it"
        return
    if child.parent.released != parent.over:
        kept = "let go" if child.parent.released else "not let go"
        yield f"{parent.id} is {parent.phase}, and its child {child.id} is {kept}"
    said = {"completed": "succeeded"}.get(child.ended or "", "refused")
    if child.parent.undo is None and child.ended and step.tries[-1].state != said:
        yield f"{child.id} has {child.ended}, and {parent.id} believes that it has {step.tries[-1].state}"


def _of(process: Process, standing: dict[str, str]) -> dict[str, str]:
    return {key: step for key, step in standing.items() if key.startswith(f"{process.id}/")}


def _started(world: World) -> Iterator[str]:
    for process_id in world.scenario.process_ids:
        followed = world.oracle.processes.get(process_id)
        if followed is None or followed.process is None:
            yield f"{process_id} was started, and there is no such process"
        elif followed.process.timers:
            yield f"{process_id} still has timers {sorted(followed.process.timers)}"


def _routed(world: World) -> Iterator[str]:
    """Every event that concerns a process is in the inbox, or in dead letters."""
    there: set[tuple[str, int, int]] = set()
    for topic, names in (
        (INBOX, (TOPIC_HEADER, PARTITION_HEADER, OFFSET_HEADER)),
        (ORCHESTRATOR_DEAD_LETTERS, ("dl_topic", "dl_partition", "dl_offset")),
    ):
        for record in world.broker.records(topic):
            found = dict(record.headers)
            if names[0] in found:
                there.add((found[names[0]].decode(), int(found[names[1]]), int(found[names[2]])))
    for topic in sorted(router_topics(world.book)):
        for record in world.broker.records(topic):
            if (topic, record.partition, record.offset) in world.junk:
                continue
            envelope = decode_headers(record.headers)
            routed = world.book.routes(envelope.type) or world.book.observes(envelope.type)
            concerns = envelope.process_id is not None or routed
            if concerns and (topic, record.partition, record.offset) not in there:
                yield f"{envelope.type} at {topic}/{record.partition}/{record.offset} never reached the inbox"


def _published(world: World) -> Iterator[str]:
    for shard, waiting in world.oracle.unpublished.items():
        for identity, offset in waiting.items():
            yield f"{identity} (input {shard}/{offset}) was never published"
    yield from _given_up(world)


def _given_up(world: World) -> Iterator[str]:
    """Dead letters are junk, and all that is junk is in dead letters."""
    given_up: set[tuple[str, int, int]] = set()
    topics = (ORCHESTRATOR_DEAD_LETTERS, *(dead_letters_topic(service.name) for service in world.services))
    for topic in topics:
        for record in world.broker.records(topic):
            found = dict(record.headers)
            place = (found["dl_topic"].decode(), int(found["dl_partition"]), int(found["dl_offset"]))
            given_up.add(place)
            if place not in world.junk and found["dl_reason"] != NEVER_STARTED:
                identity, reason = found.get("ce_id", b"").decode(), found["dl_reason"].decode()
                yield f"{topic}: {place} ({identity}) was given up: {reason}"
    for place in sorted(world.junk - given_up):
        yield f"the junk at {place} was never given up"


def _stored(world: World) -> Iterator[str]:
    """The store has what the log gives, byte for byte: states, history, timers and indexes."""
    for shard in world.scenario.shards:
        end = world.broker.bounds_of(Place(INBOX, shard))[1]
        position = world.images.store._shard(shard).position
        if (position.next if position else 0) != end:
            yield f"shard {shard} is stored up to {position}, the inbox ends at {end}"
    for process_id, followed in world.oracle.processes.items():
        if followed.process is not None:
            yield from _stored_process(world, process_id, followed, followed.process)


def _stored_process(world: World, process_id: str, followed: Followed, process: Process) -> Iterator[str]:
    shard = world.images.store._shard(partition_of(process_id, SHARDS))
    if shard.blobs.get(process_id) != followed.blobs[-1][1]:
        yield f"{process_id}: the stored state is not the fold of the log"
    wanted = [entry for _, entry in followed.history]
    found = shard.history.get(process_id, [])
    if found != wanted:
        yield f"{process_id}: the stored history has {len(found)} entries, and the log gives {len(wanted)} (or others)"
    timers = {name: due for (owner, name), due in shard.timers.items() if owner == process_id}
    if timers != stored_timers(process):
        yield f"{process_id}: timers {timers} are stored, but {stored_timers(process)} are set"
    indexes = {name for name, members in shard.indexes.items() if process_id in members}
    if indexes != set(indexes_of(process)):
        yield f"{process_id} is in the indexes {sorted(indexes)}, not in {indexes_of(process)}"


def _standing(world: World) -> dict[str, str]:
    """Command id -> step, of all effects that are there and were not undone."""
    standing = {key: key.split("/")[1] for key in world.ledger.standing}  # the path: elements and rounds are told apart
    standing |= {key: "charge" for key, one in world.gateway.inner._charges.items() if not one.refunded}
    standing |= {key: "create_label" for key, one in world.carrier.inner._labels.items() if one.status != "void"}
    for identity in world.oracle.expected:
        process_id, _, path = identity.partition("/")
        name, order = path.split("/")[0], world.stock._orders.get(process_id.partition(":")[2])
        if order is None or name not in ("reserve", "dispatch") or "/undo/" in path:
            continue
        if name == "reserve" and (reservation_of(identity) in order.open or _dispatched(order, identity)):
            standing[identity] = name
    for followed in world.oracle.processes.values():
        child = followed.process
        if child is not None and child.parent is not None and child.ended == "completed":
            place = child.parent.start.rpartition("/")[0]
            if place not in world.ledger.undone_children:
                standing[child.parent.start] = place.partition("/")[2]
    for key in world.carrier.inner._dispatches:
        order_id = key.split("/")[0]
        standing[f"order-fulfilment:{order_id}/dispatch/1 {key}"] = "dispatch"
    return standing


def _dispatched(order: object, identity: str) -> bool:
    """The reservation's units have left: it is neither open nor revoked, although it was made."""
    movements, revoked = order.movements, order.revoked  # type: ignore[attr-defined]
    made = movements.get(reservation_of(identity))
    return made is not None and bool(made.lines) and order.dispatched and reservation_of(identity) not in revoked  # type: ignore[attr-defined]


def _books(world: World) -> Iterator[str]:
    """Money and goods of every order that has ended, and the sum of all stock."""
    reserved: Counter[str] = Counter()
    dispatched: Counter[str] = Counter()
    for level in (level for by_place in world.stock._levels.values() for level in by_place.values()):
        reserved[level.sku] += level.reserved
        dispatched[level.sku] += level.dispatched
    stuck = False
    for order in world.scenario.orders:
        followed = world.oracle.processes.get(f"order-fulfilment:{order.order_id}")
        process = followed.process if followed else None
        if process is None or process.stuck:
            stuck = True
            continue
        yield from _money(world, order, process)
        if process.phase == "completed":
            for line in order.lines:
                dispatched[line.sku] -= line.quantity
    for sku, by_place in world.stock._levels.items():
        total = sum(level.on_hand + level.reserved + level.dispatched for level in by_place.values())
        if total != 5:
            yield f"there are {total} units of {sku}, not 5"
    if not stuck:
        for sku, units in reserved.items():
            if units:
                yield f"{units} units of {sku} are still reserved"
        for sku, units in dispatched.items():
            if units:
                yield f"{units} units of {sku} more were dispatched than fulfilled orders have"


def _money(world: World, order: OrderPlaced, process: Process) -> Iterator[str]:
    balance = world.gateway.inner.balance_cents(order.order_id)
    wanted = order.total_cents if process.phase == "completed" else 0
    if balance != wanted:
        yield f"{process.id} is {process.phase}, and the customer has paid {balance} cents, not {wanted}"
    pick_ups = sum(key.startswith(f"{order.order_id}/") for key in world.carrier.inner._dispatches)
    if pick_ups != (process.phase == "completed"):
        yield f"{process.id} is {process.phase}, and the carrier came {pick_ups} times"
