"""Where a service may start, and whether it may: topics, positions, committed offsets."""

from __future__ import annotations

from collections.abc import Mapping

import structlog

from contracts.topics import dead_letters_topic, events_topic
from services.sdk.failures import StartRefused
from services.sdk.ports import Bounds, Place, Subscription
from services.sdk.service import Service
from services.sdk.wiring import Wiring

log = structlog.get_logger("services.sdk")


def needed_topics(service: Service) -> tuple[str, ...]:
    """All that the service reads or may write, as far as contracts and annotations say."""
    handlers = service.handlers.values()
    written = {message.topic for handler in handlers for message in (*handler.outcomes, *handler.returns)}
    written |= {
        events_topic(handler.message.topic.removesuffix(".commands")) for handler in handlers if handler.is_command
    }
    written |= {events_topic(context) for context in service.contexts}
    return tuple(sorted({*service.topics, *written, dead_letters_topic(service.name)}))


async def check_topics(wiring: Wiring) -> None:
    """Raises StartRefused if a topic is missing, BusAwayError."""
    needed = needed_topics(wiring.service)
    found = await wiring.bus.partitions(needed)
    missing = [name for name in needed if name not in found]
    if missing:
        raise StartRefused(
            f"{wiring.service.name}: missing topics {', '.join(missing)}: run `counterpoint topics apply` first"
        )


async def start_offsets(wiring: Wiring, subscription: Subscription, places: frozenset[Place]) -> dict[Place, int]:
    """Where to start reading each partition.

    Raises:
        StartRefused: the inbox is empty although the group has committed, or the log is not the one it was.
        StoreAwayError, BusAwayError.
    """
    if not places:
        return {}
    stored = await wiring.inbox.positions()
    committed = await subscription.committed(places)
    lost = sorted(place for place in places if place not in stored and place in committed)
    if lost and not wiring.limits.accept_empty_store:
        raise StartRefused(_lost_store(wiring.service.name, lost))
    published = committed | await _without_offset(wiring, subscription, places - committed.keys())
    # Asked last: a log that grows meanwhile must not end before the position that was found in it.
    bounds = await subscription.bounds(places)
    starts: dict[Place, int] = {}
    for place in places:
        start = min(published[place], stored.get(place, published[place]))
        starts[place] = _within(wiring.service.name, place, start, bounds)
    return starts


async def _without_offset(wiring: Wiring, subscription: Subscription, places: frozenset[Place]) -> dict[Place, int]:
    """Where a partition without a committed offset begins, be the group new or its offsets lost: what is older than the
    dedupe retention would be refused anyway. The inbox' position alone must not decide: what it stored may not have
    been published."""
    if not places:
        return {}
    return await subscription.offsets_at(places, wiring.around.now_ms() - wiring.limits.retention_ms)


def _lost_store(service: str, lost: list[Place]) -> str:
    return (
        f"{service}: its dedupe store knows nothing of {lost[0]} ({len(lost)} in all), although its group has "
        "committed offsets there: restore the store from its backup, or start with accept_empty_store=yes, which may "
        "do again what was done before"
    )


def _within(service: str, place: Place, start: int, bounds: Mapping[Place, Bounds]) -> int:
    low, high = bounds[place]
    if start > high:
        raise StartRefused(
            f"{service}: position {start} of {place} is past the log's end {high}: the topic was created anew or cut"
        )
    if start < low:
        log.error("records expired unread", service=service, place=str(place), first=start, count=low - start)
    return max(start, low)
