"""Shipping: labels and dispatch at the carrier."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from contracts.inventory import StockLine
from contracts.message import Command, Event, Identifier, Text, UtcTime
from contracts.orders import LINES_MAX, Address


class LabelCreated(Event, type="shipping.label-created.v1"):
    order_id: Identifier
    label_id: Text
    carrier: Text
    tracking_number: Text


class AddressRejected(Event, type="shipping.address-rejected.v1"):
    order_id: Identifier
    reason: Text


class CreateLabel(Command, type="shipping.create-label.v1", succeeds=LabelCreated, refuses=AddressRejected):
    order_id: Identifier
    ship_to: Address
    lines: Annotated[tuple[StockLine, ...], Field(min_length=1, max_length=LINES_MAX)]


class LabelVoided(Event, type="shipping.label-voided.v1"):
    """Also published if there was no label left to void."""

    order_id: Identifier


class VoidLabel(Command, type="shipping.void-label.v1", succeeds=LabelVoided):
    """Without `label_id`: whatever the commands named in `ce_undoes` created."""

    order_id: Identifier
    label_id: Text | None = None


class OrderDispatched(Event, type="shipping.dispatched.v1"):
    order_id: Identifier
    tracking_number: Text
    dispatched_at: UtcTime


class DispatchOrder(Command, type="shipping.dispatch.v1", succeeds=OrderDispatched):
    order_id: Identifier
    label_id: Text
