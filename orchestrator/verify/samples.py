"""Payloads made from a contract's JSON Schema: the smallest that it allows, with one element in every array.

A contract whose own validators refuse what its schema allows gives `examples` (pydantic: `json_schema_extra`), of which
the first is taken.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

M = TypeVar("M", bound=BaseModel)
TEXTS = (
    "x", "sample", "A", "AA", "AAA", "1", "10", "2026-01-01T00:00:00Z", "2026-01-01", "09:00:00", "PT1H",
    "a@example.org", "https://example.org/", "00000000-0000-4000-8000-000000000000", "+4930123456", "DE",
    "DE89370400440532013000",
)  # fmt: skip
"""Tried in this order against `pattern`, `format` and lengths."""
FORMATS = {
    "date-time": "2026-01-01T00:00:00Z",
    "date": "2026-01-01",
    "time": "09:00:00",
    "duration": "PT1H",
    "uuid": "00000000-0000-4000-8000-000000000000",
    "email": "a@example.org",
    "uri": "https://example.org/",
}
MODELS_MAX = 1_024
"""Schemas kept."""
DEPTH_MAX = 16
"""Models within models; more is a contract that contains itself."""


ELEMENTS = 8
"""Of a crowded array: in three orders of a set of eight, all equal by chance is one in 1.6 thousand million."""


class NoSample(ValueError):
    """No payload could be made; the message says of what, and what helps."""


def sample(model: type[M], like: BaseModel | None = None) -> M:
    """A payload that the contract accepts; with the fields of `like` that have the same names, if it takes them.

    Raises:
        NoSample: the contract accepts none of the payloads that were tried.
    """
    for data in _attempts(model, like):
        try:
            return model.model_validate(data)
        except ValidationError:
            continue
    raise NoSample(
        f"no sample of {model.__name__} can be made from its schema: give it one "
        f"(model_config = ConfigDict(json_schema_extra={{'examples': [...]}}))"
    )


def crowded(model: type[M], mark: str = "") -> M:
    """A payload with ELEMENTS different elements in every array, if the contract accepts one; else `sample`'s. `mark`
    tells its texts from those of another one.

    Raises:
        NoSample: as `sample`.
    """
    least = sample(model)
    schema = _schema(model)
    try:
        return model.model_validate(_grown(least.model_dump(mode="json"), schema, schema.get("$defs", {}), mark))
    except ValidationError:
        return least


def _grown(value: Any, schema: dict[str, Any], definitions: dict[str, Any], mark: str) -> Any:
    """The value with more elements in its arrays; `mark` tells the texts of one element from those of another."""
    schema = _plain(schema, definitions)
    if isinstance(value, dict):
        known = schema.get("properties", {})
        return {name: _grown(inner, known.get(name, {}), definitions, mark) for name, inner in value.items()}
    if isinstance(value, list) and value and "items" in schema:
        count = min(ELEMENTS, schema.get("maxItems", ELEMENTS))
        return [_grown(value[0], schema["items"], definitions, f"{mark}{number}") for number in range(count)]
    return _marked(value, schema, mark) if isinstance(value, str) and mark else value


def _plain(schema: dict[str, Any], definitions: dict[str, Any]) -> dict[str, Any]:
    """Without references, and without the choice of None."""
    if "$ref" in schema:
        return _plain(definitions[schema["$ref"].rpartition("/")[2]], definitions)
    several = next((schema[key] for key in ("anyOf", "oneOf", "allOf") if key in schema), None)
    if several is None:
        return schema
    return _plain(next((one for one in several if one.get("type") != "null"), several[0]), definitions)


def _marked(text: str, schema: dict[str, Any], mark: str) -> str:
    if schema.keys() & {"const", "enum", "format"}:
        return text
    for marked in (text + mark, text[: -len(mark)] + mark, mark):
        fits = schema.get("minLength", 0) <= len(marked) <= schema.get("maxLength", len(marked))
        if fits and re.search(schema.get("pattern", ""), marked):
            return marked
    return text


def _attempts(model: type[BaseModel], like: BaseModel | None) -> Iterator[dict[str, Any]]:
    schema = _schema(model)
    given = {} if like is None else like.model_dump(mode="json", exclude_none=True)
    copied = {name: value for name, value in given.items() if name in model.model_fields}
    for number in (0, 1):
        try:
            made = _value(schema, schema.get("$defs", {}), number, 0)
        except NoSample:
            continue
        if isinstance(made, dict):
            yield {**made, **copied}
            yield made


@lru_cache(maxsize=MODELS_MAX)
def _schema(model: type[BaseModel]) -> dict[str, Any]:
    return model.model_json_schema()


def _value(schema: dict[str, Any], definitions: dict[str, Any], number: int, depth: int) -> Any:
    if depth > DEPTH_MAX:
        raise NoSample("too deep")
    if "$ref" in schema:
        return _value(definitions[schema["$ref"].rpartition("/")[2]], definitions, number, depth + 1)
    if "const" in schema:
        return schema["const"]
    for listed in ("examples", "enum"):
        if schema.get(listed):
            return schema[listed][0]
    for several in ("anyOf", "oneOf", "allOf"):
        if several in schema:
            first = next((one for one in schema[several] if one.get("type") != "null"), schema[several][0])
            return _value(first, definitions, number, depth + 1)
    match schema.get("type"):
        case "object":
            required, properties = schema.get("required", ()), schema.get("properties", {})
            return {name: _value(properties[name], definitions, number, depth + 1) for name in required}
        case "array":
            return _array(schema, definitions, number, depth)
        case "string":
            return _text(schema)
        case "integer" | "number":
            least = max(schema.get("minimum", number), schema.get("exclusiveMinimum", -1) + 1)
            return min(max(number, least), schema.get("maximum", least + number))
        case "boolean":
            return False
        case _:
            return None


def _array(schema: dict[str, Any], definitions: dict[str, Any], number: int, depth: int) -> list[Any]:
    if "prefixItems" in schema:
        return [_value(item, definitions, number, depth + 1) for item in schema["prefixItems"]]
    count = min(max(1, schema.get("minItems", 0)), schema.get("maxItems", DEPTH_MAX))
    return [_value(schema.get("items", {}), definitions, number, depth + 1) for _ in range(count)]


def _text(schema: dict[str, Any]) -> str:
    least, most = schema.get("minLength", 0), schema.get("maxLength")
    for text in (FORMATS.get(schema.get("format", ""), TEXTS[0]), *TEXTS, "x" * least):
        fits = len(text) >= least and (most is None or len(text) <= most)
        if fits and re.search(schema.get("pattern", ""), text):
            return text
    raise NoSample(f"no text for {schema.get('pattern')}")
