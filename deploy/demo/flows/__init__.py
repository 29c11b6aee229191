"""The demo's flows, in the order in which they are shown. A new one is a module here and a line in `FLOWS`."""

from __future__ import annotations

from deploy.demo.flow import Flow
from deploy.demo.flows import orders

FLOWS: tuple[Flow, ...] = (orders.FLOW,)
ALL = "all"
NAMES = (*(flow.name for flow in FLOWS), ALL)


def chosen(name: str) -> tuple[Flow, ...]:
    """`name`: one of `NAMES`."""
    return FLOWS if name == ALL else tuple(flow for flow in FLOWS if flow.name == name)
