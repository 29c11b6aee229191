"""The words in which a mapping is declared (TOML), and what they mean: `mapping.Spec` and `mapping.Condition`.

name = "data.customer.name"                          a path
quantity = { path = "data.quantity", as = "integer" }
company = { path = "data.company", optional = true } left out if it is not there
warehouse = { value = "east" }                       a constant
ship_to = { fields = { city = "data.city" } }        an object
lines = { each = "data.items", fields = { sku = "id" } }   a list; paths from the element
tags = { each = "data.tags", item = "name" }         a list of single values
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from services.gateway.mapping import ABSENT, CONVERSIONS, Condition, Constant, Each, Nest, Path, Pick, Spec

DEPTH_MAX = 16
STEPS_MAX = 32

PathWords = str | list[str]


class MappingWordsError(Exception):
    """A mapping is declared in words that mean nothing."""


class SpecWords(BaseModel):
    """One field in its long form."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    path: PathWords | None = None
    convert: Annotated[str | None, Field(alias="as")] = None
    optional: bool = False
    default: Any = ABSENT
    value: Any = ABSENT
    each: PathWords | None = None
    item: PathWords | SpecWords | None = None
    fields: FieldSpecs | None = None


FieldSpecs = dict[str, str | SpecWords]
SpecWords.model_rebuild()


def path_of(words: PathWords) -> Path:
    """A text is split at its dots; a list names each step, for keys that have dots. "" is the whole.

    Raises:
        MappingWordsError.
    """
    steps = tuple(words) if isinstance(words, list) else tuple(words.split(".")) if words else ()
    if len(steps) > STEPS_MAX or not all(steps):
        raise MappingWordsError(f"{words!r} is no path: steps joined by dots, at most {STEPS_MAX}")
    return steps


def specs_of(words: FieldSpecs, depth: int = 0) -> Mapping[str, Spec]:
    """Raises MappingWordsError."""
    if depth > DEPTH_MAX:
        raise MappingWordsError(f"fields are nested more than {DEPTH_MAX} levels deep")
    return {name: _spec(name, one, depth) for name, one in words.items()}


def _spec(name: str, words: PathWords | SpecWords, depth: int) -> Spec:
    if not isinstance(words, SpecWords):
        return Pick(path_of(words))
    chosen: list[str] = [kind for kind in ("path", "value", "each") if kind in words.model_fields_set]
    if not chosen and words.fields is not None:
        chosen = ["fields"]
    if len(chosen) != 1:
        raise MappingWordsError(f"{name}: say one of path, value, each or fields")
    allowed = {
        "path": {"path", "convert", "optional", "default"},
        "value": {"value"},
        "each": {"each", "item", "fields", "optional"},
        "fields": {"fields"},
    }[chosen[0]]
    surplus = words.model_fields_set - allowed
    if surplus:
        raise MappingWordsError(f"{name}: {sorted(surplus)[0]} means nothing beside {chosen[0]}")
    if words.convert is not None and words.convert not in CONVERSIONS:
        raise MappingWordsError(f"{name}: as = {words.convert!r} is not one of {', '.join(CONVERSIONS)}")
    return _chosen(name, words, depth)


def _chosen(name: str, words: SpecWords, depth: int) -> Spec:
    if words.path is not None:
        if words.default is not ABSENT:
            _check_json(name, words.default)
        return Pick(path_of(words.path), words.convert, words.optional, words.default)
    if words.each is not None:
        if (words.item is None) == (words.fields is None):
            raise MappingWordsError(f"{name}: each needs either fields or item")
        if words.fields is not None:
            return Each(path_of(words.each), Nest(specs_of(words.fields, depth + 1)), words.optional)
        assert words.item is not None, "one of the two"
        return Each(path_of(words.each), _spec(name, words.item, depth + 1), words.optional)
    if words.fields is not None:
        return Nest(specs_of(words.fields, depth + 1))
    _check_json(name, words.value)
    return Constant(words.value)


def conditions_of(words: Mapping[str, Any]) -> tuple[Condition, ...]:
    """`{ "type" = "paid", "state" = ["a", "b"], "data.test" = { exists = false } }`. Raises MappingWordsError."""
    return tuple(_condition(path, value) for path, value in words.items())


def _condition(path: str, value: Any) -> Condition:
    if isinstance(value, Mapping):
        if value.keys() != {"exists"} or not isinstance(value["exists"], bool):
            raise MappingWordsError(f"when {path}: a value, a list of values, or {{ exists = true }}")
        return Condition(path_of(path), exists=value["exists"])
    values = value if isinstance(value, list) else [value]
    if not values:
        raise MappingWordsError(f"when {path}: an empty list never holds")
    for one in values:
        _check_json(f"when {path}", one)
    return Condition(path_of(path), tuple(values))


def _check_json(name: str, value: Any) -> None:
    """TOML knows dates and infinity; JSON does not."""
    if isinstance(value, Mapping):
        for one in value.values():
            _check_json(name, one)
    elif isinstance(value, list):
        for one in value:
            _check_json(name, one)
    elif not isinstance(value, str | int | float | bool) or (isinstance(value, float) and not math.isfinite(value)):
        raise MappingWordsError(f"{name}: {value!r} is not a value of JSON; write a time as text")
