"""`POST /webhooks/{source}`: a signed request of a declared source becomes one event, or none if no rule fits it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import orjson
import structlog
from fastapi import APIRouter, Request, Response
from pydantic import ValidationError

from contracts.message import Event
from services.gateway.answers import Counted, accept, accepted, counted, word_of
from services.gateway.declaration import Source
from services.gateway.gateway import Gateway
from services.gateway.intake import Submission
from services.gateway.mapping import MappingError, Rule, fields_of, rule_for, text_at
from services.gateway.metrics import OTHER
from services.gateway.problems import Problem, field_problem, field_problems, invalid, mapping_problems, not_found
from services.gateway.requests import client_address, read_body, read_json, traceparent
from services.gateway.signatures import SignatureRefused, check

NOT_MAPPED = "The request does not hold what the source's mapping says"

log = structlog.get_logger("services.gateway")


def webhook_routes(gateway: Gateway) -> APIRouter:
    router = APIRouter()

    @router.post("/webhooks/{name}")
    async def receive(name: str, request: Request) -> Response:
        source = gateway.declaration.sources.get(name)
        return await counted(
            gateway, "webhooks", OTHER if source is None else name, lambda: _receive(gateway, source, request)
        )

    return router


async def _receive(gateway: Gateway, source: Source | None, request: Request) -> Counted:
    gateway.admit_client(client_address(request))
    if source is None:
        raise not_found("no such source")
    body = await read_body(request, gateway.limits)
    _check_signature(gateway, source, request, body)
    gateway.admit_source(source)
    payload = read_json(body)
    rule = rule_for(source.rules, payload)
    if rule is None:
        content = {"status": "ignored", "detail": "no rule of this source fits; nothing was published"}
        return "ignored", Response(orjson.dumps(content), 200, media_type="application/json")
    try:
        message = message_of(rule, payload)
        key = event_key(source, payload, request.headers, body)
    except Problem as problem:
        # The sender is genuine and cannot help it: whoever keeps the declaration must hear of it.
        log.warning(
            "webhook does not fit its mapping", source=source.name, type=rule.message.type, detail=problem.detail
        )
        raise
    submission = Submission(f"webhooks/{source.name}", key, message, source.remember_ms, traceparent(request))
    receipt = await accept(gateway, submission, None)
    return word_of(receipt), accepted(receipt, message, None)


def _check_signature(gateway: Gateway, source: Source, request: Request, body: bytes) -> None:
    """Raises Problem."""
    try:
        check(source.scheme, gateway.keys_of_sources[source.name], request.headers, body, gateway.around.now_ms())
    except SignatureRefused as refused:
        gateway.metrics.unsigned(source.name, refused.reason)
        log.warning("signature refused", source=source.name, reason=refused.reason, client=client_address(request))
        more = {"reason": refused.reason}
        raise Problem(401, "unsigned", "The request is not proven", refused.detail, more=more) from None


def message_of(rule: Rule, payload: Any) -> Event:
    """Raises Problem: the mapping, or the contract, is not met."""
    try:
        # The standard library's: numbers of any size, of which the contract then says that they are too large.
        data = json.dumps(fields_of(rule, payload)).encode()
        return rule.message.model_validate_json(data)
    except MappingError as error:
        raise invalid(mapping_problems(error.errors), NOT_MAPPED) from error
    except ValidationError as error:
        raise invalid(field_problems(error)) from error


def event_key(source: Source, payload: Any, headers: Mapping[str, str], body: bytes) -> str:
    """What a repeat of the same event has in common with it: the sender's id, else its signed header, else the digest
    of the body. Never a header that is not signed: who has one request could make many events of it.

    Raises:
        Problem: the sender's id is not where the declaration says.
    """
    if source.event_id is not None:
        found = text_at(payload, source.event_id)
        if found is None:
            detail = "the sender's id of the event must be a text or a whole number"
            raise invalid([field_problem(source.event_id, detail, "mapping")], NOT_MAPPED)
        return found
    if source.scheme.id_header is not None:
        return headers[source.scheme.id_header].strip()
    return hashlib.sha256(body).hexdigest()
