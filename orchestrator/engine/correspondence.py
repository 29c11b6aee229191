"""Which block of a newer version of a saga a block of an older one is, and what keeps it from being the same.

By name (or what a `Migration` says it was renamed to) where blocks have names; by their place in what is around them
where they have none. What is compared here is what a state depends on; all else the newer version may do otherwise.
"""

from __future__ import annotations

from contracts.message import Command, Message
from orchestrator.engine.plan import Node
from orchestrator.language.blocks import (
    Block,
    CommandStep,
    Emit,
    Named,
    Parallel,
    Pivot,
    Sequence,
    Subsaga,
    children_of,
)
from orchestrator.language.flow import Choice, Fallback, ForEach, Repeat, Sleep
from orchestrator.language.migration import Migration
from orchestrator.language.waiting import Approval, WaitFor, captured_as

KNOWN = (Sequence, Parallel, Choice, Fallback, ForEach, Repeat, CommandStep, Emit, Pivot, Sleep, WaitFor, Approval)
"""Blocks whose state is known to mean the same under another definition; any other must not have changed at all."""
_WORDS = {ForEach: "for_each", WaitFor: "wait", CommandStep: "command"}


def word_of(node: Node) -> str:
    """The kind of a block, as its author writes it."""
    kind = type(node.block)
    return _WORDS.get(kind, kind.__name__.lower())


def title_of(node: Node) -> str:
    """A block, for people: its name, or what it is made of."""
    if isinstance(node.block, Named):
        return node.key
    inside = names_inside(node.block)
    return f"the {word_of(node)}" + (f" around {inside[0]}" if inside else "")


def difference(old: Node, new: Node, migration: Migration) -> str | None:
    """Why a state of `old` would mean something else at `new`; None: it means the same, as far as the block alone says.

    What is inside of the blocks is not looked at.
    """
    if type(old.block) is not type(new.block):
        return f"{title_of(old)} is a {word_of(old)}, and in its place is {title_of(new)}, a {word_of(new)}"
    if isinstance(old.block, Named) and isinstance(new.block, Named):
        wanted = migration.new_name(old.block.name)
        if new.block.name != wanted:
            return f"{new.block.name} stands where {wanted} should be"
    if isinstance(old.block, CommandStep):
        return _commands_differ(old, new)
    if isinstance(old.block, Emit) and _type(old.makes) != _type(new.makes):
        return f"{title_of(old)} tells {_type(old.makes)}, and then {_type(new.makes)}"
    if isinstance(old.block, WaitFor) and isinstance(new.block, WaitFor):
        return _captures_differ(old, captured_as(old.block.wants), captured_as(new.block.wants))
    if isinstance(old.block, Approval) and isinstance(new.block, Approval):
        one, other = (None if form is None else captured_as(form) for form in (old.block.form, new.block.form))
        return _captures_differ(old, one, other)
    if isinstance(old.block, Subsaga) and isinstance(new.block, Subsaga):
        one, other = (f"{block.child.name} version {block.child.version}" for block in (old.block, new.block))
        if one != other:
            return f"{title_of(old)} starts {one}, and then {other}"
    if not isinstance(old.block, KNOWN) and old.block != new.block:
        return f"{title_of(old)} is not the same any more"
    return None


def _captures_differ(old: Node, one: str | None, other: str | None) -> str | None:
    return None if one == other else f"{title_of(old)} waits for {one or 'no form'}, and then for {other or 'no form'}"


def _commands_differ(old: Node, new: Node) -> str | None:
    assert isinstance(old.block, CommandStep) and isinstance(new.block, CommandStep)
    if _type(old.makes) != _type(new.makes):
        return f"{title_of(old)} sends {_type(old.makes)}, and then {_type(new.makes)}"
    missing = _outcomes(old.makes) - _outcomes(new.makes)
    if missing:
        return f"{title_of(old)} may be answered by {', '.join(sorted(name for name, _ in missing))}, and then not"
    if _type(old.undo_makes) != _type(new.undo_makes):
        one, other = (_type(undo) or "nothing" for undo in (old.undo_makes, new.undo_makes))
        return f"{title_of(old)} is undone by {one}, and then by {other}"
    if old.block.irreversible != new.block.irreversible:
        return f"{title_of(old)} is irreversible in one version and not in the other"
    return None


def _type(message: type[Message] | None) -> str | None:
    return None if message is None else message.type


def _outcomes(made: type[Message] | None) -> set[tuple[str, bool]]:
    """Type and whether it is a success."""
    assert made is not None and issubclass(made, Command)
    return {(event.type, True) for event in made.succeeds} | {(event.type, False) for event in made.refuses}


def partner(old: Node, candidates: tuple[Node, ...], migration: Migration) -> Node | None:
    """Of branches side by side, the one that `old` has become: that with the first of its named blocks that is in any
    of them; where it has no names, the one at its place."""
    names = names_inside(old.block)
    for name in names:
        for one in candidates:
            if migration.new_name(name) in names_inside(one.block):
                return one
    return candidates[old.position] if not names and old.position < len(candidates) else None


def names_inside(block: Block) -> list[str]:
    """Names of the block and of those in it, in the order in which they are written."""
    own = [block.name] if isinstance(block, Named) else []
    return own + [name for child in children_of(block) for name in names_inside(child)]
