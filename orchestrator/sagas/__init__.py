"""The sagas of this repository, one file per business process."""

from orchestrator.language import Saga
from orchestrator.sagas.order_fulfilment import ORDER_FULFILMENT


def all_sagas() -> tuple[Saga, ...]:
    """Every saga that the orchestrator runs, all versions that may still be running included."""
    return (ORDER_FULFILMENT,)
