"""After a service's store went back in time: the service tells again what its readers believe and it lost.

A replay publishes what was lost under the same ids, but state that depends on what was there just then may come out
otherwise than it was announced. A service that announces such state registers one function with
`@service.after_rewind`; it runs before the replay begins (decision 0015).
"""

from __future__ import annotations

from collections.abc import Iterable

import structlog

from contracts.envelope import Envelope, encode_headers, format_time
from contracts.ids import handler_message_id, service_source
from contracts.message import Event
from contracts.record import OutgoingRecord
from services.sdk.after_rewind import AfterRewind
from services.sdk.ports import Place, Subscription
from services.sdk.wiring import Wiring

log = structlog.get_logger("services.sdk")


async def went_back(wiring: Wiring, subscription: Subscription, places: Iterable[Place]) -> bool:
    """Whether the store stands behind what the group has committed. A tenure commits nothing that the store does not
    have, so it went back in time. Raises StoreAwayError, BusAwayError."""
    stored = await wiring.inbox.positions()
    committed = await subscription.committed(frozenset(places))
    return any(stored.get(place, 0) < offset for place, offset in committed.items())


async def tell_again(wiring: Wiring, then: AfterRewind, token: str) -> None:
    """Publish all that the function yields. `token` is new for each rewind: these are new events, with new ids."""
    service, count = wiring.service.name, 0
    async for page in then.bound(wiring.resources)():
        records = [_record(service, then.name, token, event, count + at, wiring) for at, event in enumerate(page)]
        await wiring.bus.publish(records)
        count += len(records)
    log.warning("the store went back in time; told again", service=service, events=count)


def _record(service: str, name: str, token: str, event: Event, index: int, wiring: Wiring) -> OutgoingRecord:
    identity = handler_message_id(service, name, token, event.type, index)
    time = format_time(wiring.around.now_ms())
    envelope = Envelope(id=identity, source=service_source(service), type=event.type, time=time)
    return OutgoingRecord(event.topic, event.key.encode(), event.to_json(), encode_headers(envelope))
