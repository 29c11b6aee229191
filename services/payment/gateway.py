"""The payment provider as this service needs it.

Promises of every adapter: one key has one effect, however often it is asked; a charge is refunded at most once in its
life, whatever keys the refunds carry (decision 0031); a refund that covers a charge whose request the provider has and
has not done yet is `NotDone`, retryable (decision 0014). A call that is cancelled may have had its effect.
"""

from __future__ import annotations

from typing import Protocol

import msgspec


class Charge(msgspec.Struct, frozen=True, gc=False):
    order_id: str
    amount_cents: int
    currency: str
    payment_method: str


class Captured(msgspec.Struct, frozen=True, gc=False):
    payment_id: str
    amount_cents: int
    currency: str


class Declined(msgspec.Struct, frozen=True, gc=False):
    code: str


class Refund(msgspec.Struct, frozen=True, gc=False):
    """What is given back: the charges made under `charge_keys`, or the one named by `payment_id`, or (both None) all
    of the order. A key under which nothing was captured covers nothing."""

    order_id: str
    payment_id: str | None = None
    charge_keys: tuple[str, ...] | None = None


class Refunded(msgspec.Struct, frozen=True, gc=False):
    """`amount_cents` is 0 if nothing was left to give back; the currency is then the provider account's."""

    amount_cents: int
    currency: str


class PaymentGateway(Protocol):
    """`key` is the idempotency key. Both methods raise `NotDone` only if this call did nothing, `Unknown` otherwise.
    (What an earlier execution under the key may have done, the SDK keeps in mind.)"""

    async def charge(self, charge: Charge, *, key: str) -> Captured | Declined: ...

    async def refund(self, refund: Refund, *, key: str) -> Refunded: ...
