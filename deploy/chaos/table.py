"""All faults, in the order of the report. Every family has a file of its own."""

from __future__ import annotations

from deploy.chaos.fault import Fault
from deploy.chaos.faults_kafka import kafka_faults
from deploy.chaos.faults_outside import outside_faults
from deploy.chaos.faults_processes import process_faults
from deploy.chaos.faults_recover import recover_faults
from deploy.chaos.faults_redis import redis_faults

FAULTS: tuple[Fault, ...] = (*process_faults(), *kafka_faults(), *recover_faults(), *redis_faults(), *outside_faults())


class UnknownFault(LookupError):
    """There is no fault of that name."""

    def __init__(self, name: str) -> None:
        super().__init__(f"There is no fault named {name!r}; `--list` shows them all.")


def named(names: tuple[str, ...]) -> tuple[Fault, ...]:
    """The faults of these names, in their order; every name may also be a family's. Raises UnknownFault."""
    chosen: list[Fault] = []
    for name in names:
        found = [fault for fault in FAULTS if name in (fault.name, fault.family)]
        if not found:
            raise UnknownFault(name)
        chosen.extend(found)
    return tuple(dict.fromkeys(chosen))
