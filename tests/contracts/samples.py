"""Valid messages of every type, made by hypothesis from the models themselves."""

from __future__ import annotations

import string
from datetime import UTC, datetime
from typing import Any

from hypothesis import strategies as st
from pydantic import BaseModel

from contracts.catalog import standard_catalog
from contracts.message import Message
from contracts.orders import OrderPlaced

MESSAGES = tuple(sorted(standard_catalog(), key=lambda message: message.type))
IDS = [message.type for message in MESSAGES]

TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=20)
IDENTIFIERS = st.text(string.ascii_letters + string.digits + "._-", min_size=1, max_size=128)
TIMES = st.datetimes(min_value=datetime(1970, 1, 1), max_value=datetime(2100, 1, 1)).map(  # noqa: DTZ001
    lambda at: at.replace(tzinfo=UTC).isoformat().replace("+00:00", "Z")
)
JSON = st.recursive(st.none() | st.booleans() | st.integers(-9, 9) | TEXTS, st.lists, max_leaves=4)


def values(schema: dict[str, Any], root: dict[str, Any]) -> st.SearchStrategy[Any]:
    """JSON values that satisfy the part of JSON Schema that our messages use."""
    if "$ref" in schema:
        return values(root["$defs"][schema["$ref"].rsplit("/", 1)[1]], root)
    if "anyOf" in schema:
        return st.one_of([values(branch, root) for branch in schema["anyOf"]])
    if "enum" in schema or "const" in schema:
        return st.sampled_from(schema.get("enum") or [schema["const"]])
    if schema.get("type") == "array":
        items = values(schema["items"], root)
        return st.lists(items, min_size=schema.get("minItems", 0), max_size=3)
    if schema.get("type") == "object":
        return _objects(schema, root)
    return _scalars(schema)


def _objects(schema: dict[str, Any], root: dict[str, Any]) -> st.SearchStrategy[dict[str, Any]]:
    fields = schema.get("properties")
    if fields is None:
        named = schema.get("additionalProperties")
        return st.dictionaries(TEXTS, values(named, root) if isinstance(named, dict) else JSON, max_size=3)
    required = set(schema.get("required", ()))
    return st.fixed_dictionaries(
        {name: values(part, root) for name, part in fields.items() if name in required},
        optional={name: values(part, root) for name, part in fields.items() if name not in required},
    )


def _scalars(schema: dict[str, Any]) -> st.SearchStrategy[Any]:
    match schema.get("type"):
        case "integer":
            return st.integers(schema.get("minimum", 0), schema.get("maximum", 2**53))
        case "boolean":
            return st.booleans()
        case "null":
            return st.none()
        case "string":
            if schema.get("format") == "date-time":
                return TIMES
            if "A-Za-z0-9" in schema.get("pattern", ""):
                return IDENTIFIERS
            if "pattern" in schema:
                return st.from_regex(schema["pattern"].rstrip("$"), fullmatch=True)
            return TEXTS
    raise AssertionError(f"no strategy for {schema}")


def payloads(message: type[Message]) -> st.SearchStrategy[dict[str, Any]]:
    """JSON objects that `message` accepts."""
    schema = message.model_json_schema()
    made: st.SearchStrategy[dict[str, Any]] = values(schema, schema)
    return made.map(_with_total) if message is OrderPlaced else made


def _with_total(payload: dict[str, Any]) -> dict[str, Any]:
    """The one rule that JSON Schema cannot say. Prices are cut so that the sum stays within bounds."""
    lines = [{**line, "unit_price_cents": line["unit_price_cents"] % 10**6} for line in payload["lines"]]
    lines = [{**line, "quantity": 1 + line["quantity"] % 1000} for line in lines]
    return {**payload, "lines": lines, "total_cents": sum(x["quantity"] * x["unit_price_cents"] for x in lines)}


def fields_of(model: type[BaseModel]) -> set[str]:
    return set(model.model_fields)
