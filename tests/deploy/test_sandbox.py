"""The outside world over real HTTP: what it does, what it does only once, and what its ledger says about it."""

from __future__ import annotations

import itertools
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

NUMBERS = itertools.count(1)
ADDRESS = {"name": "A", "street": "S 1", "city": "C", "postal_code": "10115", "country": "DE"}
LINES = [{"sku": "sku-1", "quantity": 2}]


@pytest.fixture
def order() -> str:
    return f"o{next(NUMBERS)}"


def post(client: httpx.Client, path: str, key: str, **body: Any) -> httpx.Response:
    return client.post(path, json=body, headers={"Idempotency-Key": key})


def charge(client: httpx.Client, order: str, method: str = "pm_card", key: str | None = None) -> httpx.Response:
    body = {"order_id": order, "amount_cents": 1999, "currency": "EUR", "payment_method": method}
    return post(client, "/payment/charges", key or f"{order}/charge/1", **body)


def label(client: httpx.Client, order: str, key: str | None = None, **address: str) -> httpx.Response:
    body = {"order_id": order, "ship_to": {**ADDRESS, **address}, "lines": LINES}
    return post(client, "/carrier/labels", key or f"{order}/label/1", **body)


def effects(client: httpx.Client, **filters: str) -> list[dict[str, Any]]:
    listed: list[dict[str, Any]] = client.get("/ledger", params=filters).raise_for_status().json()["effects"]
    return listed


def kinds(client: httpx.Client, order: str) -> list[str]:
    return [effect["kind"] for effect in effects(client, reference=order)]


# Charges


def test_a_charge_captures_and_is_listed(client: httpx.Client, order: str) -> None:
    answer = charge(client, order)
    assert answer.status_code == 201
    money = {"amount_cents": 1999, "currency": "EUR"}
    payment_id = answer.json()["payment_id"]
    assert answer.json() == {"payment_id": payment_id, "order_id": order, "status": "captured", **money}
    (effect,) = effects(client, reference=order)
    assert effect.pop("at").endswith("Z")
    assert effect == {
        "provider": "payment",
        "kind": "charge",
        "reference": order,
        "idempotency_key": f"{order}/charge/1",
        "data": {"payment_id": payment_id, "payment_method": "pm_card", **money},
    }


def test_a_repeat_gets_the_stored_answer_and_does_nothing(client: httpx.Client, order: str) -> None:
    first, again = charge(client, order), charge(client, order)
    assert again.status_code == 201
    assert again.content == first.content
    assert (first.headers.get("Idempotency-Replayed"), again.headers["Idempotency-Replayed"]) == (None, "true")
    assert kinds(client, order) == ["charge"]


def test_layout_does_not_make_another_request(client: httpx.Client, order: str) -> None:
    headers = {"Idempotency-Key": order}
    one = f'{{"order_id": "{order}", "amount_cents": 5, "currency": "EUR", "payment_method": "x"}}'
    two = f'{{"payment_method":"x","currency":"EUR",  "amount_cents":5,"order_id":"{order}"}}'
    answers = [client.post("/payment/charges", content=body, headers=headers) for body in (one, two)]
    assert answers[0].json() == answers[1].json()
    assert kinds(client, order) == ["charge"]


def test_a_key_is_for_one_request_only(client: httpx.Client, order: str) -> None:
    charge(client, order)
    other = charge(client, order, method="pm_other")
    assert (other.status_code, other.json()["code"]) == (409, "idempotency_key_reused")
    elsewhere = post(client, "/payment/refunds", f"{order}/charge/1", order_id=order)
    assert (elsewhere.status_code, elsewhere.json()["code"]) == (409, "idempotency_key_reused")
    assert kinds(client, order) == ["charge"]


def test_providers_do_not_share_keys(client: httpx.Client, order: str) -> None:
    assert charge(client, order, key=f"{order}/k").status_code == 201
    assert label(client, order, key=f"{order}/k").status_code == 201


def test_another_key_charges_again(client: httpx.Client, order: str) -> None:
    ids = {charge(client, order, key=f"{order}/charge/{number}").json()["payment_id"] for number in (1, 2)}
    assert len(ids) == 2
    assert kinds(client, order) == ["charge", "charge"]


def test_the_same_request_from_many_at_once_charges_once(client: httpx.Client, order: str) -> None:
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda _: charge(client, order).content, range(48)))
    assert len(set(answers)) == 1
    assert kinds(client, order) == ["charge"]


def test_a_declined_card_is_final(client: httpx.Client, order: str) -> None:
    for _ in range(2):
        answer = charge(client, order, "pm_declined")
        assert (answer.status_code, answer.json()["code"]) == (402, "insufficient_funds")
    assert kinds(client, order) == []


def test_flaky_refuses_twice_an_order_and_then_charges(client: httpx.Client, order: str) -> None:
    keys = [f"{order}/charge/1", f"{order}/charge/2", f"{order}/charge/1", f"{order}/charge/1"]
    statuses = [charge(client, order, "pm_flaky", key).status_code for key in keys]
    assert statuses == [503, 503, 201, 201]
    assert kinds(client, order) == ["charge"]
    assert charge(client, f"{order}-other", "pm_flaky").status_code == 503


def test_silent_neither_answers_nor_charges_but_refunds(client: httpx.Client, order: str) -> None:
    with pytest.raises(httpx.ReadTimeout), httpx.Client(base_url=client.base_url, timeout=0.3) as hasty:
        charge(hasty, order, "pm_silent")
    refund = post(client, "/payment/refunds", f"{order}/undo/1", order_id=order, charge_keys=[f"{order}/charge/1"])
    assert (refund.status_code, refund.json()["amount_cents"]) == (201, 0)
    assert kinds(client, order) == []


def test_lost_charges_and_breaks_the_connection_and_the_repeat_is_answered(client: httpx.Client, order: str) -> None:
    with pytest.raises(httpx.TransportError) as broken:
        charge(client, order, "pm_lost")
    assert isinstance(broken.value, (httpx.RemoteProtocolError, httpx.ReadError))
    assert kinds(client, order) == ["charge"]
    again = charge(client, order, "pm_lost")
    assert (again.status_code, again.json()["status"]) == (201, "captured")
    assert kinds(client, order) == ["charge"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"amount_cents": -1}, "amount_cents"),
        ({"amount_cents": "much"}, "amount_cents"),
        ({"currency": "euro"}, "currency"),
        ({"order_id": "a:b"}, "order_id"),
        ({"payment_method": None}, "payment_method"),
    ],
)
def test_a_bad_charge_says_what_is_bad_and_leaves_the_key_free(
    client: httpx.Client, order: str, change: dict[str, Any], said: str
) -> None:
    good = {"order_id": order, "amount_cents": 1, "currency": "EUR", "payment_method": "x"}
    bad = post(client, "/payment/charges", order, **{**good, **change})
    assert (bad.status_code, bad.json()["code"]) == (400, "invalid_request")
    assert said in bad.json()["message"]
    assert post(client, "/payment/charges", order, **good).status_code == 201


def test_bytes_that_are_no_json_a_missing_key_and_a_missing_page(client: httpx.Client) -> None:
    for content in (b"\xff{", b"", b"[1]", b'{"order_id": NaN}', b'{"amount_cents": 1' + b"0" * 30 + b"}"):
        garbage = client.post("/payment/charges", content=content, headers={"Idempotency-Key": "g"})
        assert (garbage.status_code, garbage.json()["code"]) == (400, "invalid_request")
    assert client.post("/payment/charges", json={}).json()["code"] == "idempotency_key_missing"
    assert client.get("/nowhere").json()["code"] == "invalid_request"


# Refunds


def test_a_refund_by_payment_id(client: httpx.Client, order: str) -> None:
    payment_id = charge(client, order).json()["payment_id"]
    answer = post(client, "/payment/refunds", f"{order}/undo/1", order_id=order, payment_id=payment_id)
    assert answer.status_code == 201
    refund_id = answer.json()["refund_id"]
    given = {"refund_id": refund_id, "amount_cents": 1999, "currency": "EUR", "payment_ids": [payment_id]}
    assert answer.json() == {**given, "order_id": order}
    (effect,) = effects(client, reference=order, kind="refund")
    assert effect["data"] == {**given, "charge_keys": [f"{order}/charge/1"]}
    assert client.get(f"/payment/charges/{payment_id}").json()["status"] == "refunded"


def test_a_refund_covers_the_named_keys_and_not_the_order(client: httpx.Client, order: str) -> None:
    for number in (1, 2, 3):
        charge(client, order, key=f"{order}/charge/{number}")
    keys = [f"{order}/charge/1", f"{order}/charge/2", f"{order}/charge/9"]
    answer = post(client, "/payment/refunds", f"{order}/undo/1", order_id=order, charge_keys=keys)
    assert answer.json()["amount_cents"] == 2 * 1999
    rest = post(client, "/payment/refunds", f"{order}/undo/2", order_id=order)
    assert rest.json()["amount_cents"] == 1999
    assert kinds(client, order) == ["charge"] * 3 + ["refund"] * 2


@pytest.mark.parametrize("cover", [{}, {"charge_keys": []}, {"charge_keys": ["never-seen"]}])
def test_a_refund_of_nothing_is_a_success(client: httpx.Client, order: str, cover: dict[str, Any]) -> None:
    answer = post(client, "/payment/refunds", f"{order}/undo/1", order_id=order, **cover)
    assert answer.status_code == 201
    nothing = {"refund_id": None, "amount_cents": 0, "currency": "USD", "payment_ids": []}
    assert answer.json() == {**nothing, "order_id": order}
    assert kinds(client, order) == []


def test_a_charge_is_never_refunded_twice(client: httpx.Client, order: str) -> None:
    charge(client, order)
    first = post(client, "/payment/refunds", f"{order}/undo/1", order_id=order).json()
    second = post(client, "/payment/refunds", f"{order}/undo/2", order_id=order).json()
    assert second == {**first, "amount_cents": 0, "payment_ids": []}
    assert kinds(client, order) == ["charge", "refund"]


def test_refunds_of_the_unknown_and_of_strangers_are_refused(client: httpx.Client, order: str) -> None:
    unknown = post(client, "/payment/refunds", f"{order}/undo/1", order_id=order, payment_id="pay_none")
    assert (unknown.status_code, unknown.json()["code"]) == (404, "unknown_payment")
    charge(client, order)
    keys = [f"{order}/charge/1"]
    stranger = post(client, "/payment/refunds", f"{order}/undo/2", order_id="somebody-else", charge_keys=keys)
    assert (stranger.status_code, stranger.json()["code"]) == (409, "wrong_order")
    assert kinds(client, order) == ["charge"]


def test_charges_can_be_looked_up(client: httpx.Client, order: str) -> None:
    payment_id = charge(client, order).json()["payment_id"]
    by_order = client.get("/payment/charges", params={"order_id": order}).json()["charges"]
    by_key = client.get("/payment/charges", params={"idempotency_key": f"{order}/charge/1"}).json()["charges"]
    assert by_order == by_key == [client.get(f"/payment/charges/{payment_id}").json()]
    assert client.get("/payment/charges/none").json()["code"] == "unknown_charge"
    assert client.get("/payment/charges").status_code == 400


def test_several_currencies_are_not_added_up(client: httpx.Client, order: str) -> None:
    for currency in ("EUR", "USD"):
        body = {"order_id": order, "amount_cents": 5, "currency": currency, "payment_method": "x"}
        post(client, "/payment/charges", f"{order}/{currency}", **body)
    answer = post(client, "/payment/refunds", f"{order}/undo/1", order_id=order)
    assert (answer.status_code, answer.json()["code"]) == (409, "mixed_currencies")
    assert kinds(client, order) == ["charge", "charge"]


# The carrier


def test_a_label_its_dispatch_and_their_lines_in_the_ledger(client: httpx.Client, order: str) -> None:
    made = label(client, order).json()
    sent = post(client, "/carrier/dispatches", f"{order}/d", order_id=order, label_id=made["label_id"])
    assert sent.status_code == 201
    assert sent.json()["tracking_number"] == made["tracking_number"]
    assert sent.json()["dispatched_at"].endswith("Z")
    assert kinds(client, order) == ["label", "dispatch"]
    assert client.get(f"/carrier/labels/{made['label_id']}").json()["status"] == "dispatched"


def test_an_address_that_is_rejected(client: httpx.Client, order: str) -> None:
    answer = label(client, order, postal_code="00000")
    assert (answer.status_code, answer.json()["code"]) == (422, "address_rejected")
    assert kinds(client, order) == []


def test_voids_cover_as_refunds_do(client: httpx.Client, order: str) -> None:
    nothing = post(client, "/carrier/voids", f"{order}/v0", order_id=order, label_keys=[f"{order}/label/1"])
    assert nothing.json() == {"order_id": order, "voided": False, "label_id": None, "label_ids": []}
    label_id = label(client, order).json()["label_id"]
    done = post(client, "/carrier/voids", f"{order}/v1", order_id=order, label_keys=[f"{order}/label/1"])
    assert done.json() == {"order_id": order, "voided": True, "label_id": label_id, "label_ids": [label_id]}
    again = post(client, "/carrier/voids", f"{order}/v2", order_id=order, label_id=label_id)
    assert (again.status_code, again.json()["voided"]) == (201, False)
    assert kinds(client, order) == ["label", "void"]


def test_what_the_carrier_refuses(client: httpx.Client, order: str) -> None:
    first, second = (label(client, order, key=f"{order}/label/{number}").json()["label_id"] for number in (1, 2))
    post(client, "/carrier/voids", f"{order}/v", order_id=order, label_id=first)
    post(client, "/carrier/dispatches", f"{order}/d", order_id=order, label_id=second)
    refused = [
        post(client, "/carrier/dispatches", f"{order}/r1", order_id=order, label_id=first),
        post(client, "/carrier/dispatches", f"{order}/r2", order_id=order, label_id="none"),
        post(client, "/carrier/dispatches", f"{order}/r3", order_id="stranger", label_id=second),
        post(client, "/carrier/voids", f"{order}/r4", order_id=order, label_id=second),
        post(client, "/carrier/voids", f"{order}/r5", order_id=order, label_id="none"),
    ]
    assert [(answer.status_code, answer.json()["code"]) for answer in refused] == [
        (409, "label_voided"),
        (409, "label_unknown"),
        (409, "wrong_order"),
        (409, "label_dispatched"),
        (404, "unknown_label"),
    ]
    assert kinds(client, order) == ["label", "label", "void", "dispatch"]


def test_a_second_pick_up_is_a_second_effect(client: httpx.Client, order: str) -> None:
    label_id = label(client, order).json()["label_id"]
    for number in (1, 2):
        post(client, "/carrier/dispatches", f"{order}/d{number}", order_id=order, label_id=label_id)
    assert kinds(client, order).count("dispatch") == 2


# The ledger


def test_the_ledger_can_be_filtered(client: httpx.Client, order: str) -> None:
    charge(client, order)
    label(client, order)
    assert [effect["provider"] for effect in effects(client, reference=order)] == ["payment", "carrier"]
    assert [effect["kind"] for effect in effects(client, reference=order, provider="carrier")] == ["label"]
    since = effects(client, reference=order)[1]["at"]
    assert [effect["kind"] for effect in effects(client, reference=order, since=since)] == ["label"]
    assert client.get("/ledger", params={"since": "yesterday"}).status_code == 400
