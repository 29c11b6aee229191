"""Keeps the newest level of every sku and warehouse, and publishes their sums when the schedule says so."""

from __future__ import annotations

from typing import Final

from contracts.inventory import StockChanged, StockReport, StockTotal
from contracts.schedules import ScheduleTick
from contracts.topics import MESSAGE_BYTES_MAX
from services.sdk import NotDone, Service
from services.sdk.outcomes import RECORD_OVERHEAD_BYTES
from services.stockreport.levels import Level, LevelStore
from services.stockreport.resources import connect

SCHEDULE: Final = "nightly-stock-report"
OUTAGE_SECONDS_MAX: Final = 900.0
"""How long one execution waits for its store."""
HEADERS_BYTES: Final = 4_096
"""Set aside of a message for its headers and its other fields."""
ROWS_BYTES_MAX: Final = MESSAGE_BYTES_MAX - RECORD_OVERHEAD_BYTES - HEADERS_BYTES
ROW_BYTES_MIN: Final = len('{"sku":"x","on_hand":0,"reserved":0},')
SKUS_MAX: Final = ROWS_BYTES_MAX // ROW_BYTES_MIN
"""More cannot be in one report, however short they are: reading stops there."""

service = Service("stock-report", resources=connect)


@service.handles(StockChanged, unfinished="repeat", timeout_s=OUTAGE_SECONDS_MAX)
async def note(event: StockChanged, levels: LevelStore) -> None:
    await levels.note(Level(event.sku, event.warehouse, event.on_hand, event.reserved, event.revision))


@service.on_schedule(SCHEDULE, unfinished="repeat", timeout_s=OUTAGE_SECONDS_MAX)
async def report(tick: ScheduleTick, levels: LevelStore) -> StockReport:
    """Whole or not at all: a report that leaves skus out would be read as if they had no stock."""
    totals = await totals_of(levels)
    found = StockReport(schedule_id=tick.schedule_id, due_at=tick.due_at, totals=totals)
    size = len(found.to_json())
    if size > ROWS_BYTES_MAX:
        raise too_large(f"{len(totals)} skus make {size} bytes")
    return found


async def totals_of(levels: LevelStore) -> tuple[StockTotal, ...]:
    """Sorted by sku. Raises NotDone: more skus than a report can hold."""
    sums: dict[str, tuple[int, int]] = {}
    async for level in levels.levels():
        on_hand, reserved = sums.get(level.sku, (0, 0))
        sums[level.sku] = (on_hand + level.on_hand, reserved + level.reserved)
        if len(sums) > SKUS_MAX:
            raise too_large(f"there are more than {SKUS_MAX} skus")
    return tuple(
        StockTotal(sku=sku, on_hand=on_hand, reserved=reserved) for sku, (on_hand, reserved) in sorted(sums.items())
    )


def too_large(what: str) -> NotDone:
    return NotDone("report-too-large", f"{what}, and a message may have {MESSAGE_BYTES_MAX}: nothing was reported")
