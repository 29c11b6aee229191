"""The payment provider over HTTP (the contract: deploy/local/sandbox/README.md, Payment)."""

from __future__ import annotations

from typing import Any, Final

from pydantic import BaseModel, Field

from services.payment.gateway import Captured, Charge, Declined, Refund, Refunded
from services.sdk.outside.judgement import provider_key
from services.sdk.outside.provider_http import ProviderHttp

PAYMENT_REQUIRED: Final = 402


class _ChargeAnswer(BaseModel):
    payment_id: str = Field(min_length=1)
    amount_cents: int = Field(ge=0)
    currency: str


class _RefundAnswer(BaseModel):
    amount_cents: int = Field(ge=0)
    currency: str


class HttpGateway:
    """The PaymentGateway of a provider that honours `Idempotency-Key` and refunds a charge once."""

    def __init__(self, provider: ProviderHttp) -> None:
        self._provider = provider

    async def charge(self, charge: Charge, *, key: str) -> Captured | Declined:
        body = {
            "order_id": charge.order_id,
            "amount_cents": charge.amount_cents,
            "currency": charge.currency,
            "payment_method": charge.payment_method,
        }
        answer = await self._provider.post("charges", body, key=key)
        if answer.status == PAYMENT_REQUIRED:
            return Declined(answer.code)
        captured = self._provider.read_created(_ChargeAnswer, answer)
        return Captured(captured.payment_id, captured.amount_cents, captured.currency)

    async def refund(self, refund: Refund, *, key: str) -> Refunded:
        body: dict[str, Any] = {"order_id": refund.order_id}
        if refund.payment_id is not None:
            body["payment_id"] = refund.payment_id
        if refund.charge_keys is not None:
            body["charge_keys"] = [provider_key(charge_key) for charge_key in refund.charge_keys]
        answer = await self._provider.post("refunds", body, key=key)
        refunded = self._provider.read_created(_RefundAnswer, answer)
        return Refunded(refunded.amount_cents, refunded.currency)
