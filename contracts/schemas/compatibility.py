"""Which changes to the schema of an existing type are allowed: only those that break neither side.

Old messages are read by new code (they stay in the topics for days, and strangers publish on), and new messages are
read by old code (services are rolled out one by one). So a type that is published may only gain optional fields;
anything else needs a new `vN` beside it. See docs/decisions/0050-schema-compatibility.md.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from contracts.schemas.generate import Schema

Breaks = Literal["old readers", "new readers", "both"]

_ANNOTATIONS = frozenset(("title", "description", "examples", "$comment", "$schema", "$id", "$defs", "deprecated"))
_FACTS = ("x-kind", "x-topic", "x-key", "x-succeeds", "x-refuses")
_LOWER_BOUNDS = ("minimum", "exclusiveMinimum", "minLength", "minItems", "minProperties")
_UPPER_BOUNDS = ("maximum", "exclusiveMaximum", "maxLength", "maxItems", "maxProperties")
_STRUCTURE = frozenset(("properties", "required", "items", "enum", "default", *_LOWER_BOUNDS, *_UPPER_BOUNDS))
DEPTH_MAX = 32
"""Levels of nesting; a message that contains itself is not a message of ours."""


@dataclass(frozen=True, slots=True)
class Incompatibility:
    """One change that needs a new version. `old readers` cannot read new messages, or `new readers` old ones."""

    where: str
    change: str
    breaks: Breaks

    def __str__(self) -> str:
        return f"{self.where or 'the message'}: {self.change} (breaks {self.breaks})"


def incompatibilities(old: Schema, new: Schema) -> tuple[Incompatibility, ...]:
    """Every change from `old` to `new` that a new version is needed for."""
    found = [
        Incompatibility("", f"{fact} was {old.get(fact)!r} and is {new.get(fact)!r}", "both")
        for fact in _FACTS
        if _unordered(old.get(fact)) != _unordered(new.get(fact))
    ]
    return (*found, *_compare(_resolve(old, old, 0), _resolve(new, new, 0), ""))


def _resolve(part: Any, root: Schema, depth: int) -> Any:
    """The schema with references replaced, annotations dropped, and one way to say one thing."""
    if depth > DEPTH_MAX:
        raise ValueError(f"a schema is nested more than {DEPTH_MAX} levels deep")
    if isinstance(part, list):
        return [_resolve(item, root, depth + 1) for item in part]
    if not isinstance(part, dict):
        return part
    if "$ref" in part:
        target: Any = root
        for name in part["$ref"].removeprefix("#/").split("/"):
            target = target[name]
        return _resolve({**target, **{k: v for k, v in part.items() if k != "$ref"}}, root, depth + 1)
    plain = {k: v for k, v in part.items() if k not in _ANNOTATIONS and not k.startswith("x-")}
    whole = {k: _resolve(v, root, depth + 1) for k, v in plain.items() if k != "properties"}
    if "properties" in part:  # a field may be called `title`
        whole["properties"] = {k: _resolve(v, root, depth + 1) for k, v in part["properties"].items()}
    if "const" in whole:
        whole["enum"] = [whole.pop("const")]
    return _without_null(whole)


def _without_null(schema: Schema) -> Schema:
    """`anyOf: [X, null]` as X with `nullable`."""
    branches = schema.get("anyOf")
    if not isinstance(branches, list):
        return schema
    others = [branch for branch in branches if branch != {"type": "null"}]
    rest = {k: v for k, v in schema.items() if k != "anyOf"}
    if len(others) < len(branches):
        rest["nullable"] = True
    if len(others) == 1:
        return {**others[0], **rest}
    return {**rest, "anyOf": sorted(others, key=_text)}


def _compare(old: Schema, new: Schema, where: str) -> Iterator[Incompatibility]:
    yield from _compare_fields(old, new, where)
    yield from _compare_values(old, new, where)
    if "items" in old and "items" in new:
        yield from _compare(old["items"], new["items"], f"{where}[]")
    elif "items" in old or "items" in new:
        yield Incompatibility(where, "its items were constrained, or no longer are", "both")
    for keyword in sorted((old.keys() | new.keys()) - _STRUCTURE):
        if old.get(keyword) != new.get(keyword):
            yield Incompatibility(where, f"{keyword} was {old.get(keyword)!r} and is {new.get(keyword)!r}", "both")


def _compare_fields(old: Schema, new: Schema, where: str) -> Iterator[Incompatibility]:
    before, after = old.get("properties", {}), new.get("properties", {})
    needed_before, needed_after = set(old.get("required", ())), set(new.get("required", ()))
    for name in before:
        place = f"{where}.{name}" if where else name
        if name not in after:
            yield Incompatibility(place, "the field was removed or renamed", "old readers")
            continue
        if name in needed_before - needed_after:
            yield Incompatibility(place, "a required field became optional", "old readers")
        elif name in needed_after - needed_before:
            yield Incompatibility(place, "an optional field became required", "new readers")
        yield from _compare(before[name], after[name], place)
    for name in after:
        if name not in before and name in needed_after:
            yield Incompatibility(f"{where}.{name}" if where else name, "a new field is required", "new readers")


def _compare_values(old: Schema, new: Schema, where: str) -> Iterator[Incompatibility]:
    if old.get("default") != new.get("default"):
        change = f"an absent value meant {old.get('default')!r} and means {new.get('default')!r}"
        yield Incompatibility(where, change, "both")
    yield from _compare_enum(old.get("enum"), new.get("enum"), where)
    for keyword in (*_LOWER_BOUNDS, *_UPPER_BOUNDS):
        yield from _compare_bound(keyword, old.get(keyword), new.get(keyword), where)


def _compare_bound(keyword: str, was: float | None, now: float | None, where: str) -> Iterator[Incompatibility]:
    if was == now:
        return
    narrower = now is not None and (was is None or (now > was) == (keyword in _LOWER_BOUNDS))
    if narrower:
        yield Incompatibility(where, f"narrower: {keyword} was {was} and is {now}", "new readers")
    else:
        yield Incompatibility(where, f"wider: {keyword} was {was} and is {now}", "old readers")


def _compare_enum(old: list[Any] | None, new: list[Any] | None, where: str) -> Iterator[Incompatibility]:
    if old is None or new is None:
        if old is not new:
            yield Incompatibility(where, "the list of allowed values was added or dropped", "both")
        return
    if gone := [value for value in old if value not in new]:
        yield Incompatibility(where, f"narrower: {gone} are no longer allowed values", "new readers")
    if added := [value for value in new if value not in old]:
        yield Incompatibility(where, f"wider: {added} are new allowed values", "old readers")


def _unordered(value: Any) -> Any:
    return sorted(value) if isinstance(value, list) else value


def _text(value: Any) -> str:
    return json.dumps(value, sort_keys=True)
