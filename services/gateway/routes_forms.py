"""`GET /`, `GET /forms/{type}`, `POST /forms/{type}`: from a page, or from a program, to one event."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from html import escape
from typing import Any

import orjson
from fastapi import APIRouter, Request, Response
from pydantic import ValidationError

from contracts.message import Event
from services.gateway.answers import Counted, accept, accepted, counted, word_of
from services.gateway.declaration import Form
from services.gateway.form_data import FormDataError, Sent, payload_of, read_sent, with_row
from services.gateway.form_nodes import Node, nodes_of
from services.gateway.form_page import Filled, form_page, index_page
from services.gateway.gateway import Gateway
from services.gateway.intake import Submission
from services.gateway.metrics import OTHER
from services.gateway.page import page
from services.gateway.problems import Problem, bad_request, field_problem, field_problems, invalid, not_found
from services.gateway.requests import (
    FORM_TYPE,
    JSON_TYPE,
    check_origin,
    checked_key,
    client_address,
    idempotency_key,
    media_type,
    read_body,
    read_json,
    traceparent,
    wants_page,
)

GENERATED_DIGITS = 20


@dataclass(frozen=True, slots=True)
class Offered:
    """A form; `drawn`: its fields on a page, without those that the gateway fills in; `read`: all that may be sent."""

    form: Form
    drawn: Node
    read: Node

    @property
    def type(self) -> str:
        return self.form.message.type

    @property
    def path(self) -> str:
        return f"/forms/{self.type}"


@dataclass(frozen=True, slots=True)
class _Received:
    """A body that was read: `sent` if it came from a page."""

    payload: Any
    key: str
    sent: Sent | None


def form_routes(gateway: Gateway) -> APIRouter:
    router = APIRouter()
    offers = {
        name: Offered(form, nodes_of(form.message, form.generate), nodes_of(form.message))
        for name, form in gateway.declaration.forms.items()
    }

    @router.get("/")
    async def index() -> Response:
        return index_page({name: offered.form.title for name, offered in offers.items()})

    @router.get("/forms/{type_name}")
    async def show(type_name: str) -> Response:
        offered = _offered(offers, type_name)
        return form_page(offered.form.title, offered.path, offered.drawn, Filled(gateway.new_key(), {}))

    @router.post("/forms/{type_name}")
    async def submit(type_name: str, request: Request) -> Response:
        found = find_form(offers, type_name)
        return await counted(
            gateway, "forms", OTHER if found is None else found.type, lambda: _submit(gateway, found, request)
        )

    return router


def find_form(offers: dict[str, Offered], type_name: str) -> Offered | None:
    """By its type, or by its type without the version: the newest then."""
    exact = offers.get(type_name)
    if exact is not None:
        return exact
    versions = {name: offered for name, offered in offers.items() if name.rpartition(".v")[0] == type_name}
    return versions[max(versions, key=lambda name: int(name.rpartition(".v")[2]))] if versions else None


def _offered(offers: dict[str, Offered], type_name: str) -> Offered:
    found = find_form(offers, type_name)
    if found is None:
        raise not_found(f"no form for {type_name[:200]}; there are: {', '.join(offers) or 'none'}")
    return found


async def _submit(gateway: Gateway, offered: Offered | None, request: Request) -> Counted:
    gateway.admit_client(client_address(request))
    if offered is None:
        raise not_found("no such form; GET / lists them")
    check_origin(request, gateway.allowed_origins)
    received = await _received(gateway, offered, request)
    if received.sent is not None and received.sent.action is not None:
        filled = Filled(received.key, with_row(received.sent.values, received.sent.action))
        return "edited", form_page(offered.form.title, offered.path, offered.drawn, filled)
    try:
        message = _message(offered, received)
    except Problem as problem:
        if received.sent is None or not wants_page(request):
            raise
        filled = Filled(received.key, received.sent.values, problem.errors)
        return problem.code, form_page(offered.form.title, offered.path, offered.drawn, filled, problem.status)
    submission = Submission(
        f"forms/{offered.type}", received.key, message, gateway.limits.form_keep_ms, traceparent(request)
    )
    receipt = await accept(gateway, submission, received.key)
    if wants_page(request):
        return word_of(receipt), _thanks(offered, message, receipt.event_id)
    return word_of(receipt), accepted(receipt, message, received.key)


async def _received(gateway: Gateway, offered: Offered, request: Request) -> _Received:
    """Raises Problem."""
    kind = media_type(request)
    if kind not in (JSON_TYPE, FORM_TYPE):
        headers = {"Accept-Post": f"{JSON_TYPE}, {FORM_TYPE}"}
        detail = f"send {JSON_TYPE}, or {FORM_TYPE} as a browser does"
        raise Problem(415, "wrong-content-type", "The content type is not taken", detail, headers=headers)
    key = idempotency_key(request)
    body = await read_body(request, gateway.limits)
    if kind == JSON_TYPE:
        return _Received(read_json(body), key or gateway.new_key(), None)
    try:
        sent = read_sent(body)
    except FormDataError as error:
        raise bad_request("invalid-form", f"the body is not {FORM_TYPE}: {error}") from None
    page_key = None if sent.key is None else checked_key(sent.key)
    return _Received(payload_of(offered.read, sent.values), key or page_key or gateway.new_key(), sent)


def _message(offered: Offered, received: _Received) -> Event:
    """Raises Problem: the contract is not met, field by field."""
    payload = received.payload
    if not isinstance(payload, dict):
        raise invalid([field_problem((), "the body must be a JSON object", "object_type")])
    made = {
        name: generated_id(name, offered.type, received.key)
        for name in offered.form.generate
        if payload.get(name) is None
    }
    try:
        return offered.form.message.model_validate_json(orjson.dumps({**payload, **made}))
    except ValidationError as error:
        raise invalid(field_problems(error)) from error


def generated_id(field: str, type_name: str, key: str) -> str:
    """The value of a field that the sender left to the gateway: the same for the same key."""
    digest = hashlib.sha256("\x1f".join((type_name, field, key)).encode()).hexdigest()
    return f"{field.removesuffix('_id').replace('_', '-')}-{digest[:GENERATED_DIGITS]}"


def _thanks(offered: Offered, message: Event, event_id: str) -> Response:
    content = (
        f"<p>It was received as <code>{escape(message.key)}</code>.</p>"
        f'<p class="quiet">Event <code>{escape(event_id)}</code></p>'
        f'<p><a href="{escape(offered.path)}">Submit another one</a></p>'
    )
    return page("Thank you", content, 202)
