"""`GET` and `POST /resume/{token}`: a person says one thing to one waiting process, by a signed link, once.

GET changes nothing: mail programs follow links to look at them. What is said goes straight to the process's partition
of the orchestrator's inbox, as what `counterpoint signal` and `counterpoint approve` say does.
"""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import Any, get_args

import structlog
from fastapi import APIRouter, Request, Response
from pydantic import ValidationError

from contracts.ids import partition_of
from contracts.message import Message
from contracts.process import ApprovalGiven, SignalSent
from contracts.topics import INBOX, SHARDS
from services.gateway.answers import Counted, accepted, counted, word_of
from services.gateway.failures import KeyConflict, Unavailable
from services.gateway.form_data import FormDataError, payload_of, read_sent
from services.gateway.form_nodes import Node
from services.gateway.form_page import Filled, field_html
from services.gateway.gateway import Gateway
from services.gateway.intake import Submission, TooLarge
from services.gateway.page import page, sentence_page
from services.gateway.problems import (
    Problem,
    bad_request,
    conflict,
    field_problem,
    field_problems,
    invalid,
    not_found,
    unavailable,
)
from services.gateway.requests import FORM_TYPE, client_address, media_type, read_body, read_json, wants_page
from services.sdk.resume_link import Approval, Decision, LinkRefused, Opened, open_link

NAME = "link"
REMEMBER_AFTER_MS = 24 * 3_600_000
"""How long it is remembered that a link was used, after it has expired: clocks of replicas may differ."""

log = structlog.get_logger("services.gateway")


def resume_routes(gateway: Gateway) -> APIRouter:
    router = APIRouter()

    @router.get("/resume/{token}")
    async def show(token: str, request: Request) -> Response:
        gateway.admit_client(client_address(request))
        return _question(_opened(gateway, token), f"/resume/{token}")

    @router.post("/resume/{token}")
    async def say(token: str, request: Request) -> Response:
        return await counted(gateway, "resume", NAME, lambda: _say(gateway, token, request))

    return router


def _opened(gateway: Gateway, token: str) -> Opened:
    """Raises Problem."""
    if not gateway.link_secrets:
        raise not_found("this gateway has no secret of links")
    try:
        return open_link(gateway.link_secrets, token, gateway.around.now_ms() // 1000)
    except LinkRefused as refused:
        if refused.reason == "expired":
            raise Problem(410, "link-expired", "This link has expired", str(refused)) from None
        raise Problem(404, "link-invalid", "This link is not valid", str(refused)) from None


async def _say(gateway: Gateway, token: str, request: Request) -> Counted:
    gateway.admit_client(client_address(request))
    opened = _opened(gateway, token)
    body = await read_body(request, gateway.limits)
    answer = _answer(opened, request, body)
    try:
        message = message_of(opened, answer)
    except Problem as problem:
        if not wants_page(request) or not problem.errors:
            raise
        filled = Filled("", _texts(answer), problem.errors)
        return problem.code, _question(opened, f"/resume/{token}", filled, problem.status)
    return await _accept(gateway, opened, message, request)


async def _accept(gateway: Gateway, opened: Opened, message: Message, request: Request) -> Counted:
    process = opened.invitation.process_id
    left_ms = opened.invitation.expires_s * 1000 - gateway.around.now_ms()
    submission = Submission(
        "resume",
        opened.nonce,
        message,
        max(0, left_ms) + REMEMBER_AFTER_MS,
        topic=INBOX,
        partition=partition_of(process, SHARDS),
    )
    try:
        receipt = await gateway.intake.accept(submission)
    except Unavailable as error:
        raise unavailable(error.detail, None) from error
    except TooLarge as error:
        raise Problem(413, "too-large", "What is said is too large", str(error)) from error
    except KeyConflict as error:
        raise _used(error.event_id) from error
    if receipt.repeated:
        raise _used(receipt.event_id)
    log.info("link used", process=process, type=message.type, event_id=receipt.event_id)
    if wants_page(request):
        return word_of(receipt), sentence_page("Thank you", "It was passed on. You can close this page.", 202)
    return word_of(receipt), accepted(receipt, message, None)


def _used(event_id: str) -> Problem:
    used = conflict(410, "this link was used before; each works once", event_id)
    return Problem(used.status, "link-used", "This link was used before", used.detail, more=used.more)


def _answer(opened: Opened, request: Request, body: bytes) -> dict[str, Any]:
    """`{"decision", "form"}`, each as far as it was sent. Raises Problem."""
    if not body.strip():
        return {}
    if media_type(request) != FORM_TYPE:
        found = read_json(body)
        if not isinstance(found, dict):
            raise invalid([field_problem((), "the body must be a JSON object", "object_type")])
        return found
    try:
        sent = read_sent(body)
    except FormDataError as error:
        raise bad_request("invalid-form", f"the body is not {FORM_TYPE}: {error}") from None
    root = Node("object", "", True, children={"form": asked(opened)})
    return {"decision": sent.values.get("decision"), **payload_of(root, sent.values)}


def message_of(opened: Opened, answer: Mapping[str, Any]) -> Message:
    """What is said to the process. Raises Problem: the link does not allow it, or something is missing."""
    process, says = opened.invitation.process_id, opened.invitation.says
    try:
        if not isinstance(says, Approval):
            return SignalSent(process_id=process, signal=says.name, payload=dict(says.payload), sender=says.sender)
        decision = _decision(says, answer.get("decision"))
        form = _form(says, answer.get("form")) if decision == "approve" else None
        return ApprovalGiven(
            process_id=process, step=says.step, decision=decision, form=form, by=says.by, roles=says.roles
        )
    except ValidationError as error:
        raise invalid(field_problems(error)) from error


def _decision(says: Approval, given: object) -> Decision:
    chosen = says.decisions[0] if given is None and len(says.decisions) == 1 else given
    for decision in says.decisions:
        if chosen == decision:
            return decision
    allowed = " or ".join(says.decisions)
    raise invalid([field_problem(("decision",), f"say {allowed}; this link allows no other", "decision")])


def _form(says: Approval, given: object) -> dict[str, Any] | None:
    filled = {} if given is None else given
    if not isinstance(filled, dict):
        raise invalid([field_problem(("form",), "must be an object", "object_type")])
    errors = [
        field_problem(("form", name), "this link does not ask for it", "extra") for name in filled.keys() - says.asks
    ]
    for name, kind in says.asks.items():
        value = filled.get(name)
        if type(value) is not {"text": str, "integer": int, "boolean": bool}[kind]:
            errors.append(field_problem(("form", name), f"must be given ({kind})", "missing"))
    if errors:
        raise invalid(errors)
    whole = {**says.form, **filled}
    return whole or None


def asked(opened: Opened) -> Node:
    """What the person fills in."""
    says = opened.invitation.says
    asks = says.asks if isinstance(says, Approval) else {}
    children = {name: Node(kind, name.replace("_", " ").capitalize(), True) for name, kind in asks.items()}
    return Node("object", "Details", True, children=children)


def _texts(answer: Mapping[str, Any]) -> dict[str, str]:
    form = answer.get("form")
    found = form if isinstance(form, dict) else {}
    return {f"form.{name}": "on" if value is True else str(value) for name, value in found.items()}


def _question(opened: Opened, path: str, filled: Filled | None = None, status: int = 200) -> Response:
    invitation = opened.invitation
    text = invitation.text or f"{invitation.process_id} waits for you."
    fields = asked(opened)
    shown = field_html("form", fields, filled or Filled("", {})) if fields.children else ""
    decisions = invitation.says.decisions if isinstance(invitation.says, Approval) else ()
    buttons = "".join(_button(one) for one in get_args(Decision) if one in decisions)
    content = (
        f"<p>{escape(text)}</p>"
        f'<p class="quiet">About <code>{escape(invitation.process_id)}</code>. This link works once.</p>'
        f'<form method="post" action="{escape(path)}">{shown}'
        f'<p class="buttons">{buttons or "<button class=main>Confirm</button>"}</p></form>'
    )
    return page("Please confirm", content, status)


def _button(decision: str) -> str:
    """Who rejects need not fill in anything."""
    unchecked = " formnovalidate" if decision == "reject" else ""
    return f'<button name="decision" value="{decision}"{unchecked}>{decision.capitalize()}</button>'
