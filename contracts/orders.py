"""Orders: what starts and ends order fulfilment."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from contracts.message import Cents, Currency, Event, Identifier, Quantity, Text, UtcTime

LINES_MAX = 1_000


class Address(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")

    name: Text
    street: Text
    city: Text
    postal_code: Text
    country: Text


class OrderLine(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")

    sku: Identifier
    quantity: Quantity
    unit_price_cents: Cents


class OrderPlaced(Event, type="orders.placed.v1"):
    order_id: Identifier
    customer_id: Identifier
    customer_email: Text | None = None
    lines: Annotated[tuple[OrderLine, ...], Field(min_length=1, max_length=LINES_MAX)]
    total_cents: Cents
    currency: Currency
    ship_to: Address
    payment_method: Text
    placed_at: UtcTime | None = None

    @model_validator(mode="after")
    def _total_is_the_sum_of_the_lines(self) -> Self:
        expected = sum(line.quantity * line.unit_price_cents for line in self.lines)
        if self.total_cents != expected:
            raise ValueError(f"total_cents is {self.total_cents}, but the lines sum to {expected}")
        return self


class OrderFulfilled(Event, type="orders.fulfilled.v1"):
    order_id: Identifier
    customer_id: Identifier
    customer_email: Text | None = None
    tracking_number: Text
    dispatched_at: UtcTime


class OrderCancelled(Event, type="orders.cancelled.v1"):
    """`reason`: a business refusal, a command-failed, silence, the saga's deadline, or an operator."""

    order_id: Identifier
    customer_id: Identifier
    customer_email: Text | None = None
    reason: Literal["refused", "failed", "silent", "deadline", "operator"]
    step: Text | None = None
