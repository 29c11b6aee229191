"""`fallback-shares-reference`: two alternatives of a fallback never send one command with one business reference.

When the next alternative starts, the one before it is undone *beside* it, and may still succeed late. A participant
that looks things up by their business reference (the first field, which is also the Kafka key) could not tell the two
apart: the undo of the first would take away what the second has done. Conservative: one command type in two
alternatives is a finding unless both builders end, or begin, the first field with different texts.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from itertools import combinations
from types import FunctionType

from contracts.message import Command
from orchestrator.language.blocks import Block, CommandStep, children_of
from orchestrator.language.flow import Fallback
from orchestrator.language.source import function_nodes
from orchestrator.verify.finding import Finding
from orchestrator.verify.handlers import Handlers
from orchestrator.verify.subject import Subject

RULE = "fallback-shares-reference"


def check(subject: Subject, handlers: Handlers) -> Iterator[Finding]:
    for spot in subject.spots:
        if not isinstance(spot.block, Fallback):
            continue
        for one, other in combinations(spot.block.children, 2):
            for first, second in ((a, b) for a in _steps(one) for b in _steps(other)):
                made = subject.command(first)
                if made is None or made is not subject.command(second) or _differ(first, second, made):
                    continue
                field = next(iter(made.model_fields))
                message = (
                    f"{first.name} and {second.name} are alternatives and both send {made.__name__}; their {field} may "
                    "be the same, so that undoing the first takes away what the second did"
                )
                fix = f'let both end {field} differently ({field}=f"{{...}}-{second.name}"), or use another command'
                yield subject.at(RULE, second.location, message, fix, f"{spot.path} > {second.name}")


def _steps(block: Block) -> Iterator[CommandStep]:
    if isinstance(block, CommandStep):
        yield block
    for child in children_of(block):
        yield from _steps(child)


def _differ(first: CommandStep, second: CommandStep, made: type[Command]) -> bool:
    """Proven from the source: the texts at one end of the two references are never equal."""
    ours, theirs = _reference(first, made), _reference(second, made)
    if ours is None or theirs is None:
        return False
    (head, tail), (other_head, other_tail) = ours, theirs
    heads = head.startswith(other_head) or other_head.startswith(head)
    tails = tail.endswith(other_tail) or other_tail.endswith(tail)
    return not (heads and tails)


def _reference(step: CommandStep, made: type[Command]) -> tuple[str, str] | None:
    """The constant texts at both ends of the first field, if the builder has one place that says it."""
    nodes = function_nodes(step.builder) if isinstance(step.builder, FunctionType) else ()
    field = next(iter(made.model_fields))
    calls = [
        node
        for definition in nodes
        for node in ast.walk(definition)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == made.__name__
    ]
    said = [word.value for call in calls for word in call.keywords if word.arg == field]
    copies = any(isinstance(node, ast.Attribute) and node.attr == "model_copy" for d in nodes for node in ast.walk(d))
    if len(calls) != 1 or len(said) != 1 or copies:
        return None
    parts = said[0].values if isinstance(said[0], ast.JoinedStr) else [said[0]]
    texts = [part.value if isinstance(part, ast.Constant) and isinstance(part.value, str) else "" for part in parts]
    return (texts[0], texts[-1]) if texts else None
