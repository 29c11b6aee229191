"""A payment provider in this process: the public fake, which answers at once and can be told to misbehave."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Final, Literal

from services.payment.gateway import Captured, Charge, Declined, Refund, Refunded
from services.sdk import NotDone, Unknown

DECLINED_METHOD: Final = "pm_declined"
ACCOUNT_CURRENCY: Final = "USD"
CHARGES_MAX: Final = 200_000
"""Charges that are remembered; the oldest are forgotten first, and then their keys charge again."""

Misbehaviour = Literal["unavailable", "lost", "silent"]
"""As the next call ends: nothing done and said so; done, but the answer is lost; not done, and no answer."""


@dataclass(slots=True)
class _Charged:
    charge: Charge
    captured: Captured
    refunded: bool = False


@dataclass(slots=True)
class MemoryGateway:
    """The PaymentGateway without a network. Charges every method but `pm_declined`."""

    misbehave: deque[Misbehaviour] = field(default_factory=deque)
    _charges: dict[str, _Charged] = field(default_factory=dict)
    _by_order: dict[str, list[str]] = field(default_factory=dict)
    _refunds: dict[str, Refunded] = field(default_factory=dict)

    async def charge(self, charge: Charge, *, key: str) -> Captured | Declined:
        fault = self._before()
        if charge.payment_method == DECLINED_METHOD:
            return Declined("insufficient_funds")
        if key not in self._charges:
            captured = Captured(f"pay-{key}", charge.amount_cents, charge.currency)
            self._charges[key] = _Charged(charge, captured)
            self._by_order.setdefault(charge.order_id, []).append(key)
            self._forget_oldest()
        _after(fault)
        return self._charges[key].captured

    async def refund(self, refund: Refund, *, key: str) -> Refunded:
        fault = self._before()
        if key not in self._refunds:
            open_charges = [one for one in self._covered(refund) if not one.refunded]
            for one in open_charges:
                one.refunded = True
            amount_cents = sum(one.captured.amount_cents for one in open_charges)
            currency = open_charges[0].captured.currency if open_charges else ACCOUNT_CURRENCY
            self._refunds[key] = Refunded(amount_cents, currency)
        _after(fault)
        return self._refunds[key]

    def balance_cents(self, order_id: str) -> int:
        """Captured and not refunded."""
        charges = (self._charges[key] for key in self._by_order.get(order_id, ()))
        return sum(one.captured.amount_cents for one in charges if not one.refunded)

    def _before(self) -> Misbehaviour | None:
        fault = self.misbehave.popleft() if self.misbehave else None
        if fault == "silent":
            raise Unknown("provider-silent", "no answer")
        if fault == "unavailable":
            raise NotDone("provider-unavailable", "not now", retryable=True)
        return fault

    def _covered(self, refund: Refund) -> list[_Charged]:
        keys = self._by_order.get(refund.order_id, [])
        if refund.charge_keys is not None:
            keys = [key for key in keys if key in refund.charge_keys]
        elif refund.payment_id is not None:
            keys = [key for key in keys if self._charges[key].captured.payment_id == refund.payment_id]
            if not keys:
                raise NotDone("unknown_payment", f"no payment {refund.payment_id}")
        return [self._charges[key] for key in keys]

    def _forget_oldest(self) -> None:
        if len(self._charges) > CHARGES_MAX:
            oldest = next(iter(self._charges))
            order_id = self._charges.pop(oldest).charge.order_id
            self._by_order[order_id].remove(oldest)
            if not self._by_order[order_id]:
                del self._by_order[order_id]
        if len(self._refunds) > CHARGES_MAX:
            del self._refunds[next(iter(self._refunds))]


def _after(fault: Misbehaviour | None) -> None:
    if fault == "lost":
        raise Unknown("provider-silent", "the answer was lost")
