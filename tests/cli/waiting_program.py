"""An orchestrator whose only saga waits for people: `python -m tests.cli.waiting_program --endpoints FILE`."""

from __future__ import annotations

from datetime import timedelta

from pydantic import BaseModel

from contracts.orders import OrderCancelled, OrderFulfilled, OrderPlaced
from orchestrator import app
from orchestrator.engine.book import SagaBook
from orchestrator.language import Ending, Saga, Signal, approval, emit, sequence, wait_for

DAY = timedelta(days=1)


class Released(Signal, name="released"):
    by: str


class SignOff(BaseModel):
    limit_cents: int


def told(order: OrderPlaced, released: Released, form: SignOff) -> OrderFulfilled:
    number = f"{released.by}-{form.limit_cents}"
    return OrderFulfilled.model_validate(
        {
            "order_id": order.order_id,
            "customer_id": order.customer_id,
            "tracking_number": number,
            "dispatched_at": "2026-01-01T00:00:00Z",
        }
    )


def cancelled(order: OrderPlaced, ending: Ending) -> OrderCancelled:
    return OrderCancelled(
        order_id=order.order_id, customer_id=order.customer_id, reason=ending.reason, step=ending.step
    )


WAITING = Saga(
    name="waiting",
    version=1,
    starts_on=OrderPlaced,
    key=lambda order: order.order_id,
    body=sequence(
        wait_for(Released, limit=DAY, name="release"),
        approval("sign_off", role="manager", form=SignOff, limit=DAY),
        emit(told),
    ),
    cancelled=emit(cancelled),
)


if __name__ == "__main__":
    app._verified_book = lambda: SagaBook([WAITING])
    app.run()
