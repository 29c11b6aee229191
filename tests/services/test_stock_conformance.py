"""What every stock adapter promises (services/inventory/stock.py), over the memory one and the one on real Redis."""

from __future__ import annotations

import pytest

from services.inventory.stock import (
    EARLY_DISPATCH_MS,
    Allocation,
    Change,
    Demand,
    Level,
    Movement,
    ReservationRevokedError,
    Shortage,
    StockStore,
    floor_of,
)

AT = 1_700_000_000_123
LATER = AT + 60_000
FLOOR = floor_of(AT)


async def reserve(stock: StockStore, order: str, reservation: str, *demands: tuple[str, int], at: int = AT) -> Movement:
    return await stock.reserve(order, reservation, tuple(Demand(*demand) for demand in demands), at_ms=at)


async def release(stock: StockStore, order: str, request: str, *reservations: str, at: int = AT) -> Movement:
    return await stock.release(order, request, reservations, at_ms=at)


async def levels(stock: StockStore) -> dict[tuple[str, str], tuple[int, int, int]]:
    return {(one.sku, one.warehouse): (one.on_hand, one.reserved, one.dispatched) async for one in stock.levels()}


async def test_a_sku_seen_for_the_first_time_opens_and_says_so(stock: StockStore) -> None:
    movement = await reserve(stock, "o1", "r1", ("milk", 2))

    assert movement == Movement(
        at_ms=AT,
        lines=(Allocation("milk", "east", 2),),
        changes=(
            Change("milk", "east", 3_334, 0, 1),
            Change("milk", "central", 3_333, 0, 1),
            Change("milk", "west", 3_333, 0, 1),
            Change("milk", "east", 3_332, 2, 2),
        ),
    )


async def test_revision_rises_by_one_with_every_change(stock: StockStore) -> None:
    await reserve(stock, "o1", "r1", ("scarce-milk", 1))
    second = await reserve(stock, "o2", "r2", ("scarce-milk", 1))
    third = await release(stock, "o1", "u1", "r1")
    fourth = await stock.dispatch("o2", "d2", at_ms=AT)

    assert [m.changes[0].revision for m in (second, third, fourth)] == [3, 4, 5]
    assert [one async for one in stock.levels()] == [Level("scarce-milk", "east", 4, 0, 1, 5)]


async def test_a_line_is_drawn_from_several_warehouses_if_no_one_can_fill_it(stock: StockStore) -> None:
    movement = await reserve(stock, "o1", "r1", ("milk", 9_000))

    assert movement.lines == (
        Allocation("milk", "east", 3_334),
        Allocation("milk", "central", 3_333),
        Allocation("milk", "west", 2_333),
    )


async def test_the_fullest_warehouse_is_drawn_first(stock: StockStore) -> None:
    await reserve(stock, "o1", "r1", ("milk", 2))

    movement = await reserve(stock, "o2", "r2", ("milk", 1))

    assert movement.lines == (Allocation("milk", "central", 1),)


async def test_all_or_nothing_over_the_lines(stock: StockStore) -> None:
    movement = await reserve(stock, "o1", "r1", ("milk", 2), ("scarce-tea", 6), ("absent-jam", 1))

    assert movement.lines == ()
    assert movement.shortages == (Shortage("scarce-tea", 6, 5), Shortage("absent-jam", 1, 0))
    assert [change.sku for change in movement.changes] == ["milk"] * 3 + ["scarce-tea"]
    assert all(reserved == 0 for _, reserved, _ in (await levels(stock)).values())


async def test_an_absent_sku_does_not_open(stock: StockStore) -> None:
    movement = await reserve(stock, "o1", "r1", ("absent-jam", 3))

    assert movement.changes == ()
    assert await levels(stock) == {}


async def test_a_repeated_reservation_gets_the_first_answer_and_reserves_once(stock: StockStore) -> None:
    first = await reserve(stock, "o1", "r1", ("scarce-tea", 2))

    assert await reserve(stock, "o1", "r1", ("scarce-tea", 2), at=LATER) == first
    assert await levels(stock) == {("scarce-tea", "east"): (3, 2, 0)}


async def test_a_repeated_refusal_gets_the_first_answer_although_stock_has_come_back(stock: StockStore) -> None:
    await reserve(stock, "o1", "r1", ("scarce-tea", 5))
    refused = await reserve(stock, "o2", "r2", ("scarce-tea", 1))
    await release(stock, "o1", "u1", "r1")

    assert await reserve(stock, "o2", "r2", ("scarce-tea", 1), at=LATER) == refused
    assert refused.shortages == (Shortage("scarce-tea", 1, 0),)


async def test_release_gives_back_what_the_named_reservation_took(stock: StockStore) -> None:
    await reserve(stock, "o1", "r1", ("scarce-tea", 2), ("milk", 1))

    movement = await release(stock, "o1", "u1", "r1")

    assert movement.lines == (Allocation("scarce-tea", "east", 2), Allocation("milk", "east", 1))
    assert movement.changes == (Change("scarce-tea", "east", 5, 0, 3), Change("milk", "east", 3_334, 0, 3))


async def test_a_repeated_release_gets_the_first_answer(stock: StockStore) -> None:
    await reserve(stock, "o1", "r1", ("scarce-tea", 2))
    first = await release(stock, "o1", "u1", "r1")

    assert await release(stock, "o1", "u1", "r1", at=LATER) == first
    assert await levels(stock) == {("scarce-tea", "east"): (5, 0, 0)}


async def test_another_release_of_the_same_reservation_finds_nothing_left(stock: StockStore) -> None:
    await reserve(stock, "o1", "r1", ("scarce-tea", 2))
    await release(stock, "o1", "u1", "r1")

    assert await release(stock, "o1", "u2", "r1") == Movement(AT)


async def test_release_leaves_other_reservations_of_the_order_alone(stock: StockStore) -> None:
    await reserve(stock, "o1", "r1", ("scarce-tea", 1))
    await reserve(stock, "o1", "r2", ("scarce-tea", 2))

    movement = await release(stock, "o1", "u1", "r1")

    assert movement.lines == (Allocation("scarce-tea", "east", 1),)
    assert await levels(stock) == {("scarce-tea", "east"): (3, 2, 0)}


async def test_release_of_several_reservations_sums_them(stock: StockStore) -> None:
    await reserve(stock, "o1", "r1", ("scarce-tea", 1))
    await reserve(stock, "o1", "r2", ("scarce-tea", 2))

    movement = await release(stock, "o1", "u1", "r1", "r2", "never-made")

    assert movement.lines == (Allocation("scarce-tea", "east", 3),)
    assert movement.changes == (Change("scarce-tea", "east", 5, 0, 4),)


async def test_release_of_the_whole_order(stock: StockStore) -> None:
    await reserve(stock, "o1", "r1", ("scarce-tea", 1))
    await reserve(stock, "o1", "r2", ("scarce-tea", 2))

    movement = await stock.release("o1", "u1", None, at_ms=AT)

    assert movement.lines == (Allocation("scarce-tea", "east", 3),)
    with pytest.raises(ReservationRevokedError):
        await reserve(stock, "o1", "r1", ("scarce-tea", 1))


async def test_a_reservation_that_arrives_after_its_release_does_nothing(stock: StockStore) -> None:
    assert await release(stock, "o1", "u1", "r1") == Movement(AT)

    with pytest.raises(ReservationRevokedError, match="r1"):
        await reserve(stock, "o1", "r1", ("scarce-tea", 2))
    assert await levels(stock) == {}


async def test_a_released_reservation_is_never_made_again(stock: StockStore) -> None:
    await reserve(stock, "o1", "r1", ("scarce-tea", 2))
    await release(stock, "o1", "u1", "r1")

    with pytest.raises(ReservationRevokedError):
        await reserve(stock, "o1", "r1", ("scarce-tea", 2))


async def test_dispatched_units_leave_the_warehouse(stock: StockStore) -> None:
    await reserve(stock, "o1", "r1", ("scarce-tea", 2))

    movement = await stock.dispatch("o1", "d1", at_ms=AT)

    assert movement.lines == (Allocation("scarce-tea", "east", 2),)
    assert movement.changes == (Change("scarce-tea", "east", 3, 0, 3),)
    assert await levels(stock) == {("scarce-tea", "east"): (3, 0, 2)}


async def test_a_repeated_dispatch_gets_the_first_answer(stock: StockStore) -> None:
    await reserve(stock, "o1", "r1", ("scarce-tea", 2))
    first = await stock.dispatch("o1", "d1", at_ms=AT)

    assert await stock.dispatch("o1", "d1", at_ms=LATER) == first
    assert await levels(stock) == {("scarce-tea", "east"): (3, 0, 2)}


async def test_an_order_is_dispatched_once(stock: StockStore) -> None:
    await reserve(stock, "o1", "r1", ("scarce-tea", 1))
    await reserve(stock, "o1", "r2", ("scarce-tea", 2))
    newest = await stock.dispatch("o1", "d1", at_ms=AT)

    assert newest.lines == (Allocation("scarce-tea", "east", 2),)
    assert await stock.dispatch("o1", "d2", at_ms=AT) == Movement(AT)
    surplus = await release(stock, "o1", "u1", "r1")
    assert surplus.lines == (Allocation("scarce-tea", "east", 1),)
    assert await levels(stock) == {("scarce-tea", "east"): (3, 0, 2)}


async def test_release_after_dispatch_does_nothing(stock: StockStore) -> None:
    await reserve(stock, "o1", "r1", ("scarce-tea", 2))
    await stock.dispatch("o1", "d1", at_ms=AT)

    assert await release(stock, "o1", "u1", "r1") == Movement(AT)
    assert await stock.release("o1", "u2", None, at_ms=AT) == Movement(AT)
    assert await levels(stock) == {("scarce-tea", "east"): (3, 0, 2)}


async def test_dispatch_of_an_order_without_a_reservation_changes_nothing(stock: StockStore) -> None:
    assert await stock.dispatch("o1", "d1", at_ms=AT) == Movement(AT)


async def test_a_dispatch_that_came_early_takes_the_next_reservation_at_once(stock: StockStore) -> None:
    """What a store that went back in time sees: the dispatch is on another topic, and may be replayed first."""
    await stock.dispatch("o1", "d1", at_ms=AT)

    movement = await reserve(stock, "o1", "r1", ("scarce-tea", 2), at=LATER)

    assert movement.lines == (Allocation("scarce-tea", "east", 2),)
    assert [(one.on_hand, one.reserved, one.revision) for one in movement.changes] == [(5, 0, 1), (3, 2, 2), (3, 0, 3)]
    assert await levels(stock) == {("scarce-tea", "east"): (3, 0, 2)}
    assert await reserve(stock, "o1", "r1", ("scarce-tea", 2), at=LATER + 1) == movement
    assert await release(stock, "o1", "u1", "r1") == Movement(AT)


async def test_a_dispatch_that_came_early_takes_every_line_from_every_warehouse(stock: StockStore) -> None:
    await stock.dispatch("o1", "d1", at_ms=AT)

    await reserve(stock, "o1", "r1", ("milk", 9_000), ("scarce-tea", 1))

    found = await levels(stock)
    assert sum(reserved for _, reserved, _ in found.values()) == 0
    assert sum(gone for _, _, gone in found.values()) == 9_001


async def test_a_dispatch_that_came_early_takes_one_reservation(stock: StockStore) -> None:
    await stock.dispatch("o1", "d1", at_ms=AT)
    await stock.dispatch("o1", "d2", at_ms=AT)
    await reserve(stock, "o1", "r1", ("scarce-tea", 1))
    await reserve(stock, "o1", "r2", ("scarce-tea", 2))

    assert await levels(stock) == {("scarce-tea", "east"): (2, 2, 1)}
    assert await stock.dispatch("o1", "d3", at_ms=AT) == Movement(AT)


async def test_a_refused_reservation_leaves_the_early_dispatch_for_the_next(stock: StockStore) -> None:
    await stock.dispatch("o1", "d1", at_ms=AT)
    await reserve(stock, "o1", "r1", ("scarce-tea", 6))
    await reserve(stock, "o1", "r2", ("scarce-tea", 2))

    assert await levels(stock) == {("scarce-tea", "east"): (3, 0, 2)}


async def test_an_early_dispatch_is_of_its_order_alone(stock: StockStore) -> None:
    await stock.dispatch("o1", "d1", at_ms=AT)
    await reserve(stock, "o2", "r1", ("scarce-tea", 2))

    assert await levels(stock) == {("scarce-tea", "east"): (3, 2, 0)}


@pytest.mark.parametrize(("late_ms", "left"), [(0, 2), (1, 0)])
async def test_a_dispatch_waits_for_its_reservation_as_long_as_records_are_executed(
    stock: StockStore, late_ms: int, left: int
) -> None:
    await stock.dispatch("o1", "d1", at_ms=AT)
    await reserve(stock, "o1", "r1", ("scarce-tea", 2), at=AT + EARLY_DISPATCH_MS + late_ms)

    assert await levels(stock) == {("scarce-tea", "east"): (3, 2 - left, left)}


async def test_a_dispatch_that_found_its_reservation_ends_the_wait_of_an_earlier_one(stock: StockStore) -> None:
    await stock.dispatch("o1", "d1", at_ms=AT)
    await reserve(stock, "o1", "r1", ("scarce-tea", 1), at=AT + EARLY_DISPATCH_MS + 1)
    await stock.dispatch("o1", "d2", at_ms=AT)
    await reserve(stock, "o1", "r2", ("scarce-tea", 1))

    assert await levels(stock) == {("scarce-tea", "east"): (3, 1, 1)}


async def test_an_order_of_a_thousand_lines(stock: StockStore) -> None:
    demands = [(f"sku-{number}", 3_335) for number in range(1_000)]

    movement = await reserve(stock, "o1", "r1", *demands)
    released = await release(stock, "o1", "u1", "r1")

    assert len(movement.lines) == 2_000
    assert set(released.lines) == set(movement.lines)
    assert set((await levels(stock)).values()) == {(3_334, 0, 0), (3_333, 0, 0)}


async def test_large_numbers_stay_exact(stock: StockStore) -> None:
    movement = await reserve(stock, "o1", "r1", ("scarce-tea", 10**12))

    assert movement.shortages == (Shortage("scarce-tea", 10**12, 5),)


async def test_renewed_levels_have_a_revision_above_all_before_and_are_told(stock: StockStore) -> None:
    await reserve(stock, "o1", "r1", ("scarce-milk", 1), ("milk", 1))

    told = [change async for page in stock.renew(at_ms=AT) for change in page]

    assert sorted(told, key=lambda one: (one.sku, one.warehouse)) == [
        Change("milk", "central", 3_333, 0, FLOOR),
        Change("milk", "east", 3_333, 1, FLOOR),
        Change("milk", "west", 3_333, 0, FLOOR),
        Change("scarce-milk", "east", 4, 1, FLOOR),
    ]
    assert [m.revision for m in (await release(stock, "o1", "u1", "r1")).changes] == [FLOOR + 1, FLOOR + 1]


async def test_a_level_that_opens_after_a_renewal_begins_above_what_may_have_been_told(stock: StockStore) -> None:
    assert [page async for page in stock.renew(at_ms=AT)] == []

    movement = await reserve(stock, "o1", "r1", ("scarce-milk", 1))

    assert [change.revision for change in movement.changes] == [FLOOR, FLOOR + 1]


async def test_a_second_renewal_is_above_the_first_even_if_the_clock_went_back(stock: StockStore) -> None:
    await reserve(stock, "o1", "r1", ("scarce-milk", 1))
    for at in (LATER, AT):
        told = [change async for page in stock.renew(at_ms=at) for change in page]

    assert [change.revision for change in told] == [floor_of(LATER) + 1]
    assert (await reserve(stock, "o2", "r2", ("scarce-tea", 1))).changes[0].revision == floor_of(LATER)


async def test_all_pages_of_a_large_stock_are_renewed(stock: StockStore) -> None:
    skus = [f"scarce-{number}" for number in range(450)]
    await reserve(stock, "o1", "r1", *((sku, 1) for sku in skus))

    told = [change async for page in stock.renew(at_ms=AT) for change in page]

    assert sorted(change.sku for change in told) == sorted(skus)
    assert {change.revision for change in told} == {FLOOR}
