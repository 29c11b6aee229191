"""What strangers write by mistake or malice. All of it must be accounted for: dead-lettered, skipped or ignored."""

from __future__ import annotations

from contracts.envelope import Envelope, encode_headers
from contracts.process import TimerFired
from contracts.record import Headers, OutgoingRecord
from contracts.topics import INBOX
from orchestrator.runtime.log import Place
from orchestrator.testkit.lab import Begun, Do, Done
from tests.simulation.world import World

STRANGER = "/stranger"


def scatter(world: World, pick: int) -> str:
    """One piece of junk, chosen by `pick`. What must be dead-lettered is noted in the world."""
    kinds = (_not_json, _no_id, _reserved, _no_headers, _unset_timer, _not_awaited, _bad_command)
    kind = kinds[pick % len(kinds)]
    kind(world, world.foreign_id())
    return f"a stranger writes junk: {kind.__name__.strip('_').replace('_', ' ')}"


def _put(world: World, record: OutgoingRecord, *, dead: bool) -> None:
    ack = world.broker.put_from(record, None)
    assert ack.offset is not None
    if dead:
        world.junk.add((*ack.place, ack.offset))


def _headers(identity: str, kind: str, **more: str) -> Headers:
    return encode_headers(Envelope(id=identity, source=STRANGER, type=kind, **more))  # type: ignore[arg-type]


def _not_json(world: World, identity: str) -> None:
    _put(world, OutgoingRecord(Begun.topic, b"junk", b"{", _headers(identity, Begun.type)), dead=True)


def _no_id(world: World, identity: str) -> None:
    headers = tuple(pair for pair in _headers(identity, Begun.type) if pair[0] != "ce_id")
    _put(world, OutgoingRecord(Begun.topic, b"junk", b"{}", headers), dead=True)


def _reserved(world: World, identity: str) -> None:
    process = world.scenario.process_ids[0]
    headers = _headers(identity, TimerFired.type, process_id=process)
    _put(world, OutgoingRecord(Begun.topic, b"junk", b"{}", headers), dead=True)


def _no_headers(world: World, identity: str) -> None:
    shard = world.scenario.shards[0]
    _put(world, OutgoingRecord(INBOX, b"junk", b"{}", (), shard), dead=True)


def _unset_timer(world: World, identity: str) -> None:
    process = world.scenario.process_ids[0]
    fired = TimerFired(process_id=process, timer_id="nobody/silence", due_ms=0)
    place = Place(INBOX, world.shard_of(process))
    record = OutgoingRecord(INBOX, process.encode(), fired.to_json(), _headers(identity, fired.type), place.partition)
    _put(world, record, dead=False)


def _not_awaited(world: World, identity: str) -> None:
    process = world.scenario.process_ids[0]
    done = Done(job_id="junk", step="nobody")
    headers = _headers(identity, done.type, process_id=process, causation_id=f"{process}/nobody/1")
    _put(world, OutgoingRecord(done.topic, b"junk", done.to_json(), headers), dead=False)


def _bad_command(world: World, identity: str) -> None:
    """Of no process: nobody waits for its answer, so that it can only be dead-lettered."""
    has_lab = any(service.name == "lab" for service in world.services)
    _put(world, OutgoingRecord(Do.topic, b"junk", b"[]", _headers(identity, Do.type)), dead=has_lab)
