"""The carrier over HTTP (the contract: deploy/local/sandbox/README.md, Carrier)."""

from __future__ import annotations

from datetime import UTC
from typing import Any, Final

from msgspec.structs import asdict
from pydantic import AwareDatetime, BaseModel, Field

from services.sdk.outside.judgement import provider_key
from services.sdk.outside.provider_http import ProviderHttp
from services.shipping.carrier import Dispatched, Label, Parcel, Rejected, Void, Voided

ADDRESS_REJECTED: Final = 422


class _LabelAnswer(BaseModel):
    label_id: str = Field(min_length=1)
    carrier: str = Field(min_length=1)
    tracking_number: str = Field(min_length=1)


class _VoidAnswer(BaseModel):
    label_id: str | None = None


class _DispatchAnswer(BaseModel):
    tracking_number: str = Field(min_length=1)
    dispatched_at: AwareDatetime


class HttpCarrier:
    """The Carrier that honours `Idempotency-Key`."""

    def __init__(self, provider: ProviderHttp) -> None:
        self._provider = provider

    async def create_label(self, parcel: Parcel, *, key: str) -> Label | Rejected:
        body = {
            "order_id": parcel.order_id,
            "ship_to": asdict(parcel.recipient),
            "lines": [{"sku": sku, "quantity": quantity} for sku, quantity in parcel.contents],
        }
        answer = await self._provider.post("labels", body, key=key)
        if answer.status == ADDRESS_REJECTED:
            return Rejected(answer.code)
        label = self._provider.read_created(_LabelAnswer, answer)
        return Label(label.label_id, label.carrier, label.tracking_number)

    async def void_label(self, void: Void, *, key: str) -> Voided:
        body: dict[str, Any] = {"order_id": void.order_id}
        if void.label_id is not None:
            body["label_id"] = void.label_id
        if void.label_keys is not None:
            body["label_keys"] = [provider_key(label_key) for label_key in void.label_keys]
        answer = await self._provider.post("voids", body, key=key)
        return Voided(self._provider.read_created(_VoidAnswer, answer).label_id)

    async def dispatch(self, order_id: str, label_id: str, *, key: str) -> Dispatched:
        body = {"order_id": order_id, "label_id": label_id}
        answer = await self._provider.post("dispatches", body, key=key)
        dispatched = self._provider.read_created(_DispatchAnswer, answer)
        return Dispatched(dispatched.tracking_number, dispatched.dispatched_at.astimezone(UTC))
