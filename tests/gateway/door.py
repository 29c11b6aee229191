"""A gateway over memory adapters, and a client that talks to it as over HTTP."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from itertools import count

import httpx
from prometheus_client import CollectorRegistry

from contracts.catalog import standard_catalog
from contracts.envelope import Envelope, decode_headers
from contracts.record import IncomingRecord
from contracts.topics import INBOX, SHARDS
from services.gateway.app import build_app
from services.gateway.declaration import declaration_of, default_declaration
from services.gateway.gateway import Gateway, GatewayLimits, source_buckets, source_keys
from services.gateway.intake import Intake
from services.gateway.keys_memory import MemoryKeys
from services.gateway.metrics import GatewayMetrics
from services.gateway.publishing import Publisher
from services.gateway.rates import Buckets
from services.sdk.memory import MemoryBus
from services.sdk.surroundings import Surroundings

NOW_MS = 1_800_000_000_000
SECRET = "whsec_test_secret"
LINK_SECRET = "a secret of links, long enough for all"
LEAD = {"lead_id": "l1", "name": "Ada", "email": "ada@example.org", "message": "Hello"}
ORDER = {
    "order_id": "o1",
    "customer_id": "c1",
    "lines": [{"sku": "tea", "quantity": 2, "unit_price_cents": 450}],
    "total_cents": 900,
    "currency": "EUR",
    "ship_to": {"name": "Ada", "street": "1", "city": "Turin", "postal_code": "10121", "country": "IT"},
    "payment_method": "pm_card",
}
LIMITS = GatewayLimits(publish_wait_s=0.05, client_burst=1_000)


@dataclass
class Door:
    """`clock_ms`: what time it is, for everything inside."""

    client: httpx.AsyncClient
    bus: MemoryBus
    keys: MemoryKeys
    registry: CollectorRegistry
    gateway: Gateway
    clock_ms: list[int]

    @property
    def published(self) -> list[IncomingRecord]:
        return self.bus.published

    def envelopes(self) -> list[Envelope]:
        return [decode_headers(record.headers) for record in self.published]

    def counted(self, kind: str, name: str, result: str) -> float | None:
        labels = {"kind": kind, "name": name, "result": result}
        return self.registry.get_sample_value("counterpoint_gateway_requests_total", labels)


def surroundings(clock_ms: list[int]) -> Surroundings:
    numbers = count(1)
    return Surroundings(
        now_ms=lambda: clock_ms[0],
        monotonic_s=lambda: clock_ms[0] / 1000,
        sleep=asyncio.sleep,
        random=lambda: 0.5,
        token=lambda: f"{next(numbers):08x}",
    )


@asynccontextmanager
async def door(
    declared: str = "",
    limits: GatewayLimits = LIMITS,
    change: Callable[[Gateway], Gateway] = lambda gateway: gateway,
) -> AsyncIterator[Door]:
    """`declared`: the declaration's TOML; every source's secret is in variable SHOP_SECRET."""
    clock_ms = [NOW_MS]
    catalog, around, registry = standard_catalog(), surroundings(clock_ms), CollectorRegistry()
    declaration = declaration_of(declared, catalog) if declared else default_declaration(catalog)
    topics = {message.topic for message in declaration.messages()} | {INBOX}
    bus, keys = MemoryBus(sorted(topics), around.now_ms, SHARDS), MemoryKeys(around.now_ms)
    bus.away = False
    publisher = Publisher(bus, lambda: None, limits.publish_wait_s)
    gateway = Gateway(
        declaration=declaration,
        intake=Intake(keys, publisher, around),
        metrics=GatewayMetrics(registry, lambda: publisher.waiting),
        around=around,
        clients=Buckets(limits.client_per_second, limits.client_burst, around.monotonic_s),
        sources=source_buckets(declaration, around),
        keys_of_sources=source_keys(declaration, {"SHOP_SECRET": SECRET}),
        limits=limits,
        link_secrets=(LINK_SECRET,),
    )
    gateway = change(gateway)
    transport = httpx.ASGITransport(build_app(gateway))
    async with httpx.AsyncClient(transport=transport, base_url="http://gateway.example") as client:
        yield Door(client, bus, keys, registry, gateway, clock_ms)
    await publisher.close()


def with_origins(*origins: str) -> Callable[[Gateway], Gateway]:
    return lambda gateway: replace(gateway, allowed_origins=frozenset(origins))
