"""The sagas of this repository, one file per business process."""

from pathlib import Path

from orchestrator.language import Saga
from orchestrator.sagas.order_fulfilment import ORDER_FULFILMENT

FINGERPRINTS_FILE = Path(__file__).with_name("fingerprints.json")
"""What each version of each saga means: see orchestrator.verify.versions."""


def all_sagas() -> tuple[Saga, ...]:
    """Every saga that the orchestrator runs, all versions that may still be running included."""
    return (ORDER_FULFILMENT,)
