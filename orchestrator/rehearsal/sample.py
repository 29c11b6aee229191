"""Payloads made from a contract: fields of the same name are copied from what is known, the rest follows the schema."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from pydantic import BaseModel, ValidationError

DEPTH_MAX = 16
"""Models in models; a model that contains itself ends here."""
ATTEMPTS_MAX = 32
"""Rounds in which fields that do not fit are made otherwise."""
TEXTS = ("sample", "SAMPLE", "USD", "US", "1", "00000", "a", "A", "sample@example.org", "2026-01-01")
"""Tried in turn where a schema has a pattern or a length."""
Payload = Mapping[str, Any]


class NoSample(ValueError):
    """No payload could be made; the message says what does not fit. A person must give one."""


def sample(model: type[BaseModel], known: Sequence[Payload], now: str, given: Payload | None = None) -> dict[str, Any]:
    """A valid payload of `model`: what is `given`, else what the first of `known` has under the same name, else a value
    that its schema allows. Optional fields that nobody knows are left out. `now`: RFC 3339, for times.

    Raises:
        NoSample: a given field does not fit, or a schema allows nothing that is tried here.
    """
    schema = model.model_json_schema(mode="validation")
    names = schema.get("properties", {})
    required = set(schema.get("required", ()))
    fixed = dict(given or {})
    copied = {name: one[name] for one in reversed(known) for name in names if name in one and name not in fixed}
    made = {name: _Maker(schema, now).value(name, names[name]) for name in required - copied.keys() - fixed.keys()}
    likened: set[str] = set()
    for _ in range(ATTEMPTS_MAX):
        payload = {**made, **copied, **fixed}
        wrong = _wrong(model, payload)
        if not wrong:
            return {name: payload[name] for name in [*names, *fixed] if name in payload}
        bad = next((name for name in wrong if name in copied), None)
        if bad is None:
            raise NoSample("; ".join(f"{name}: {what}" for name, what in wrong.items()))
        if bad not in likened:
            likened.add(bad)
            copied[bad] = _Maker(schema, now).value(bad, names[bad], like=copied[bad])
            continue
        del copied[bad]
        if bad in required:
            made[bad] = _Maker(schema, now).value(bad, names[bad])
    raise NoSample(f"no {model.__name__} could be made")


def _wrong(model: type[BaseModel], payload: Payload) -> dict[str, str]:
    """What does not fit, by the field of the whole that it is in."""
    try:
        model.model_validate_json(msgspec.json.encode(payload))
    except ValidationError as error:
        return {str(one["loc"][0]) if one["loc"] else "the whole": one["msg"] for one in error.errors()}
    return {}


class _Maker:
    """Values for a JSON schema as pydantic writes them."""

    def __init__(self, root: Payload, now: str) -> None:
        self._definitions: Payload = root.get("$defs", {})
        self._now = now

    def value(self, name: str, schema: Payload, depth: int = 0, like: Any = None) -> Any:
        """`like`: a value of another contract, from which fields of the same name are taken."""
        if depth > DEPTH_MAX:
            return None
        if "$ref" in schema:
            return self.value(name, self._definitions[schema["$ref"].rsplit("/", 1)[1]], depth + 1, like)
        for fixed in ("const", "default"):
            if fixed in schema:
                return schema[fixed]
        if "enum" in schema:
            return schema["enum"][0]
        for several in ("anyOf", "oneOf", "allOf"):
            if several in schema:
                return self.value(name, schema[several][0], depth + 1, like)
        return self._of_type(name, schema, depth, like)

    def _of_type(self, name: str, schema: Payload, depth: int, like: Any) -> Any:
        if like is not None and not isinstance(like, Mapping | list):
            return like
        match schema.get("type"):
            case "object":
                inside: Payload = schema.get("properties", {})
                wanted = schema.get("required", ())
                old = like if isinstance(like, Mapping) else {}
                names = [field for field in inside if field in wanted or field in old]
                return {field: self.value(field, inside[field], depth + 1, old.get(field)) for field in names}
            case "array" if isinstance(like, list) and "items" in schema:
                return [self.value(name, schema["items"], depth + 1, one) for one in like]
            case "array":
                items = schema.get("prefixItems") or [schema.get("items", {})] * max(1, schema.get("minItems", 1))
                return [self.value(name, item, depth + 1) for item in items]
            case "integer" | "number":
                lowest = schema.get("minimum", schema.get("exclusiveMinimum", 0) + 1)
                return min(max(1, lowest), schema.get("maximum", max(1, lowest)))
            case "boolean":
                return True
            case "string":
                return self._text(name, schema)
        return None

    def _text(self, name: str, schema: Payload) -> str:
        if schema.get("format") == "date-time":
            return self._now
        pattern, shortest, longest = schema.get("pattern"), schema.get("minLength", 0), schema.get("maxLength")
        for text in (f"{name}-1", name, *TEXTS, "x" * shortest):
            fits = len(text) >= shortest and (longest is None or len(text) <= longest)
            if fits and (pattern is None or re.search(pattern, text)):
                return text
        return f"{name}-1"
