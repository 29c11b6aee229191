"""Which orders the demo places, and what each will meet: pure, from baskets and a seed."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from contracts.orders import Address, OrderLine, OrderPlaced
from contracts.process import Phase
from deploy.demo.baskets import Basket

Fate = Literal["plain", "declined", "absent", "rejected", "silent", "lost", "flaky"]
"""What an order meets outside (FLOWS.md, outside systems)."""

SHARES: Mapping[Fate, float] = {
    "declined": 0.04,
    "absent": 0.03,
    "rejected": 0.03,
    "lost": 0.03,
    "flaky": 0.03,
    "silent": 0.006,
}
"""The rest is plain. Few are silent: each holds its charge for ten seconds."""
METHODS: Mapping[Fate, str] = {"declined": "pm_declined", "silent": "pm_silent", "lost": "pm_lost", "flaky": "pm_flaky"}
REJECTED_POSTAL_CODE = "00000"
ENDS: Mapping[Fate, Phase] = {
    "plain": "completed",
    "lost": "completed",
    "flaky": "completed",
    "declined": "compensated",
    "absent": "compensated",
    "rejected": "compensated",
    "silent": "compensated",
}
"""How an order of each fate ends when nothing else goes wrong."""
DESCRIPTIONS: Mapping[Fate, str] = {
    "plain": "nothing special",
    "declined": "card declined",
    "absent": "stock missing",
    "rejected": "address rejected",
    "silent": "provider silent",
    "lost": "answer lost after the charge",
    "flaky": "provider failed twice first",
}

_STREETS = ("Elm Street", "Harbour Road", "Mill Lane", "Station Avenue", "Orchard Way")
_CITIES = (("Cincinnati", "45202"), ("Dayton", "45402"), ("Columbus", "43004"), ("Toledo", "43604"))


@dataclass(frozen=True, slots=True)
class PlannedOrder:
    fate: Fate
    placed: OrderPlaced


def plan_orders(baskets: Sequence[Basket], count: int, seed: int) -> tuple[PlannedOrder, ...]:
    """`count` orders. More orders than baskets: baskets are used again, with a number behind the order's id."""
    chance = random.Random(seed)
    chosen = list(baskets)
    chance.shuffle(chosen)
    fates = _fates(count, chance)
    return tuple(
        PlannedOrder(fate, _order(chosen[number % len(chosen)], number // len(chosen), fate, chance))
        for number, fate in enumerate(fates)
    )


def _fates(count: int, chance: random.Random) -> list[Fate]:
    """Each fate at least once if there is room. The silent ones come in the first half, so that nothing waits for them
    alone at the end."""
    counts = {fate: max(1, round(share * count)) for fate, share in SHARES.items()} if count > 2 * len(SHARES) else {}
    silent = counts.pop("silent", 0)
    fates: list[Fate] = [fate for fate, number in counts.items() for _ in range(number)]
    fates += ["plain"] * (count - silent - len(fates))
    chance.shuffle(fates)
    for _ in range(silent):
        fates.insert(chance.randrange(max(1, count // 2)), "silent")
    return fates


def _order(basket: Basket, round_number: int, fate: Fate, chance: random.Random) -> OrderPlaced:
    lines = tuple(_lines(basket, fate))
    city, postal_code = chance.choice(_CITIES)
    address = Address(
        name=f"Household {basket.household_id}",
        street=f"{chance.randrange(1, 400)} {chance.choice(_STREETS)}",
        city=city,
        postal_code=REJECTED_POSTAL_CODE if fate == "rejected" else postal_code,
        country="US",
    )
    return OrderPlaced(
        order_id=basket.basket_id if round_number == 0 else f"{basket.basket_id}-{round_number + 1}",
        customer_id=basket.household_id,
        lines=lines,
        total_cents=sum(line.quantity * line.unit_price_cents for line in lines),
        currency="USD",
        ship_to=address,
        payment_method=METHODS.get(fate, "pm_card"),
    )


def _lines(basket: Basket, fate: Fate) -> Iterator[OrderLine]:
    for number, line in enumerate(basket.lines):
        sku = f"absent-{line.sku}" if fate == "absent" and number == 0 else line.sku
        yield OrderLine(sku=sku, quantity=line.units, unit_price_cents=line.unit_price_cents)
