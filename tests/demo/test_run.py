"""How a run keeps count while it is under way."""

from __future__ import annotations

from deploy.demo.baskets import read_baskets
from deploy.demo.orders import plan_orders
from deploy.demo.run import Run
from deploy.demo.traffic import Published, plan_traffic


def test_a_run_is_open_until_every_published_order_has_ended_or_is_stuck() -> None:
    orders = plan_orders(read_baskets(), 20, 7)
    run = Run(orders, plan_traffic(orders, 7))
    for number, sending in enumerate(run.sendings):
        place = None if sending.expects == "refused" else (sending.record.topic, 0, number)
        run.note(Published(sending, place, 1_000 + number))
    assert run.open == 20
    processes = sorted(run.seen.started_ms)
    run.seen.phases = dict.fromkeys(processes, "completed")
    assert run.open == 0
    run.seen.phases[processes[0]] = "compensating"
    assert run.open == 1
    run.seen.phases[processes[0]] = "stuck"
    assert run.open == 0
