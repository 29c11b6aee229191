"""The reconciliation: what was announced about orders against what the outside world's ledger and the shelves say.

Pure. Every line is one sentence that must hold, with the discrepancies found (none: it holds). Reusable wherever an
`Evidence` can be gathered at rest, that is, when every process has ended.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from deploy.demo.evidence import Evidence, LedgerEffect

ONCE_AN_ORDER = frozenset((("payment", "charge"), ("carrier", "label"), ("carrier", "dispatch")))
"""Effects that one order may have only once, whatever their keys."""


@dataclass(frozen=True, slots=True)
class Line:
    """`claim` holds if nothing is in `discrepancies`; `figures` shows the numbers compared."""

    name: str
    claim: str
    figures: str
    discrepancies: tuple[str, ...]

    @property
    def holds(self) -> bool:
        return not self.discrepancies


@dataclass(frozen=True, slots=True)
class Totals:
    """The report's numbers that the reconciliation is about."""

    captured_cents: int
    refunded_cents: int
    fulfilled_value_cents: int
    labels_open: int
    reserved_units: int
    double_effects: int


def reconcile(evidence: Evidence) -> tuple[Line, ...]:
    """All lines, also those that hold."""
    return (
        _every_order_ends_once(evidence),
        _money_in_total(evidence),
        _money_per_order(evidence),
        _stock_is_conserved(evidence),
        _nothing_is_reserved(evidence),
        _dispatched_units(evidence),
        _labels(evidence),
        _parcels(evidence),
        _nothing_twice(evidence),
    )


def totals_of(evidence: Evidence) -> Totals:
    captured, refunded = _money(evidence.ledger)
    return Totals(
        captured_cents=sum(captured.values()),
        refunded_cents=sum(refunded.values()),
        fulfilled_value_cents=_fulfilled_value(evidence),
        labels_open=len(_open_labels(evidence)),
        reserved_units=sum(level.reserved for level in evidence.stock),
        double_effects=len(double_effects(evidence.ledger)),
    )


def double_effects(ledger: Iterable[LedgerEffect]) -> tuple[LedgerEffect, ...]:
    """Effects beyond the first per (provider, kind, idempotency key), plus second charges, labels or dispatches of one
    order; each effect counts once."""
    keys: set[tuple[str, str, str]] = set()
    orders: set[tuple[str, str, str]] = set()
    doubles = []
    for effect in ledger:
        key = (effect.provider, effect.kind, effect.idempotency_key)
        order = (effect.provider, effect.kind, effect.reference)
        if key in keys or ((effect.provider, effect.kind) in ONCE_AN_ORDER and order in orders):
            doubles.append(effect)
        keys.add(key)
        orders.add(order)
    return tuple(doubles)


# Orders.


def _every_order_ends_once(evidence: Evidence) -> Line:
    wrong = [
        f"order {order}: {_told(evidence.endings.get(order, ()))}"
        for order in sorted(evidence.placed)
        if len(evidence.endings.get(order, ())) != 1
    ]
    wrong += [
        f"order {order}: ended, but was never placed" for order in sorted(evidence.endings.keys() - evidence.placed)
    ]
    figures = f"{len(evidence.placed)} placed, {len(evidence.endings)} ended"
    return Line("orders", "every order ends once, fulfilled or cancelled", figures, tuple(wrong))


def _told(endings: tuple[str, ...]) -> str:
    return f"announced {len(endings)} times: {', '.join(endings)}" if endings else "neither fulfilled nor cancelled"


# Money.


def _money(ledger: Iterable[LedgerEffect]) -> tuple[Counter[str], Counter[str]]:
    """Cents captured and refunded, by order."""
    captured: Counter[str] = Counter()
    refunded: Counter[str] = Counter()
    for effect in ledger:
        if effect.provider == "payment":
            (captured if effect.kind == "charge" else refunded)[effect.reference] += effect.cents
    return captured, refunded


def _fulfilled_value(evidence: Evidence) -> int:
    return sum(evidence.placed[order].total_cents for order in evidence.ended("fulfilled") if order in evidence.placed)


def _money_in_total(evidence: Evidence) -> Line:
    totals = totals_of(evidence)
    kept = totals.captured_cents - totals.refunded_cents
    difference = kept - totals.fulfilled_value_cents
    figures = (
        f"{_money_text(totals.captured_cents)} - {_money_text(totals.refunded_cents)} = {_money_text(kept)}; "
        f"fulfilled {_money_text(totals.fulfilled_value_cents)}"
    )
    wrong = (f"{_money_text(difference)} too {'much' if difference > 0 else 'little'} was kept",) if difference else ()
    return Line("money", "captured minus refunded equals the value of the fulfilled orders", figures, wrong)


def _money_per_order(evidence: Evidence) -> Line:
    captured, refunded = _money(evidence.ledger)
    fulfilled = evidence.ended("fulfilled")
    wrong = []
    for order in sorted(captured.keys() | refunded.keys() | evidence.placed.keys()):
        placed = evidence.placed.get(order)
        due = placed.total_cents if placed is not None and order in fulfilled else 0
        kept = captured[order] - refunded[order]
        if kept != due:
            wrong.append(f"order {order}: kept {_money_text(kept)}, due {_money_text(due)}")
    figures = f"{len(captured)} orders charged, {len(refunded)} refunded"
    return Line("money per order", "of each order exactly its value is kept, or nothing", figures, tuple(wrong))


def _money_text(cents: int) -> str:
    sign = "-" if cents < 0 else ""
    return f"{sign}{abs(cents) // 100:,}.{abs(cents) % 100:02d}"


# Stock.


def _stock_is_conserved(evidence: Evidence) -> Line:
    wrong = []
    for level in sorted(evidence.stock, key=lambda level: level.sku):
        now, opened = level.on_hand + level.reserved + level.dispatched, evidence.opening.get(level.sku, 0)
        if now != opened:
            wrong.append(f"sku {level.sku}: on hand + reserved + dispatched = {now:,}, opened with {opened:,}")
        if min(level.on_hand, level.reserved, level.dispatched) < 0:
            wrong.append(f"sku {level.sku}: a count is below zero")
    figures = f"{len(evidence.stock)} skus, {sum(evidence.opening.values()):,} units"
    return Line("stock", "on hand + reserved + dispatched is what each sku opened with", figures, tuple(wrong))


def _nothing_is_reserved(evidence: Evidence) -> Line:
    held = [level for level in evidence.stock if level.reserved]
    wrong = tuple(f"sku {level.sku}: {level.reserved} still reserved" for level in held)
    figures = f"{sum(level.reserved for level in held)} units reserved"
    return Line("reservations", "at rest nothing is reserved", figures, wrong)


def _dispatched_units(evidence: Evidence) -> Line:
    sold: Counter[str] = Counter()
    for order in evidence.ended("fulfilled"):
        if order in evidence.placed:
            for line in evidence.placed[order].lines:
                sold[line.sku] += line.quantity
    left = Counter({level.sku: level.dispatched for level in evidence.stock})
    wrong = tuple(
        f"sku {sku}: {left[sku]} dispatched, {sold[sku]} in fulfilled orders"
        for sku in sorted(sold.keys() | left.keys())
        if sold[sku] != left[sku]
    )
    figures = f"{left.total():,} dispatched, {sold.total():,} in fulfilled orders"
    return Line("goods", "what left the shelves is what the fulfilled orders hold", figures, wrong)


# Parcels.


def _label_states(evidence: Evidence) -> tuple[dict[str, set[str]], set[str]]:
    """Labels by order, and the voided labels."""
    labels: dict[str, set[str]] = defaultdict(set)
    voided: set[str] = set()
    for effect in _carrier(evidence):
        if effect.kind == "label":
            labels[effect.reference].add(effect.data["label_id"])
        elif effect.kind == "void":
            voided.update(effect.data["label_ids"])
    return labels, voided


def _carrier(evidence: Evidence) -> Iterator[LedgerEffect]:
    return (effect for effect in evidence.ledger if effect.provider == "carrier")


def _open_labels(evidence: Evidence) -> tuple[tuple[str, str], ...]:
    """(order, label) of cancelled orders whose label was not voided."""
    labels, voided = _label_states(evidence)
    cancelled = evidence.ended("cancelled")
    return tuple(
        (order, label) for order in sorted(cancelled & labels.keys()) for label in sorted(labels[order] - voided)
    )


def _labels(evidence: Evidence) -> Line:
    labels, voided = _label_states(evidence)
    wrong = [f"order {order}: cancelled, but label {label} is open" for order, label in _open_labels(evidence)]
    wrong += [
        f"order {order}: fulfilled, but has no valid label"
        for order in sorted(evidence.ended("fulfilled"))
        if not labels.get(order, set()) - voided
    ]
    figures = f"{sum(map(len, labels.values()))} made, {len(voided)} voided"
    return Line("labels", "no label is open for a cancelled order", figures, tuple(wrong))


def _parcels(evidence: Evidence) -> Line:
    dispatched = {effect.reference for effect in _carrier(evidence) if effect.kind == "dispatch"}
    fulfilled = evidence.ended("fulfilled")
    wrong = [f"order {order}: dispatched, but not fulfilled" for order in sorted(dispatched - fulfilled)]
    wrong += [f"order {order}: fulfilled, but never dispatched" for order in sorted(fulfilled - dispatched)]
    figures = f"{len(dispatched)} dispatched, {len(fulfilled)} fulfilled"
    return Line("parcels", "exactly the fulfilled orders were dispatched", figures, tuple(wrong))


def _nothing_twice(evidence: Evidence) -> Line:
    wrong = tuple(
        f"{effect.provider} {effect.kind} of order {effect.reference} again, key {effect.idempotency_key}"
        for effect in double_effects(evidence.ledger)
    )
    return Line("no effect twice", "no effect was executed twice", f"{len(evidence.ledger)} effects", wrong)
