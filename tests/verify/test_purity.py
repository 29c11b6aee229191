"""Builders depend on what they are given and on nothing else; what is not known to be pure is impure."""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from pathlib import Path
from types import FunctionType, MappingProxyType

import pytest

from contracts.inventory import ReserveStock, StockLine
from contracts.orders import OrderPlaced
from contracts.shipping import DispatchOrder
from orchestrator.language import Saga, command
from orchestrator.verify import Finding, Handlers, verify_sagas
from tests.verify import impure
from tests.verify.planted import line_of, saga
from tests.verify.steps import charge, refund

IMPURE = tuple(
    value
    for name, value in vars(impure).items()
    if isinstance(value, FunctionType) and value.__module__ == impure.__name__ and not name.startswith("_")
)
SAID = {
    "reads_a_clock": "it calls .now(), which is not known to be pure",
    "reads_time": "it uses time (a module)",
    "draws": "it uses random (a module)",
    "imports": "it uses import",
    "opens": "it uses open (a builtin_function_or_method)",
    "prints": "it uses print (a builtin_function_or_method)",
    "counts": "it uses global",
    "assigns": "it assigns to order.order_id",
    "grows": "it uses augassign",
    "remembers": "it uses SEEN (a list)",
    "looks_up": "it uses CARRIERS (a dict)",
    "hashes": "it uses hash (a builtin_function_or_method)",
    "orders_by_chance": "it iterates over a set, whose order differs between processes",
    "makes_a_set": "it makes a set, whose order differs between processes",
    "shows_an_address": "it passes _stamp around",
    "calls_a_method": "it calls .publish(), which is not known to be pure",
    "tries": "it uses try",
    "waits": "it uses while",
    "reaches_inside": "it reaches into order.__dict__",
    "asks_a_helper": "in _label > _stamp: it uses time (a module)",
    "repeats": "in repeats: it calls itself, or helpers too deep",
    "shadows": "time is a variable of a comprehension or lambda, and a global too",
    "refunds_by_chance": "it uses random (a module)",
    "compares_identities": "it compares identities",
    "computes_with_views": "it computes with .keys(), which is like a set",
}


def findings_of(builder: Callable[..., object]) -> tuple[Finding, ...]:
    return verify_sagas([saga(command(builder, irreversible=True))], Handlers.any())  # type: ignore[arg-type]


def marked(name: str) -> int:
    lines = Path(impure.__file__).read_text(encoding="utf-8").splitlines()
    (found,) = (number for number, line in enumerate(lines, 1) if re.search(rf"# <- {name}( |$)", line))
    return found


def test_every_impure_builder_has_its_expectation() -> None:
    assert {builder.__name__ for builder in IMPURE} == SAID.keys()


@pytest.mark.parametrize("builder", IMPURE, ids=lambda builder: builder.__name__)
def test_an_impure_builder_is_found_at_its_line(builder: Callable[..., object]) -> None:
    found = [finding for finding in findings_of(builder) if finding.rule == "impure-builder"]
    said = [
        finding for finding in found if finding.message == f"{builder.__name__} is not pure: {SAID[builder.__name__]}"
    ]
    assert [(finding.file, finding.line) for finding in said] == [(impure.__file__, marked(builder.__name__))], found
    assert all(finding.fix for finding in found)


def test_the_finding_says_through_which_helper_it_is_reached() -> None:
    assert {finding.path for finding in findings_of(impure.asks_a_helper)} == {"asks_a_helper > _label > _stamp"}


RATES = MappingProxyType({"DE": ("dhl", 1)})
LIMIT = 3


def pure(order: OrderPlaced) -> ReserveStock:
    """Everything that builders are known to need."""
    skus = sorted({line.sku for line in order.lines}, key=lambda sku: (len(sku), sku))
    notes = {line.sku: line.quantity for line in order.lines if line.sku is not None}
    total, *_ = (sum(quantity for _, quantity in notes.items()), 0)
    total, *_ = (sum(line.quantity for line in order.lines), 0)
    carrier, factor = RATES.get(order.ship_to.country, ("post", LIMIT))
    match order.currency:
        case "EUR" | "USD":
            total = total * factor
        case other if other in {"GBP"}:
            total = max(total, 1)
        case _:
            raise ValueError(f"{carrier} takes no {order.currency.lower()}")
    if not skus or any(line.quantity > LIMIT for line in order.lines):
        skus = [*skus, "extra"]
    return ReserveStock(order_id=order.order_id, lines=tuple(_line(sku, total) for sku in skus))


def _line(sku: str, quantity: int) -> StockLine:
    return StockLine(sku=sku.strip().removeprefix("x-"), quantity=quantity)


def test_a_pure_builder_passes() -> None:
    assert findings_of(pure) == ()


def closing_over(label: str) -> Callable[[OrderPlaced], DispatchOrder]:
    def inner(order: OrderPlaced) -> DispatchOrder:  # <- closure
        return DispatchOrder(order_id=order.order_id, label_id=label)

    return inner


def test_a_closure_is_not_known_to_be_pure() -> None:
    (finding,) = findings_of(closing_over("l"))
    assert (finding.rule, finding.line) == ("impure-builder", line_of(__file__, "closure"))
    assert finding.message == "inner is not pure: it closes over label"


def test_a_function_without_source_is_not_known_to_be_pure() -> None:
    scope = dict(vars(impure))
    exec("def unseen(order: OrderPlaced) -> DispatchOrder: return None", scope)
    (finding,) = findings_of(scope["unseen"])
    assert finding.message == "unseen is not pure: its source cannot be read"


async def later(order: OrderPlaced) -> DispatchOrder:  # <- async
    return DispatchOrder(order_id=order.order_id, label_id="l")


def positional(order: OrderPlaced, /) -> DispatchOrder:  # <- positional
    return DispatchOrder(order_id=order.order_id, label_id="l")


def untyped(order) -> DispatchOrder:  # type: ignore[no-untyped-def] # <- untyped
    return DispatchOrder(order_id=order.order_id, label_id="l")


def test_a_builder_is_a_plain_typed_function() -> None:
    for builder, marker, said in (
        (later, "async", "later is called once and must return the message itself: no async, no yield"),
        (positional, "positional", "positional has a positional-only parameter, but parameters are injected by name"),
        (untyped, "untyped", "untyped: parameter 'order' has no type"),
    ):
        finding = next(finding for finding in findings_of(builder) if finding.rule == "builder-signature")
        assert (finding.message, finding.line) == (said, line_of(__file__, marker))
        assert finding.fix.startswith("write a plain function: def name(")


def announces(order: OrderPlaced) -> OrderPlaced:  # <- makes an event
    return order


def test_a_command_step_makes_a_command() -> None:
    (finding,) = findings_of(announces)
    assert (finding.rule, finding.line) == ("builder-makes", line_of(__file__, "makes an event"))
    assert finding.message == "announces makes OrderPlaced, which is not a command"
    assert finding.fix == "return a class that is declared as Command, as command(...) needs it"


def test_the_key_function_is_pure_too() -> None:
    planted = Saga(
        name="planted",
        version=1,
        starts_on=OrderPlaced,
        key=lambda order: f"{order.order_id}-{random.random()}",  # <- key
        body=command(charge, undo=refund),
    )
    (first, second) = verify_sagas([planted], Handlers.any())
    assert {first.rule, second.rule} == {"impure-builder"}
    assert {first.line, second.line} == {line_of(__file__, "key")}
    assert first.message == "the key function is not pure: it calls .random(), which is not known to be pure"
