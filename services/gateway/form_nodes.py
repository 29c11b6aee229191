"""A contract's JSON Schema as what a person fills in: a tree of fields. Pages are drawn from it, and what a browser
sends is read by it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from contracts.message import Message

DEPTH_MAX = 8
LONG_TEXT_MIN = 1_001
"""A text that may be longer than this gets several lines."""
ROWS_MAX = 100
"""Of one list on a page. Who has more sends JSON."""

Kind = Literal["object", "list", "text", "long-text", "integer", "number", "boolean", "choice", "time", "json"]


@dataclass(frozen=True, slots=True)
class Node:
    """`children`: of an object. `item`: of a list. `limits`: the schema's own words (`minimum`, `pattern`, ...)."""

    kind: Kind
    label: str
    required: bool
    children: Mapping[str, Node] = field(default_factory=dict)
    item: Node | None = None
    options: tuple[str, ...] = ()
    limits: Mapping[str, Any] = field(default_factory=dict)


_LIMITS = ("minimum", "maximum", "minLength", "maxLength", "minItems", "maxItems", "pattern", "format")
_SIMPLE: Mapping[str, Kind] = {"integer": "integer", "number": "number", "boolean": "boolean"}


def nodes_of(message: type[Message], without: tuple[str, ...] = ()) -> Node:
    """The form of a contract, `without` some of its top fields."""
    schema = message.model_json_schema(mode="validation")
    root = _node(schema, schema, message.__name__, required=True, depth=0)
    left = {name: child for name, child in root.children.items() if name not in without}
    return Node("object", root.label, True, children=left)


def _node(part: Mapping[str, Any], root: Mapping[str, Any], label: str, *, required: bool, depth: int) -> Node:
    part = _resolved(part, root)
    limits = {name: part[name] for name in _LIMITS if name in part}
    if "enum" in part or "const" in part:
        options = tuple(str(option) for option in part.get("enum") or [part["const"]])
        if all(isinstance(option, str) for option in part.get("enum") or [part["const"]]):
            return Node("choice", label, required, options=options)
    declared = part.get("type")
    if declared == "object" and part.get("properties") and depth < DEPTH_MAX:
        needed = part.get("required", ())
        children = {
            name: _node(child, root, _label(name), required=name in needed, depth=depth + 1)
            for name, child in part["properties"].items()
        }
        return Node("object", label, required, children=children)
    if declared == "array" and "items" in part and depth < DEPTH_MAX:
        item = _node(part["items"], root, label, required=True, depth=depth + 1)
        return Node("list", label, required, item=item, limits=limits)
    if declared == "string":
        return Node(_text_kind(part), label, required, limits=limits)
    return Node(_SIMPLE.get(str(declared), "json"), label, required, limits=limits)


def _resolved(part: Mapping[str, Any], root: Mapping[str, Any]) -> Mapping[str, Any]:
    """References followed; `X or null` is X."""
    if "$ref" in part:
        target: Any = root
        for step in str(part["$ref"]).removeprefix("#/").split("/"):
            target = target[step]
        return _resolved(target, root)
    branches = [branch for branch in part.get("anyOf", ()) if branch != {"type": "null"}]
    return _resolved(branches[0], root) if len(branches) == 1 else part


def _text_kind(part: Mapping[str, Any]) -> Kind:
    if part.get("format") == "date-time":
        return "time"
    return "long-text" if part.get("maxLength", 0) >= LONG_TEXT_MIN else "text"


def _label(name: str) -> str:
    return name.replace("_", " ").capitalize()
