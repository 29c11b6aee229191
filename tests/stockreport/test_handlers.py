"""The nightly stock report, as a story: what inventory said, a tick, and the sums."""

from __future__ import annotations

from datetime import UTC, datetime

from contracts.inventory import StockChanged, StockReport, StockTotal
from contracts.schedules import ScheduleTick
from services.sdk.testing import CrashPoint, Harness
from services.stockreport import handlers
from services.stockreport.handlers import SCHEDULE, SKUS_MAX, service
from services.stockreport.levels import Level
from services.stockreport.store_memory import MemoryLevels

DUE_AT = datetime(2026, 1, 1, 2, tzinfo=UTC)
TICK = ScheduleTick(schedule_id=SCHEDULE, due_at=DUE_AT)


def changed(sku: str, warehouse: str, on_hand: int, reserved: int, revision: int) -> StockChanged:
    return StockChanged(
        sku=sku, warehouse=warehouse, on_hand=on_hand, reserved=reserved, revision=revision, changed_at=DUE_AT
    )


async def test_the_report_sums_the_newest_levels_over_all_warehouses() -> None:
    async with Harness(service, [MemoryLevels()]) as harness:
        await harness.deliver(changed("milk", "east", 10, 1, 1))
        await harness.deliver(changed("milk", "west", 5, 0, 1))
        await harness.deliver(changed("bread", "east", 7, 2, 3))
        await harness.deliver(changed("milk", "east", 8, 3, 2))
        await harness.deliver(changed("bread", "east", 99, 99, 2), id="late")
        (reported,) = await harness.deliver(TICK)
    totals = (StockTotal(sku="bread", on_hand=7, reserved=2), StockTotal(sku="milk", on_hand=13, reserved=3))
    assert reported.message == StockReport(schedule_id=SCHEDULE, due_at=DUE_AT, totals=totals)
    assert reported.record.topic == "inventory.events"


async def test_a_tick_that_comes_twice_is_reported_once_whatever_has_changed() -> None:
    async with Harness(service, [MemoryLevels()]) as harness:
        await harness.deliver(changed("milk", "east", 10, 1, 1))
        first = await harness.deliver(TICK, id="tick")
        await harness.deliver(changed("milk", "east", 4, 1, 2))
        again = await harness.deliver(TICK, id="tick")
    assert [one.record.value for one in again] == [one.record.value for one in first]
    assert again[0].envelope.id == first[0].envelope.id


async def test_a_crash_at_any_point_gives_one_report() -> None:
    for point in CrashPoint:
        async with Harness(service, [MemoryLevels()]) as harness:
            await harness.deliver(changed("milk", "east", 10, 1, 1))
            harness.crash_at = point
            published = await harness.deliver(TICK)
            published += await harness.restart()
            assert {one.envelope.id for one in published} == {published[0].envelope.id}
            assert all(isinstance(one.message, StockReport) for one in published)


async def test_ticks_of_other_schedules_are_skipped_however_old() -> None:
    async with Harness(service, [MemoryLevels()]) as harness:
        assert await harness.deliver(ScheduleTick(schedule_id="other", due_at=DUE_AT)) == []
        assert harness.metric("skipped_total", why="not-handled") == 1
        assert harness.dead_letters() == []


async def test_a_report_without_stock_is_empty() -> None:
    async with Harness(service, [MemoryLevels()]) as harness:
        (reported,) = await harness.deliver(TICK)
    assert reported.message == StockReport(schedule_id=SCHEDULE, due_at=DUE_AT, totals=())


async def filled(count: int, name: str = "s") -> MemoryLevels:
    levels = MemoryLevels()
    for number in range(count):
        await levels.note(Level(f"{name}{number}", "east", 1, 0, 1))
    return levels


async def test_what_does_not_fit_into_one_message_is_not_reported_in_part() -> None:
    for levels, why in (
        (await filled(8_000, "a-long-sku-" * 11), "8000 skus make"),
        (await filled(SKUS_MAX + 1), f"there are more than {SKUS_MAX} skus"),
    ):
        async with Harness(service, [levels]) as harness:
            (letter,) = await harness.deliver(TICK)
            assert letter.record.topic == "stock-report.dead-letters"
            headers = dict(letter.record.headers)
            assert headers["dl_reason"] == b"handler-failed"
            assert headers["dl_detail"].startswith(why.encode())
            assert b"nothing was reported" in headers["dl_detail"]


async def test_what_just_fits_is_reported() -> None:
    async with Harness(service, [await filled(20_000)]) as harness:
        (reported,) = await harness.deliver(TICK)
    assert isinstance(reported.message, StockReport) and len(reported.message.totals) == 20_000
    assert len(reported.record.value or b"") < handlers.ROWS_BYTES_MAX
