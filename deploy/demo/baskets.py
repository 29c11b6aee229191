"""The committed extract of real retail baskets, as values. Made by `extract_baskets.py`."""

from __future__ import annotations

import gzip
import json
from dataclasses import dataclass
from pathlib import Path

EXTRACT = Path(__file__).with_name("baskets.jsonl.gz")


@dataclass(frozen=True, slots=True)
class BasketLine:
    sku: str
    units: int
    unit_price_cents: int


@dataclass(frozen=True, slots=True)
class Basket:
    """What one household bought at once. `week` is 1-26 of the recorded year."""

    basket_id: str
    week: int
    household_id: str
    lines: tuple[BasketLine, ...]


def read_baskets(path: Path = EXTRACT) -> tuple[Basket, ...]:
    """All baskets of the extract, in order of their ids."""
    rows = (json.loads(line) for line in gzip.decompress(path.read_bytes()).splitlines())
    return tuple(
        Basket(basket_id, week, household_id, tuple(BasketLine(*line) for line in lines))
        for basket_id, week, household_id, lines in rows
    )
