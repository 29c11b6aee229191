"""Forms: from a program or a browser to one event, whatever is repeated, and what is said of what is wrong."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any
from urllib.parse import urlencode

import orjson
import pytest

from services.gateway.gateway import GatewayLimits
from tests.gateway.door import LEAD, LIMITS, ORDER, door, with_origins

FORM = {"content-type": "application/x-www-form-urlencoded"}
BROWSER = {**FORM, "accept": "text/html,application/xhtml+xml"}


def key(text: str) -> dict[str, str]:
    return {"Idempotency-Key": text}


async def test_a_form_becomes_one_event_and_the_answer_names_it() -> None:
    async with door() as at:
        answer = await at.client.post("/forms/orders.placed.v1", json=ORDER, headers=key("k1"))

        (record,), (envelope,) = at.published, at.envelopes()
        assert answer.status_code == 202
        assert answer.json() == {
            "event_id": envelope.id,
            "source": "/counterpoint/gateway",
            "type": "orders.placed.v1",
            "key": "o1",
            "time": "2027-01-15T08:00:00.000Z",
            "idempotency_key": "k1",
        }
        assert (record.topic, record.key) == ("orders.events", b"o1")
        assert (envelope.type, envelope.source, envelope.time) == (
            "orders.placed.v1",
            "/counterpoint/gateway",
            "2027-01-15T08:00:00.000Z",
        )
        assert orjson.loads(record.value or b"") == ORDER
        assert at.counted("forms", "orders.placed.v1", "accepted") == 1


async def test_a_repeat_with_the_same_key_publishes_nothing_and_gets_the_same_answer() -> None:
    async with door() as at:
        first = await at.client.post("/forms/leads.submitted.v1", json=LEAD, headers=key("k1"))
        at.clock_ms[0] += 60_000
        again = await at.client.post("/forms/leads.submitted.v1", json=LEAD, headers=key('"k1"'))

        assert first.json() == again.json()
        assert (again.status_code, again.headers["idempotency-replayed"]) == (202, "true")
        assert len(at.published) == 1


async def test_the_same_key_with_another_content_is_refused_and_the_event_named() -> None:
    async with door() as at:
        first = await at.client.post("/forms/leads.submitted.v1", json=LEAD, headers=key("k1"))
        other = await at.client.post("/forms/leads.submitted.v1", json={**LEAD, "name": "Bob"}, headers=key("k1"))

        assert other.status_code == 422
        assert other.headers["content-type"] == "application/problem+json"
        assert other.json()["type"] == "urn:counterpoint:problem:key-reused"
        assert other.json()["event_id"] == first.json()["event_id"]
        assert len(at.published) == 1


async def test_keys_of_different_forms_are_different() -> None:
    async with door() as at:
        one = await at.client.post("/forms/leads.submitted.v1", json=LEAD, headers=key("k1"))
        two = await at.client.post("/forms/orders.placed.v1", json=ORDER, headers=key("k1"))

        assert (one.status_code, two.status_code) == (202, 202)
        assert one.json()["event_id"] != two.json()["event_id"]


async def test_without_a_key_every_submission_is_an_event_of_its_own() -> None:
    async with door() as at:
        answers = [(await at.client.post("/forms/leads.submitted", json=LEAD)).json() for _ in range(2)]

        assert len({answer["event_id"] for answer in answers}) == 2
        assert len(at.published) == 2


async def test_an_id_that_is_absent_is_made_from_the_key() -> None:
    lead = {name: value for name, value in LEAD.items() if name != "lead_id"}
    async with door() as at:
        answers = [
            (await at.client.post("/forms/leads.submitted", json=lead, headers=key(one))).json()
            for one in ("k1", "k1", "k2")
        ]

        made = [answer["key"] for answer in answers]
        assert made[0] == made[1] != made[2]
        assert re.fullmatch(r"lead-[0-9a-f]{20}", made[0])
        assert len(at.published) == 2


async def test_every_field_that_is_wrong_is_pointed_at() -> None:
    wrong = {**ORDER, "lines": [{"sku": "te a", "quantity": 0, "unit_price_cents": 1}], "currency": "euro"}
    del wrong["customer_id"]
    async with door() as at:
        answer = await at.client.post("/forms/orders.placed.v1", json=wrong)

        assert answer.status_code == 422
        assert {error["pointer"] for error in answer.json()["errors"]} == {
            "#/customer_id",
            "#/lines/0/sku",
            "#/lines/0/quantity",
            "#/currency",
        }
        assert at.published == []
        assert at.counted("forms", "orders.placed.v1", "invalid-fields") == 1


async def test_a_rule_over_several_fields_is_said_of_the_whole() -> None:
    async with door() as at:
        answer = await at.client.post("/forms/orders.placed.v1", json={**ORDER, "total_cents": 1})

        assert answer.json()["errors"] == [
            {"pointer": "#", "detail": "total_cents is 1, but the lines sum to 900", "code": "value_error"}
        ]


@pytest.mark.parametrize(
    ("path", "headers", "body", "status", "code"),
    [
        ("/forms/orders.fulfilled.v1", {}, b"{}", 404, "not-found"),
        ("/forms/orchestrator.signal.v1", {}, b"{}", 404, "not-found"),
        ("/elsewhere", {}, b"{}", 404, "not-found"),
        ("/forms/leads.submitted.v1", {}, b"{", 400, "invalid-json"),
        ("/forms/leads.submitted.v1", {}, b"[]", 422, "invalid-fields"),
        ("/forms/leads.submitted.v1", {"content-type": "text/plain"}, b"{}", 415, "wrong-content-type"),
        ("/forms/leads.submitted.v1", key("tab\there"), b"{}", 400, "bad-key"),
        ("/forms/leads.submitted.v1", key("k" * 256), b"{}", 400, "bad-key"),
        ("/forms/leads.submitted.v1", key(""), b"{}", 400, "bad-key"),
        ("/forms/leads.submitted.v1", {"origin": "https://elsewhere.example"}, b"{}", 403, "foreign-origin"),
        ("/forms/leads.submitted.v1", {"origin": "null"}, b"{}", 403, "foreign-origin"),
        ("/forms/leads.submitted.v1", FORM, b"a=%ff", 400, "invalid-form"),
    ],
)
async def test_what_cannot_be_taken_is_a_problem(
    path: str, headers: dict[str, str], body: bytes, status: int, code: str
) -> None:
    async with door() as at:
        answer = await at.client.post(path, content=body, headers={"content-type": "application/json", **headers})

        assert (answer.status_code, answer.json()["type"]) == (status, f"urn:counterpoint:problem:{code}")
        assert answer.json()["status"] == status
        assert at.published == []


async def test_a_method_that_is_not_there_is_a_problem_too() -> None:
    async with door() as at:
        answer = await at.client.put("/forms/leads.submitted.v1", json=LEAD)

        assert (answer.status_code, answer.json()["type"]) == (405, "urn:counterpoint:problem:method-not-allowed")


async def test_a_body_that_is_too_large_is_refused_with_and_without_its_length() -> None:
    async def parts() -> Any:
        for _ in range(3):
            yield b" " * 600

    async with door(limits=replace(LIMITS, body_bytes_max=1_024)) as at:
        json = {"content-type": "application/json"}
        declared = await at.client.post("/forms/leads.submitted", content=b" " * 1_025, headers=json)
        streamed = await at.client.post("/forms/leads.submitted", content=parts(), headers=json)

        assert (declared.status_code, streamed.status_code) == (413, 413)


async def test_who_sends_too_much_is_told_when_to_come_back() -> None:
    limits = GatewayLimits(client_burst=2, client_per_second=0.5)
    async with door(limits=limits) as at:
        path = "/forms/leads.submitted"
        answers = [await at.client.post(path, json=LEAD) for _ in range(3)]
        at.clock_ms[0] += 2_000
        later = await at.client.post(path, json=LEAD)

        assert [answer.status_code for answer in answers] == [202, 202, 429]
        assert answers[2].headers["retry-after"] == "2"
        assert later.status_code == 202


async def test_more_requests_than_fit_are_told_to_come_back() -> None:
    async with door(limits=replace(LIMITS, requests_max=0)) as at:
        answer = await at.client.post("/forms/leads.submitted", json=LEAD)

        assert (answer.status_code, answer.json()["type"]) == (503, "urn:counterpoint:problem:crowded")


async def test_while_kafka_is_away_nothing_is_accepted_and_afterwards_it_is_the_same_event() -> None:
    async with door() as at:
        at.bus.away = True
        refused = await at.client.post("/forms/leads.submitted", json=LEAD)
        repeat_key = refused.json()["idempotency_key"]
        at.bus.away = False
        answer = await at.client.post("/forms/leads.submitted", json=LEAD, headers=key(repeat_key))

        assert (refused.status_code, refused.headers["retry-after"]) == (503, "5")
        assert "event_id" not in refused.json()
        assert answer.status_code == 202
        assert {envelope.id for envelope in at.envelopes()} == {answer.json()["event_id"]}


async def test_while_the_memory_of_keys_is_away_nothing_is_accepted_or_published() -> None:
    async with door() as at:
        at.keys.away = True
        answer = await at.client.post("/forms/leads.submitted", json=LEAD, headers=key("k1"))

        assert (answer.status_code, at.published) == (503, [])


async def test_a_repeat_after_a_crash_before_the_answer_has_the_same_id_and_time() -> None:
    """Nothing but the reservation survived: the repeat publishes again, and readers see one event."""
    async with door() as at:
        first = await at.client.post("/forms/leads.submitted", json=LEAD, headers=key("k1"))
        (name, (until, entry)) = next(iter(at.keys._entries.items()))
        at.keys._entries[name] = (until, entry._replace(answered=False))
        at.clock_ms[0] += 5_000
        again = await at.client.post("/forms/leads.submitted", json=LEAD, headers=key("k1"))

        assert first.json() == again.json()
        assert len(at.published) == 2
        assert at.published[0].headers == at.published[1].headers
        assert at.published[0].value == at.published[1].value


async def test_the_trace_goes_on_if_it_is_one() -> None:
    trace = f"00-{'a' * 32}-{'b' * 16}-01"
    async with door() as at:
        await at.client.post("/forms/leads.submitted", json=LEAD, headers={"traceparent": trace})
        await at.client.post("/forms/leads.submitted", json=LEAD, headers={"traceparent": "nonsense"})

        assert [envelope.traceparent for envelope in at.envelopes()] == [trace, None]


async def test_a_page_elsewhere_may_send_only_if_it_is_allowed() -> None:
    ask = {"access-control-request-method": "POST", "access-control-request-headers": "content-type,idempotency-key"}
    async with door(change=with_origins("https://shop.example")) as at:
        path = "/forms/leads.submitted"
        allowed = await at.client.options(path, headers={"origin": "https://shop.example", **ask})
        foreign = await at.client.options(path, headers={"origin": "https://elsewhere.example", **ask})
        sent = await at.client.post(path, json={}, headers={"origin": "https://shop.example"})
        webhook = await at.client.options("/webhooks/shop", headers={"origin": "https://shop.example", **ask})

        assert (allowed.status_code, foreign.status_code) == (200, 400)
        assert allowed.headers["access-control-allow-origin"] == "https://shop.example"
        assert "access-control-allow-origin" not in foreign.headers
        # A page reads what is wrong with its form, too.
        assert (sent.status_code, sent.headers["access-control-allow-origin"]) == (422, "https://shop.example")
        assert "access-control-allow-origin" not in webhook.headers


async def test_the_gateways_own_page_may_send() -> None:
    async with door() as at:
        origin = {"origin": "https://gateway.example"}
        assert (await at.client.post("/forms/leads.submitted", json=LEAD, headers=origin)).status_code == 202


def fields(prefix: str, value: Any) -> list[tuple[str, str]]:
    """As a browser names them."""
    if isinstance(value, dict):
        return [pair for name, one in value.items() for pair in fields(f"{prefix}.{name}" if prefix else name, one)]
    if isinstance(value, list):
        return [pair for number, one in enumerate(value) for pair in fields(f"{prefix}.{number}", one)]
    return [(prefix, str(value))]


async def test_what_a_browser_sends_is_the_event_that_a_program_sends() -> None:
    async with door() as at:
        filled = {name: value for name, value in ORDER.items() if name != "order_id"}
        body = urlencode([*fields("", filled), ("_key", "k1")])
        page = await at.client.post("/forms/orders.placed.v1", content=body, headers=BROWSER)

        assert (page.status_code, page.headers["content-type"]) == (202, "text/html; charset=utf-8")
        assert "Thank you" in page.text
        # The order's id is made by the gateway: it is no field of the page.
        assert orjson.loads(at.published[0].value or b"") == {**ORDER, "order_id": page_key(page.text)}


async def test_an_id_that_comes_as_a_form_field_is_kept() -> None:
    async with door() as at:
        answer = await at.client.post("/forms/leads.submitted", content=urlencode(LEAD), headers=FORM)

        assert (answer.status_code, answer.json()["key"]) == (202, "l1")


def page_key(text: str) -> str:
    found = re.search(r"received as <code>([^<]+)</code>", text)
    assert found is not None
    return found[1]


async def test_a_page_has_a_label_for_every_field_and_a_key_of_its_own() -> None:
    async with door() as at:
        one = (await at.client.get("/forms/orders.placed.v1")).text
        two = (await at.client.get("/forms/orders.placed.v1")).text

        inputs = set(re.findall(r'<(?:input type="(?!hidden)|select|textarea)[^>]* id="([^"]+)"', one))
        assert inputs == set(re.findall(r'<label for="([^"]+)"', one))
        assert {"field-lines.0.sku", "field-ship_to.city", "field-total_cents"} <= inputs
        assert "field-order_id" not in inputs
        keys = [re.search(r'name="_key" value="([0-9a-f]{32})"', text) for text in (one, two)]
        assert keys[0] is not None and keys[1] is not None and keys[0][1] != keys[1][1]


async def test_an_error_stands_beside_its_field_and_the_values_stay() -> None:
    async with door() as at:
        body = urlencode({"name": 'A"<b>', "email": "nobody", "message": "", "_key": "k1"})
        page = await at.client.post("/forms/leads.submitted", content=body, headers=BROWSER)

        assert page.status_code == 422
        assert 'aria-describedby="field-email-error" aria-invalid="true"' in page.text
        assert '<p class="error" id="field-message-error">Field required</p>' in page.text
        assert 'value="A&quot;&lt;b&gt;"' in page.text
        assert 'name="_key" value="k1"' in page.text
        assert at.published == []


async def test_rows_are_added_and_removed_without_a_script() -> None:
    async with door() as at:
        path = "/forms/orders.placed.v1"
        filled = {"lines.0.sku": "tea", "lines.1.sku": "milk", "currency": "EUR"}
        added = await at.client.post(path, content=urlencode({**filled, "_action": "add:lines"}), headers=BROWSER)
        removed = await at.client.post(
            path, content=urlencode({**filled, "_action": "remove:lines:0"}), headers=BROWSER
        )

        assert (added.status_code, removed.status_code, at.published) == (200, 200, [])
        assert 'id="field-lines.2.sku"' in added.text
        assert 'value="milk"' in removed.text
        assert 'value="tea"' not in removed.text
        assert 'id="field-lines.1.sku"' not in removed.text
        assert 'value="EUR"' in removed.text
        assert "<script" not in added.text


async def test_the_index_lists_the_forms_and_a_page_allows_no_script() -> None:
    async with door() as at:
        index = await at.client.get("/")
        style = await at.client.get("/page.css")

        assert all(f'href="/forms/{name}"' in index.text for name in at.gateway.declaration.forms)
        assert "default-src 'none'" in index.headers["content-security-policy"]
        assert "prefers-color-scheme: dark" in style.text


async def test_a_browser_gets_a_page_also_when_it_goes_wrong() -> None:
    async with door() as at:
        page = await at.client.get("/forms/nothing.here", headers={"accept": "text/html"})

        assert (page.status_code, page.headers["content-type"]) == (404, "text/html; charset=utf-8")


async def test_the_id_is_the_same_also_when_the_memory_of_keys_is_lost() -> None:
    """What is published again then is, for whoever reads it, the same event."""
    ids = []
    for _ in range(2):
        async with door() as at:
            ids.append(
                (await at.client.post("/forms/leads.submitted", json=LEAD, headers=key("k1"))).json()["event_id"]
            )
    assert ids[0] == ids[1]
    assert re.fullmatch(r"[0-9a-f]{32}", ids[0])


@pytest.mark.parametrize("type_name", ["orders.placed.v1", "leads.submitted.v1"])
async def test_no_value_becomes_markup_in_any_kind_of_field(type_name: str) -> None:
    hostile = "\"'></textarea><script>alert(1)</script>"
    async with door() as at:
        path = f"/forms/{type_name}"
        names = set(re.findall(r' id="field-[^"]+" name="([^"]+)"', (await at.client.get(path)).text))
        assert len(names) > 3
        body = urlencode({**dict.fromkeys(names, hostile), "_key": "k1"})
        page = await at.client.post(path, content=body, headers=BROWSER)

        assert page.status_code == 422
        assert page.text.count("&lt;script&gt;") >= len(names)
        assert "<script" not in page.text
