"""Does one request, once: a key that was used is answered from the books, a new one is handed to its provider."""

from __future__ import annotations

import hashlib
import sqlite3
from dataclasses import dataclass

import orjson

from deploy.local.sandbox.books import ProviderBooks, StoredAnswer
from deploy.local.sandbox.provider import Call, Delivery, Json, Operation, Reply, RequestBody, refusal


@dataclass(frozen=True, slots=True)
class Outcome:
    """What goes back to the client. `replayed`: this request did nothing, an earlier one with its key did."""

    status: int
    body: bytes
    delivery: Delivery = Delivery.SENT
    replayed: bool = False
    media_type: str = "application/json"


def fingerprint(path: str, body: Json) -> bytes:
    """Return what tells a repeat from another request under the same key: path and content, not the bytes' layout."""
    return hashlib.sha256(path.encode() + b"\0" + orjson.dumps(body, option=orjson.OPT_SORT_KEYS)).digest()


def perform(
    connection: sqlite3.Connection, provider: str, operation: Operation, body: RequestBody, mark: bytes, call: Call
) -> Outcome:
    """Do the request inside the open transaction and return its outcome. `mark` is the request's fingerprint."""
    books = ProviderBooks(connection, provider)
    if not operation.keyed:
        return _record_unkeyed(books, call, operation.handler(books, body, call))
    known = books.answer(call.key)
    if known is not None and known.fingerprint == mark:
        return Outcome(known.status, known.body, replayed=True)
    if known is not None:
        reply = refusal(409, "idempotency_key_reused", "This key was used with another request.")
        return Outcome(reply.status, orjson.dumps(reply.body))
    reply = operation.handler(books, body, call)
    return _record(books, mark, call, reply)


def _record_unkeyed(books: ProviderBooks, call: Call, reply: Reply) -> Outcome:
    if reply.effect is not None:
        books.list_effect(call.at, call.key, reply.effect)
    if reply.text is not None:
        return Outcome(reply.status, reply.text.encode(), reply.delivery, media_type="text/plain")
    return Outcome(reply.status, orjson.dumps(reply.body), reply.delivery)


def _record(books: ProviderBooks, mark: bytes, call: Call, reply: Reply) -> Outcome:
    assert reply.text is None, "stored answers are JSON"
    assert reply.stored or (reply.effect is None and not reply.webhooks), (
        "an effect without a stored answer would be done again by a repeat"
    )
    encoded = orjson.dumps(reply.body)
    if reply.effect is not None:
        books.list_effect(call.at, call.key, reply.effect)
    for webhook in reply.webhooks:
        books.queue_webhook(webhook.id, orjson.dumps(webhook.event))
    if reply.stored:
        books.store_answer(call.key, StoredAnswer(mark, reply.status, encoded))
    return Outcome(reply.status, encoded, reply.delivery)
