"""`correlation-key`: the key function of an awaited event reads fields that the event has, and is pure.

Pure by the rule `impure-builder`; here: every field that it takes from the event exists.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from types import FunctionType

from pydantic import BaseModel

from orchestrator.language.location import Location
from orchestrator.language.source import function_nodes
from orchestrator.language.waiting import WaitFor
from orchestrator.verify.finding import Finding
from orchestrator.verify.handlers import Handlers
from orchestrator.verify.subject import Subject, builder_location

RULE = "correlation-key"


def check(subject: Subject, handlers: Handlers) -> Iterator[Finding]:
    saga = subject.saga
    if saga.cancelled_by is not None:
        event, key = saga.cancelled_by
        yield from _check(subject, "cancelled_by", event, key, saga.location, "cancelled_by")
    for spot in subject.spots:
        block = spot.block
        if isinstance(block, WaitFor):
            yield from _check(subject, block.name, block.wants, block.key, block.location, spot.path)


def _check(
    subject: Subject, name: str, event: type[BaseModel], key: object, location: Location, path: str
) -> Iterator[Finding]:
    missing = sorted(_read_fields(key) - event.model_fields.keys()) if isinstance(key, FunctionType) else []
    if missing and isinstance(key, FunctionType):
        message = f"{name} is correlated by {', '.join(missing)}, which {event.__name__} lacks"
        fix = f"take the business key from one of {', '.join(event.model_fields)}"
        yield subject.at(RULE, builder_location(key, location), message, fix, path)


def _read_fields(key: FunctionType) -> set[str]:
    """Attributes that are read from its parameter; none if lambdas share its line."""
    nodes = function_nodes(key)
    if len(nodes) != 1:
        return set()
    parameters = {argument.arg for argument in nodes[0].args.args}
    return {
        node.attr
        for node in ast.walk(nodes[0])
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in parameters
    }
