"""What a provider is made of. A provider's file holds its requests, what each does to the books, and one `Provider`."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Annotated, Any, Protocol

from pydantic import BaseModel, ConfigDict, StringConstraints

# Ids of the product: FLOWS.md, first paragraph.
Id = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._-]{1,128}$")]
Key = Annotated[str, StringConstraints(min_length=1, max_length=255)]
Json = dict[str, Any]


class RequestBody(BaseModel):
    """A request's body; fields that a provider does not know are ignored, as the real ones do."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class Delivery(Enum):
    """What becomes of an answer: it is sent, the connection breaks instead, or nothing ever comes."""

    SENT = "sent"
    LOST = "lost"
    SILENT = "silent"


@dataclass(frozen=True, slots=True)
class Effect:
    """One change of the world, as the ledger lists it."""

    kind: str
    reference: str
    data: Json


@dataclass(frozen=True, slots=True)
class Webhook:
    """One thing that a provider tells its client by itself, at least once. `id` is the provider's own, of the event."""

    id: str
    event: Json


@dataclass(frozen=True, slots=True)
class Reply:
    """What a provider answers. `stored` replies are repeated for the same key; an unstored one is as if nothing was
    asked. `text`: what is sent instead of JSON, as some do. `webhooks` are told later (webhooks.py).
    """

    status: int
    body: Json
    effect: Effect | None = None
    stored: bool = True
    delivery: Delivery = Delivery.SENT
    text: str | None = None
    webhooks: tuple[Webhook, ...] = ()


@dataclass(frozen=True, slots=True)
class Call:
    """One request that passed validation: its idempotency key, and the time at which it is done (RFC 3339 UTC)."""

    key: str
    at: str


class Books(Protocol):
    """One provider's memory, read and written inside the transaction of the request at hand."""

    def put(self, kind: str, object_id: str, reference: str, key: str, fields: Json) -> None:
        """Keep an object, new or changed."""

    def get(self, kind: str, object_id: str) -> Json | None:
        """Return the object, or None."""

    def find(self, kind: str, *, reference: str | None = None, key: str | None = None) -> list[Json]:
        """Return the objects with this reference and this idempotency key (None = any), oldest first."""

    def count(self, name: str) -> int:
        """Add one to a counter and return it; counters survive like everything else."""


@dataclass(frozen=True, slots=True)
class Covers:
    """The requests whose effects an undo takes back: those under `keys`, or (None) all with this `reference`."""

    reference: str
    keys: tuple[str, ...] | None


Handler = Callable[[Books, Any, Call], Reply]
Reader = Callable[[Books, Mapping[str, str]], Reply]


@dataclass(frozen=True, slots=True)
class Operation:
    """A `POST` that may change the world: its path, the model of its body, and what it does. `covers`: an undo, which
    is not done while a request that it covers is under way; None: it makes something. `reference`: what it is made for,
    by which an undo can cover it beside its key. `keyed` False: the provider knows no idempotency keys, and every
    request is a new one."""

    path: str
    body: type[RequestBody]
    handler: Handler
    covers: Callable[[Any], Covers] | None = None
    reference: Callable[[Any], str] | None = None
    keyed: bool = True


@dataclass(frozen=True, slots=True)
class Lookup:
    """A `GET` that changes nothing; its reader gets path and query parameters."""

    path: str
    reader: Reader


@dataclass(frozen=True, slots=True)
class Provider:
    """One system of the outside world."""

    name: str
    operations: tuple[Operation, ...]
    lookups: tuple[Lookup, ...] = ()


def refusal(status: int, code: str, message: str, *, stored: bool = True) -> Reply:
    """Return an answer that did nothing. A stored one is final for its key."""
    return Reply(status, {"code": code, "message": message}, stored=stored)


def made_id(prefix: str, key: str, length: int = 20) -> str:
    """Return an id made from the idempotency key alone: the same after any restart, another one for every key."""
    return f"{prefix}{hashlib.sha256(f'{prefix}:{key}'.encode()).hexdigest()[:length]}"


def kept(path: str, kind: str, *, id_name: str, reference_name: str) -> tuple[Lookup, Lookup]:
    """The lookups of what a provider keeps as `kind`: one by its id, and a list by reference and idempotency key, of
    which at least one is given. `path` ends in the plural of its name: `/carrier/labels`."""
    plural = path.rpartition("/")[2]
    noun = plural.removesuffix("s")

    def one(books: Books, parameters: Mapping[str, str]) -> Reply:
        found = books.get(kind, parameters[id_name])
        return refusal(404, f"unknown_{noun}", f"There is no such {noun}.") if found is None else Reply(200, found)

    def several(books: Books, parameters: Mapping[str, str]) -> Reply:
        reference, key = parameters.get(reference_name), parameters.get("idempotency_key")
        if reference is None and key is None:
            return refusal(400, "invalid_request", f"Give {reference_name} or idempotency_key.")
        return Reply(200, {plural: books.find(kind, reference=reference, key=key)})

    return Lookup(f"{path}/{{{id_name}}}", one), Lookup(path, several)
