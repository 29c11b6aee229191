"""Sagas that start others: what verify finds about them. Each planted fault breaks one rule, once."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Any

from contracts.message import Event, Identifier
from contracts.orders import OrderLine, OrderPlaced
from contracts.payment import ChargePayment, PaymentCaptured, RefundPayment
from orchestrator.engine.decide import decide
from orchestrator.engine.decision import Decision
from orchestrator.language import (
    From,
    Saga,
    Undo,
    command,
    fallback,
    for_each,
    parallel,
    pivot,
    repeat,
    sequence,
    subsaga,
)
from orchestrator.language.blocks import Block
from orchestrator.verify import Finding, Handlers, verify_sagas
from orchestrator.verify import exploration as exploration_module
from orchestrator.verify.exploration import explore
from tests.verify.planted import line_of, saga
from tests.verify.steps import charge, lines, refund, release, reserve


class PackageWanted(Event, type="lab.package-wanted.v1"):
    package_id: Identifier
    cents: int


class PackagePaid(Event, type="lab.package-paid.v1"):
    package_id: Identifier
    payment_id: Identifier


def pay(wanted: PackageWanted) -> ChargePayment:
    return ChargePayment(order_id=wanted.package_id, amount_cents=1, currency="EUR", payment_method="card")


def pay_back(wanted: PackageWanted, paid: PaymentCaptured | None) -> RefundPayment:
    return RefundPayment(order_id=wanted.package_id, payment_id=paid.payment_id if paid else None)


def again(wanted: PackageWanted) -> ChargePayment:
    return ChargePayment(order_id=f"{wanted.package_id}-2", amount_cents=1, currency="EUR", payment_method="card")


def paid(wanted: PackageWanted, paid: PaymentCaptured) -> PackagePaid:
    return PackagePaid(package_id=wanted.package_id, payment_id=paid.payment_id)


def surely_paid(wanted: PackageWanted, paid: Annotated[PaymentCaptured, From("pay")]) -> PackagePaid:
    return PackagePaid(package_id=wanted.package_id, payment_id=paid.payment_id)


def package(order: OrderPlaced) -> PackageWanted:
    return PackageWanted(package_id=order.order_id, cents=1)


def package_of(order: OrderPlaced, line: OrderLine) -> PackageWanted:
    return PackageWanted(package_id=f"{order.order_id}-{line.sku}", cents=line.unit_price_cents)


def use(order: OrderPlaced, package: PackagePaid) -> ChargePayment:
    return ChargePayment(order_id=package.package_id, amount_cents=1, currency="EUR", payment_method="card")


def use_all(order: OrderPlaced, packages: tuple[PackagePaid, ...]) -> ChargePayment:
    return ChargePayment(order_id=order.order_id, amount_cents=len(packages), currency="EUR", payment_method="card")


def give_back(order: OrderPlaced, package: PackagePaid) -> RefundPayment:
    return RefundPayment(order_id=package.package_id, payment_id=package.payment_id)


def package_saga(body: Block | None = None, name: str = "package", **more: Any) -> Saga:
    return Saga(
        name=name, version=1, starts_on=PackageWanted, key=lambda wanted: wanted.package_id,
        body=body or command(pay, undo=pay_back), **more,
    )  # fmt: skip


PACKAGE = package_saga(returns=paid)
SURE = package_saga(sequence(command(pay, undo=pay_back), pivot(), command(again)), "sure", returns=surely_paid)


def found(parent: Saga, *beside: Saga) -> tuple[Finding, ...]:
    return verify_sagas([parent], Handlers.any(), [parent, *(beside or (PACKAGE, SURE))])


def only(parent: Saga, rule: str, line: int, *beside: Saga) -> Finding:
    (finding,) = found(parent, *beside)
    assert (finding.rule, finding.line) == (rule, line)
    return finding


def here(marker: str) -> int:
    return line_of(__file__, marker)


def test_parents_and_children_that_break_no_rule() -> None:
    bodies = (
        sequence(subsaga(PACKAGE, package), command(use, undo=refund)),
        sequence(for_each(lines, subsaga(PACKAGE, package_of), bound=5, concurrency=2), command(use_all, undo=refund)),
        parallel(subsaga(SURE, package, undo=give_back), command(reserve, undo=release)),
        subsaga(SURE, package, irreversible=True),
        fallback(subsaga(PACKAGE, package), command(charge, undo=refund)),
        sequence(command(charge, undo=refund), pivot(), subsaga(SURE, package)),
    )
    for body in bodies:
        assert found(saga(body)) == ()
    assert verify_sagas([saga(bodies[0]), PACKAGE, SURE], Handlers.any()) == ()


def test_a_child_that_nobody_runs() -> None:
    planted = saga(subsaga(PACKAGE, package))  # <- unknown
    finding = only(planted, "unknown-child", here("unknown"), SURE)
    assert "which no shard would run" in finding.message and "all_sagas" in finding.fix


def test_a_child_that_is_another_definition_than_the_one_that_runs() -> None:
    planted = saga(subsaga(package_saga(command(again, undo=pay_back)), package))  # <- other
    assert "starts another package" in only(planted, "unknown-child", here("other"), PACKAGE).message


def test_a_child_with_a_point_of_no_return_needs_an_undo_of_its_own() -> None:
    planted = saga(subsaga(SURE, package))  # <- sure
    assert "sure has a point of no return" in only(planted, "no-undo", here("sure")).message


def test_a_child_is_not_undone_and_irreversible() -> None:
    planted = saga(subsaga(SURE, package, undo=give_back, irreversible=True))  # <- both
    only(planted, "no-undo", here("both"))


def test_a_builder_that_makes_another_start() -> None:
    planted = saga(subsaga(PACKAGE, wrong_start))
    assert "package starts on PackageWanted" in only(planted, "builder-makes", here("wrong-start")).message


def wrong_start(order: OrderPlaced) -> PackagePaid:  # <- wrong-start
    return PackagePaid(package_id=order.order_id, payment_id="p")


def test_what_a_child_without_returns_does_not_yield() -> None:
    silent = package_saga(name="silent")
    (finding,) = found(saga(sequence(subsaga(silent, package), command(use, undo=refund))), silent)
    assert finding.rule == "not-captured" and "no step of the saga yields it" in finding.message


def test_what_is_returned_is_captured_on_every_path() -> None:
    beside = parallel(command(pay, undo=pay_back), command(again, undo=pay_back))
    (finding,) = verify_sagas(
        [package_saga(fallback(command(pay, undo=pay_back), _told()), returns=paid)], Handlers.any()
    )
    assert (finding.rule, finding.path) == ("not-captured", "returns")
    rules = {one.rule for one in verify_sagas([package_saga(beside, returns=paid)], Handlers.any())}
    assert "ambiguous-injection" in rules


def _told() -> Block:
    from orchestrator.language import emit

    return emit(told)


def told(wanted: PackageWanted) -> PackagePaid:
    return PackagePaid(package_id=wanted.package_id, payment_id="none")


def test_a_returns_that_makes_a_command() -> None:
    (finding,) = verify_sagas([package_saga(returns=pay)], Handlers.any())  # type: ignore[arg-type]
    assert finding.rule == "builder-makes" and "returns= needs it" in finding.fix


def test_a_returns_that_is_not_pure() -> None:
    (finding,) = verify_sagas([package_saga(returns=impure)], Handlers.any())
    assert finding.rule == "impure-builder"


def impure(wanted: PackageWanted) -> PackagePaid:
    return PackagePaid(package_id=wanted.package_id, payment_id=f"{hash(wanted)}")


def test_a_saga_that_starts_itself_by_another_version() -> None:
    inner = saga(command(charge, undo=refund))
    middle = Saga(
        name="middle", version=1, starts_on=OrderPlaced, key=lambda order: order.order_id,
        body=subsaga(inner, same),
    )  # fmt: skip
    outer = Saga(
        name="planted", version=2, starts_on=OrderPlaced, key=lambda order: order.order_id,
        body=subsaga(middle, same),  # <- self
    )  # fmt: skip
    finding = only(outer, "child-nesting", here("self"), middle, inner)
    assert "planted starts itself: planted > middle > planted" in finding.message


def same(order: OrderPlaced) -> OrderPlaced:
    return order


def test_too_many_generations() -> None:
    line = [package_saga(name="g0")]
    for number in range(1, 9):
        line.append(package_saga(subsaga(line[-1], deeper), f"g{number}"))
    assert [one.rule for one in verify_sagas([line[8]], Handlers.any(), line)] == ["child-nesting"]
    assert verify_sagas([line[7]], Handlers.any(), line) == ()


def deeper(wanted: PackageWanted) -> PackageWanted:
    return wanted


def test_a_loop_that_would_start_one_child_many_times() -> None:
    planted = saga(for_each(lines, subsaga(PACKAGE, package), bound=5))
    rules = [finding.rule for finding in found(planted)]
    assert rules == ["child-started-twice"]
    rounds = repeat(subsaga(PACKAGE, package), until=enough, bound=3)
    assert "every round would start the same process" in found(saga(rounds))[0].message
    assert found(saga(repeat(subsaga(PACKAGE, package), until=enough, bound=1))) == ()


def enough(order: OrderPlaced) -> bool:
    return True


def test_a_childs_deadline_or_else_its_limits_count_in_its_parents() -> None:
    slow = package_saga(name="slow", deadline=timedelta(hours=3))
    planted = saga(subsaga(slow, package), deadline=timedelta(hours=2))
    (finding,) = found(planted, slow)
    assert finding.rule == "deadline-too-short" and "package (3:00:00)" in finding.path
    assert found(saga(subsaga(slow, package), deadline=timedelta(hours=3)), slow) == ()
    planted = saga(subsaga(PACKAGE, package), deadline=timedelta(minutes=1))
    assert [one.rule for one in found(planted)] == ["deadline-too-short"]


def test_the_policies_of_a_command_that_undoes_a_child_can_be_meant() -> None:
    odd = Undo(give_back, timeout=timedelta(hours=1), patience=timedelta(minutes=1))
    assert [one.rule for one in found(saga(subsaga(SURE, package, undo=odd)))] == ["timing"]


# Explored.


def test_a_child_is_explored_as_a_black_box_and_a_saga_that_returns_as_a_child() -> None:
    report = explore(
        saga(sequence(command(reserve, undo=release), subsaga(PACKAGE, package), command(use, undo=refund)))
    )
    assert (report.problems, report.complete) == ([], True)
    report = explore(PACKAGE)
    assert (report.problems, report.complete) == ([], True)


def test_an_engine_that_forgets_to_undo_a_child_is_found(monkeypatch: Any) -> None:
    from msgspec.structs import replace

    def forgetful(*given: Any) -> Decision:
        decision = decide(*given)
        process = decision.process
        if process is None or process.ended is None:
            return decision
        steps = {key: replace(step, undos=()) for key, step in process.steps.items()}
        return Decision(replace(process, steps=steps), decision.result, decision.reason, decision.effects)

    monkeypatch.setattr(exploration_module, "decide", forgetful)
    report = explore(saga(sequence(subsaga(PACKAGE, package), command(reserve, undo=release))))
    assert any("package, try 1, is done and not undone" in problem.what for problem in report.problems)


def test_a_key_that_is_no_id_is_found() -> None:
    odd = Saga(
        name="odd", version=1, starts_on=PackageWanted, key=lambda wanted: f"{wanted.package_id}/{wanted.cents}",
        body=command(pay, undo=pay_back),
    )  # fmt: skip
    (finding,) = found(saga(subsaga(odd, package)), odd)
    assert finding.rule == "explored" and "the key of saga odd is" in finding.message


def test_a_cancelled_block_may_start_a_child() -> None:
    assert found(saga(command(charge, undo=refund), cancelled=subsaga(SURE, package))) == ()
