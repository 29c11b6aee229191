"""A carrier in this process: the public fake, which answers at once and can be told to misbehave."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Final, Literal

from services.sdk import NotDone, Unknown
from services.shipping.carrier import Dispatched, Label, Parcel, Rejected, Void, Voided

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
REJECTED_POSTAL_CODE: Final = "00000"
LABELS_MAX: Final = 200_000
"""Labels that are remembered; the oldest are forgotten first, and then their keys make new ones."""

Misbehaviour = Literal["unavailable", "lost", "silent"]
"""As the next call ends: nothing done and said so; done, but the answer is lost; not done, and no answer."""


@dataclass(slots=True)
class _Made:
    key: str
    order_id: str
    label: Label
    status: Literal["open", "void", "dispatched"] = "open"


@dataclass(slots=True)
class MemoryCarrier:
    """The Carrier without a network. Rejects the postal code `00000`. `now_ms` is its clock."""

    now_ms: Callable[[], int]
    misbehave: deque[Misbehaviour] = field(default_factory=deque)
    _labels: dict[str, _Made] = field(default_factory=dict)
    _keys_by_order: dict[str, list[str]] = field(default_factory=dict)
    _voids: dict[str, Voided] = field(default_factory=dict)
    _dispatches: dict[str, Dispatched] = field(default_factory=dict)

    async def create_label(self, parcel: Parcel, *, key: str) -> Label | Rejected:
        fault = self._before()
        if parcel.recipient.postal_code == REJECTED_POSTAL_CODE:
            return Rejected("address_rejected")
        if key not in self._labels:
            self._labels[key] = _Made(key, parcel.order_id, Label(f"lbl-{key}", "memory", f"track-{key}"))
            self._keys_by_order.setdefault(parcel.order_id, []).append(key)
            self._forget_oldest()
        _after(fault)
        return self._labels[key].label

    async def void_label(self, void: Void, *, key: str) -> Voided:
        fault = self._before()
        if key not in self._voids:
            covered = self._covered(void)
            if any(one.status == "dispatched" for one in covered):
                raise NotDone("label_dispatched", "the label has been picked up")
            voided = [one for one in covered if one.status == "open"]
            for one in voided:
                one.status = "void"
            self._voids[key] = Voided(voided[0].label.label_id if voided else None)
        _after(fault)
        return self._voids[key]

    async def dispatch(self, order_id: str, label_id: str, *, key: str) -> Dispatched:
        fault = self._before()
        if key not in self._dispatches:
            (made,) = self._covered(Void(order_id, label_id=label_id))
            if made.status == "void":
                raise NotDone("label_voided", f"label {label_id} is void")
            made.status = "dispatched"
            at = EPOCH + timedelta(milliseconds=self.now_ms())
            self._dispatches[key] = Dispatched(made.label.tracking_number, at)
        _after(fault)
        return self._dispatches[key]

    def open_labels(self, order_id: str) -> int:
        return sum(1 for key in self._keys_by_order.get(order_id, ()) if self._labels[key].status == "open")

    @property
    def pick_ups(self) -> int:
        """How often the carrier came, over all orders."""
        return len(self._dispatches)

    def _before(self) -> Misbehaviour | None:
        fault = self.misbehave.popleft() if self.misbehave else None
        if fault == "silent":
            raise Unknown("provider-silent", "no answer")
        if fault == "unavailable":
            raise NotDone("provider-unavailable", "not now", retryable=True)
        return fault

    def _covered(self, void: Void) -> list[_Made]:
        made = [self._labels[key] for key in self._keys_by_order.get(void.order_id, ())]
        if void.label_keys is not None:
            return [one for one in made if one.key in void.label_keys]
        if void.label_id is None:
            return made
        named = [one for one in made if one.label.label_id == void.label_id]
        if not named:
            raise NotDone("unknown_label", f"order {void.order_id} has no label {void.label_id}")
        return named

    def _forget_oldest(self) -> None:
        if len(self._labels) > LABELS_MAX:
            oldest = next(iter(self._labels))
            order_id = self._labels.pop(oldest).order_id
            self._keys_by_order[order_id].remove(oldest)
            if not self._keys_by_order[order_id]:
                del self._keys_by_order[order_id]
        for answers in (self._voids, self._dispatches):
            if len(answers) > LABELS_MAX:
                del answers[next(iter(answers))]


def _after(fault: Misbehaviour | None) -> None:
    if fault == "lost":
        raise Unknown("provider-silent", "the answer was lost")
