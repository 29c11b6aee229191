"""Which automations there are, what each handles and publishes: the source of `contracts/handlers.json`."""

from __future__ import annotations

import typing
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, TypedDict

import orjson

import contracts
from contracts.message import Message
from contracts.technical import CommandFailed
from services.documentfiling import handlers as documentfiling
from services.documentfiling import resources as documentfiling_resources
from services.documentsignature import handlers as documentsignature
from services.documentsignature import resources as documentsignature_resources
from services.inventory import handlers as inventory
from services.inventory import resources as inventory_resources
from services.invoicing import handlers as invoicing
from services.invoicing import resources as invoicing_resources
from services.leadalert import handlers as leadalert
from services.leadalert import resources as leadalert_resources
from services.leadcrm import handlers as leadcrm
from services.leadcrm import resources as leadcrm_resources
from services.payment import handlers as payment
from services.payment import resources as payment_resources
from services.sdk import Handler, Service
from services.sdk.outside.options import CALL_OPTIONS
from services.shipping import handlers as shipping
from services.shipping import resources as shipping_resources
from services.stockreport import handlers as stockreport

HANDLERS_FILE: Final = Path(contracts.__file__).parent / "handlers.json"


@dataclass(frozen=True, slots=True)
class Registered:
    """`options`: the names that its resources understand."""

    service: Service
    options: tuple[str, ...]


_ALL: Final = (
    Registered(inventory.service, (inventory_resources.OPENING_OPTION,)),
    Registered(payment.service, (payment_resources.URL_OPTION, *CALL_OPTIONS)),
    Registered(shipping.service, (shipping_resources.URL_OPTION, *CALL_OPTIONS)),
    Registered(stockreport.service, ()),
    Registered(leadalert.service, (leadalert_resources.URL_OPTION, *CALL_OPTIONS)),
    Registered(leadcrm.service, (leadcrm_resources.URL_OPTION, *CALL_OPTIONS)),
    Registered(documentsignature.service, (documentsignature_resources.URL_OPTION, *CALL_OPTIONS)),
    Registered(
        documentfiling.service,
        (documentfiling_resources.INCOMING_OPTION, documentfiling_resources.COMPLETED_OPTION),
    ),
    Registered(invoicing.service, (invoicing_resources.URL_OPTION, *CALL_OPTIONS)),
)
REGISTRY: Final[Mapping[str, Registered]] = MappingProxyType({one.service.name: one for one in _ALL})
HOST_OPTIONS: Final = ("accept_empty_store", "concurrency", "leave_on_stop", "retention_hours")
"""What the host itself understands (services.sdk.host.HostSettings)."""
OPTIONS: Final = tuple(sorted({*HOST_OPTIONS, *(option for one in _ALL for option in one.options)}))


class HandlerEntry(TypedDict):
    """One service in `handlers.json`; type names, sorted."""

    service: str
    handles: list[str]
    publishes: list[str]


def handlers_json() -> bytes:
    """The content of `contracts/handlers.json`: equal for equal services, whatever the order of registration."""
    entries = [entry_of(one.service) for _, one in sorted(REGISTRY.items())]
    return orjson.dumps({"handlers": entries}, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)


def entry_of(service: Service) -> HandlerEntry:
    handlers = service.handlers
    published = {message.type for handler in handlers.values() for message in published_by(handler)}
    return HandlerEntry(service=service.name, handles=sorted(handlers), publishes=sorted(published))


def published_by(handler: Handler) -> Iterator[type[Message]]:
    """The messages in a handler's return annotation, and what the SDK answers when a command fails."""
    yield from _messages_in(typing.get_type_hints(handler.function)["return"])
    if handler.is_command:
        yield CommandFailed


def _messages_in(annotation: Any) -> Iterator[type[Message]]:
    if isinstance(annotation, type) and issubclass(annotation, Message):
        yield annotation
    for part in typing.get_args(annotation):
        yield from _messages_in(part)
