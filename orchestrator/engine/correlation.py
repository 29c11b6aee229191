"""Which process an event is for that no command asked for: by the key function of who wants it."""

from __future__ import annotations

from pydantic import BaseModel

from contracts.ids import process_id
from orchestrator.engine.building import parse_payload
from orchestrator.engine.plan import Node, Plan
from orchestrator.language.waiting import EventKey, WaitFor


def concerns(plan: Plan, process: str, node: Node, data: bytes) -> bool:
    """Whether the payload, valid by its contract, is for this process. A signal names its process itself; whatever an
    author's function raises, the event is not for this one."""
    block = node.block
    assert isinstance(block, WaitFor)
    return block.key is None or _is_key_of(plan, process, block.key, parse_payload(block.wants, data))


def calls_off(plan: Plan, process: str, type_name: str, data: bytes) -> bool:
    """Whether the event is the one that calls this process off."""
    if plan.saga.cancelled_by is None or not plan.calls_off(type_name):
        return False
    event, key = plan.saga.cancelled_by
    return _is_key_of(plan, process, key, parse_payload(event, data))


def _is_key_of(plan: Plan, process: str, key: EventKey, message: BaseModel) -> bool:
    try:
        return process_id(plan.saga.name, key(message)) == process
    except Exception:  # noqa: BLE001 - an author's function; the router has reported it as `key-failed`
        return False
