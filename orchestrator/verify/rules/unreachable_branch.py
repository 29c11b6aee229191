"""`unreachable-branch`: every branch of a choice, and every alternative of a fallback, can be reached.

Not reached are a branch after one that always holds, one that never holds, one whose predicate stands earlier too, and
an alternative after one that cannot fail.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from types import FunctionType

from orchestrator.language.blocks import Block, Emit, Pivot, children_of
from orchestrator.language.flow import Choice, Fallback, ForEach, Repeat, Sleep
from orchestrator.language.source import function_nodes
from orchestrator.verify.finding import Finding
from orchestrator.verify.handlers import Handlers
from orchestrator.verify.places import Spot, branch_name
from orchestrator.verify.subject import Subject

RULE = "unreachable-branch"


def check(subject: Subject, handlers: Handlers) -> Iterator[Finding]:
    for spot in subject.spots:
        if isinstance(spot.block, Choice):
            yield from _branches(subject, spot, spot.block)
        elif isinstance(spot.block, Fallback):
            yield from _alternatives(subject, spot, spot.block)


def _branches(subject: Subject, spot: Spot, block: Choice) -> Iterator[Finding]:
    always: str | None = None
    seen: set[object] = set()
    for branch in block.branches:
        name, fix = branch_name(branch), "remove it, or the one before it"
        if always is not None:
            message = f"{name} is never reached: {always} always holds"
        elif branch.predicate is not None and branch.predicate in seen:
            message = f"{name} is never reached: the same predicate stands earlier"
        elif _constant(branch.predicate) is False:
            message, fix = f"{name} never holds", "remove it, or let its predicate depend on something"
        else:
            always = name if _constant(branch.predicate) is True else None
            seen.add(branch.predicate)
            continue
        yield subject.at(RULE, branch.location, message, fix, f"{spot.path} > {name}")


def _constant(predicate: object) -> object:
    """What a predicate returns whatever it is given; None if that depends on something, or is not seen."""
    nodes = function_nodes(predicate) if isinstance(predicate, FunctionType) else ()
    if len(nodes) != 1:
        return None
    body = nodes[0].body
    if isinstance(body, list):
        said = [one for one in body if not (isinstance(one, ast.Expr) and isinstance(one.value, ast.Constant))]
        returned = said[0].value if said and isinstance(said[0], ast.Return) else None
    else:
        returned = body
    return returned.value if isinstance(returned, ast.Constant) else None


def _alternatives(subject: Subject, spot: Spot, block: Fallback) -> Iterator[Finding]:
    for number, alternative in enumerate(block.children[:-1], 1):
        if not _can_fail(alternative):
            message = f"alternative {number + 1} is never tried: alternative {number} cannot fail"
            fix = "remove it, or place before it only what can fail"
            path = f"{spot.path} > alternative {number + 1}"
            yield subject.at(RULE, block.children[number].location, message, fix, path)
            return


def _can_fail(block: Block) -> bool:
    if isinstance(block, Emit | Sleep | Pivot):
        return False
    children = children_of(block)
    if isinstance(block, Repeat) or not (children or isinstance(block, Choice | ForEach)):
        return not _is_empty(block)
    return any(_can_fail(child) for child in children)


def _is_empty(block: Block) -> bool:
    return hasattr(block, "children") and not children_of(block)
