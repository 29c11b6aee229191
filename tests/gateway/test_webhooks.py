"""Webhooks: proven, mapped, published once, whatever the sender repeats and a stranger replays."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from services.gateway.gateway import source_keys
from services.gateway.signatures import PRESETS, sign
from services.sdk.failures import StartRefused
from tests.gateway.declarations import HEAD, ORDERS, SHOP_ORDER
from tests.gateway.door import NOW_MS, SECRET, Door, door

LEAD_FIELDS = """
type = "leads.submitted.v1"
fields = { lead_id = "lead", name = "name", email = { value = "a@b.c" }, message = { value = "m" } }
"""
GITHUB = HEAD.replace("stripe", "github").replace('event_id = "id"\n', "") + LEAD_FIELDS


async def send(at: Door, payload: Any, scheme: str = "stripe", now_ms: int | None = None, secret: str = SECRET) -> Any:
    body = payload if isinstance(payload, bytes) else orjson.dumps(payload)
    headers = sign(PRESETS[scheme], secret.encode(), body, (now_ms or at.clock_ms[0]) // 1000, "m1")
    return await at.client.post("/webhooks/shop", content=body, headers=headers)


async def test_a_signed_request_becomes_one_event_however_often_it_comes() -> None:
    async with door(ORDERS) as at:
        answers = [await send(at, SHOP_ORDER) for _ in range(3)]

        assert [answer.status_code for answer in answers] == [202] * 3
        assert len({answer.text for answer in answers}) == 1
        assert [(record.topic, record.key) for record in at.published] == [("orders.events", b"77")]
        assert at.counted("webhooks", "shop", "accepted") == 1
        assert at.counted("webhooks", "shop", "repeated") == 2


async def test_a_repeat_may_say_more_about_its_delivery() -> None:
    async with door(ORDERS) as at:
        first = await send(at, SHOP_ORDER)
        again = await send(at, {**SHOP_ORDER, "delivery_attempt": 2})

        assert (again.status_code, again.json()) == (202, first.json())
        assert len(at.published) == 1


async def test_the_same_id_with_another_event_is_refused() -> None:
    async with door(ORDERS) as at:
        await send(at, SHOP_ORDER)
        other = await send(at, {**SHOP_ORDER, "data": {**SHOP_ORDER["data"], "customer": "c10"}})

        assert (other.status_code, other.json()["type"]) == (422, "urn:counterpoint:problem:key-reused")
        assert len(at.published) == 1


async def test_what_is_not_proven_is_not_read() -> None:
    async with door(ORDERS) as at:
        wrong = await send(at, b"{", secret="another")
        old = await send(at, SHOP_ORDER, now_ms=NOW_MS - 301_000)
        bare = await at.client.post("/webhooks/shop", json=SHOP_ORDER)

        assert [(one.status_code, one.json()["reason"]) for one in (wrong, old, bare)] == [
            (401, "wrong-signature"),
            (401, "stale"),
            (401, "no-signature"),
        ]
        assert at.published == []
        refused = "counterpoint_gateway_signatures_refused_total"
        assert at.registry.get_sample_value(refused, {"name": "shop", "reason": "stale"}) == 1


async def test_a_captured_request_is_worth_nothing_later() -> None:
    """Within the window it is the same event; after the window it is stale; and the memory outlives the window."""
    async with door(ORDERS) as at:
        for later_ms, status in ((0, 202), (299_000, 202), (301_000, 401), (25 * 3_600_000, 401)):
            at.clock_ms[0] = NOW_MS + later_ms
            assert (await send(at, SHOP_ORDER, now_ms=NOW_MS)).status_code == status

        assert len(at.published) == 1


async def test_without_a_time_the_memory_is_longer_and_no_unsigned_header_makes_a_new_event() -> None:
    async with door(GITHUB) as at:
        lead = {"lead": "l1", "name": "Ada"}
        await send(at, lead, "github")
        at.clock_ms[0] += 29 * 24 * 3_600_000
        body = orjson.dumps(lead)
        headers = sign(PRESETS["github"], SECRET.encode(), body, 0, "")
        again = await at.client.post(
            "/webhooks/shop", content=body, headers={**headers, "x-github-delivery": "new", "idempotency-key": "new"}
        )

        assert again.headers["idempotency-replayed"] == "true"
        assert len(at.published) == 1


async def test_what_no_rule_wants_is_answered_and_not_published() -> None:
    async with door(ORDERS) as at:
        answer = await send(at, {**SHOP_ORDER, "type": "order.viewed"})

        assert (answer.status_code, answer.json()["status"]) == (200, "ignored")
        assert at.published == []


@pytest.mark.parametrize(
    ("payload", "status", "pointers"),
    [
        (b"{", 400, None),
        ({**SHOP_ORDER, "data": {**SHOP_ORDER["data"], "total": "ten"}}, 422, ["#/total_cents"]),
        ({**SHOP_ORDER, "data": {**SHOP_ORDER["data"], "customer": "c 9"}}, 422, ["#/customer_id"]),
        ({**SHOP_ORDER, "data": {**SHOP_ORDER["data"], "total": "9.98"}}, 422, ["#"]),
        ({**SHOP_ORDER, "id": None}, 422, ["#/id"]),
        ({**SHOP_ORDER, "id": "x" * 600}, 422, ["#/id"]),
    ],
)
async def test_what_does_not_fit_is_pointed_at(payload: Any, status: int, pointers: list[str] | None) -> None:
    async with door(ORDERS) as at:
        answer = await send(at, payload)

        assert answer.status_code == status
        assert pointers is None or [error["pointer"] for error in answer.json()["errors"]] == pointers
        assert at.published == []


async def test_a_number_beyond_all_bounds_is_a_field_that_is_wrong() -> None:
    async with door(GITHUB.replace('name = "name"', 'name = { path = "name", as = "integer" }')) as at:
        answer = await send(at, b'{"lead": "l1", "name": 1e300}', "github")

        assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, "#/name")


async def test_a_stranger_cannot_use_up_what_the_source_may_send() -> None:
    limited = ORDERS.replace("[[sources", "per_second = 1\nburst = 1\n[[sources")
    async with door(limited) as at:
        for _ in range(5):
            assert (await send(at, SHOP_ORDER, secret="another")).status_code == 401
        assert (await send(at, SHOP_ORDER)).status_code == 202
        assert (await send(at, SHOP_ORDER)).status_code == 429


async def test_an_unknown_source_is_not_found() -> None:
    async with door(ORDERS) as at:
        assert (await at.client.post("/webhooks/other", json={})).status_code == 404


async def test_while_kafka_is_away_the_sender_is_told_to_come_again() -> None:
    async with door(ORDERS) as at:
        at.bus.away = True
        refused = await send(at, SHOP_ORDER)
        at.bus.away = False
        answer = await send(at, SHOP_ORDER)

        assert (refused.status_code, answer.status_code) == (503, 202)
        assert {envelope.id for envelope in at.envelopes()} == {answer.json()["event_id"]}


async def test_a_source_without_its_secret_keeps_the_gateway_from_starting() -> None:
    async with door(ORDERS) as at:
        with pytest.raises(StartRefused, match="SHOP_SECRET in the environment: the secret is empty"):
            source_keys(at.gateway.declaration, {})
