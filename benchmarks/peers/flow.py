"""What the product and every peer do for an order: reserve, charge and create the label side by side, then dispatch;
an order in five is declined, and what the others did is undone in reverse. Nothing is called outside.

Imports nothing but the standard library: it is read by programs of different environments.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

DECLINED_EVERY = 5
"""Orders of which one is declined (20%)."""
STEPS_COMPLETED = 4
"""reserve, charge, create_label, dispatch."""
STEPS_DECLINED = 5
"""reserve, charge (refused), create_label, void_label, release."""


def order_of(number: int, run: str) -> dict[str, Any]:
    lines = [{"sku": f"p{number % 2000}", "quantity": 1 + line, "unit_price_cents": 199} for line in range(3)]
    return {"order_id": f"{run}-{number}", "lines": lines, "total_cents": 1194, "declined": is_declined(number)}


def is_declined(number: int) -> bool:
    return number % DECLINED_EVERY == 0


def steps_of(orders: int) -> int:
    """Durable steps of orders 0 to `orders` - 1."""
    declined = (orders + DECLINED_EVERY - 1) // DECLINED_EVERY
    return declined * STEPS_DECLINED + (orders - declined) * STEPS_COMPLETED


def percentile_ms(seconds: Sequence[float], share: float) -> float:
    """Raises IndexError if there is no value."""
    ordered = sorted(seconds)
    return round(1000 * ordered[min(len(ordered) - 1, int(len(ordered) * share))], 2)


def write_result(file: Path, seconds: float, orders: int, completed: int, took: Sequence[float]) -> None:
    """`took`: seconds of each process at the light rate."""
    result = {
        "orders": orders,
        "completed": completed,
        "seconds": round(seconds, 2),
        "steps_per_second": round(steps_of(orders) / seconds),
        "light_load": {
            "process_p50_ms": percentile_ms(took, 0.5),
            "process_p99_ms": percentile_ms(took, 0.99),
        },
    }
    file.write_text(json.dumps(result, indent=2) + "\n")
