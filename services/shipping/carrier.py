"""The carrier as this service needs it.

Promises of every adapter: one key has one effect, however often it is asked; a label that is void is not dispatched,
and one that is dispatched is not voided; a void that covers a label whose request the carrier has and has not done yet
is `NotDone`, retryable (decision 0014). A call that is cancelled may have had its effect.
"""

from __future__ import annotations

from datetime import datetime
from typing import Protocol

import msgspec


class Recipient(msgspec.Struct, frozen=True, gc=False):
    name: str
    street: str
    city: str
    postal_code: str
    country: str


class Parcel(msgspec.Struct, frozen=True, gc=False):
    """`contents`: (sku, quantity) pairs."""

    order_id: str
    recipient: Recipient
    contents: tuple[tuple[str, int], ...]


class Label(msgspec.Struct, frozen=True, gc=False):
    label_id: str
    carrier: str
    tracking_number: str


class Rejected(msgspec.Struct, frozen=True, gc=False):
    reason: str


class Void(msgspec.Struct, frozen=True, gc=False):
    """Which labels are voided: those made under `label_keys`, or the one named by `label_id`, or (both None) all of
    the order. A key under which no label was made covers nothing."""

    order_id: str
    label_id: str | None = None
    label_keys: tuple[str, ...] | None = None


class Voided(msgspec.Struct, frozen=True, gc=False):
    """`label_id` is None if nothing was left to void."""

    label_id: str | None


class Dispatched(msgspec.Struct, frozen=True, gc=False):
    """`dispatched_at`: UTC, as the carrier says."""

    tracking_number: str
    dispatched_at: datetime


class Carrier(Protocol):
    """`key` is the idempotency key. All methods raise `NotDone` only if this call did nothing, `Unknown` otherwise.
    (What an earlier execution under the key may have done, the SDK keeps in mind.)"""

    async def create_label(self, parcel: Parcel, *, key: str) -> Label | Rejected: ...

    async def void_label(self, void: Void, *, key: str) -> Voided: ...

    async def dispatch(self, order_id: str, label_id: str, *, key: str) -> Dispatched:
        """A second dispatch of a label under another key is a second pick-up."""
