"""What a browser sends (`application/x-www-form-urlencoded`) as the JSON that a program would have sent.

A field's name is its path: `ship_to.city`, `lines.0.sku`. What was left empty is absent. A text that is no number stays
a text, so that the contract says what is wrong with it. Names that begin with `_` are the page's own.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl

import orjson

from services.gateway.form_nodes import ROWS_MAX, Node

FIELDS_MAX = 5_000
KEY_FIELD = "_key"
ACTION_FIELD = "_action"

_WHOLE = re.compile(r"[+-]?[0-9]{1,18}", re.ASCII)
_NUMBER = re.compile(r"[+-]?[0-9]{1,18}(\.[0-9]{1,18})?", re.ASCII)


class FormDataError(ValueError):
    """The body is not what a browser sends."""


@dataclass(frozen=True, slots=True)
class Sent:
    """`values`: by name, the last one of each. `key`: the page's own key. `action`: `add:<list>` or
    `remove:<list>:<row>`, when a row is wanted or not wanted any more, and nothing is to be submitted yet."""

    values: Mapping[str, str]
    key: str | None
    action: str | None


def read_sent(body: bytes) -> Sent:
    """Raises FormDataError."""
    try:
        pairs = parse_qsl(
            body.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=FIELDS_MAX, encoding="utf-8"
        )
    except (UnicodeDecodeError, ValueError) as error:
        raise FormDataError(str(error)) from None
    values = {name: value.replace("\r\n", "\n") for name, value in pairs}
    return Sent(values, values.pop(KEY_FIELD, None) or None, values.pop(ACTION_FIELD, None) or None)


def payload_of(node: Node, values: Mapping[str, str]) -> dict[str, Any]:
    """The JSON object of a whole form."""
    found = _read(node, "", values)
    return found if isinstance(found, dict) else {}


def rows_of(name: str, values: Mapping[str, str]) -> list[int]:
    """The numbers of a list's rows that were sent, in order."""
    prefix = f"{name}." if name else ""
    found = set()
    for one in values:
        if one.startswith(prefix):
            number = one[len(prefix) :].split(".", 1)[0]
            if number.isascii() and number.isdigit() and len(number) <= 6:
                found.add(int(number))
    return sorted(found)[:ROWS_MAX]


def with_row(values: Mapping[str, str], action: str) -> dict[str, str]:
    """The values after the page's own action: rows numbered anew from 0. An action that means nothing changes nothing.

    A new row is there by a name without a value: `lines.2.` ."""
    what, _, rest = action.partition(":")
    name, _, number = rest.partition(":")
    rows = rows_of(name, values)
    others = {one: value for one, value in values.items() if not one.startswith(f"{name}.")}
    if what == "remove" and number.isascii() and number.isdigit():
        rows = [row for row in rows if row != int(number[:6])]
    moved = dict(others)
    for place, row in enumerate(rows):
        prefix = f"{name}.{row}"
        for one, value in values.items():
            if one == prefix or one.startswith(f"{prefix}."):
                moved[f"{name}.{place}{one[len(prefix) :]}"] = value
    if what == "add" and len(rows) < ROWS_MAX:
        moved[f"{name}.{len(rows)}."] = ""
    return moved


def _read(node: Node, name: str, values: Mapping[str, str]) -> Any:
    """None if nothing was filled in."""
    if node.kind == "object":
        prefix = f"{name}." if name else ""
        made = {key: _read(child, f"{prefix}{key}", values) for key, child in node.children.items()}
        filled = {key: value for key, value in made.items() if value is not None}
        return filled or None
    if node.kind == "list":
        assert node.item is not None, "a list has items"
        empty: Any = {} if node.item.kind == "object" else ""
        # An empty row stays: the numbers in what the contract says of the others are those of the page.
        rows = [_read(node.item, f"{name}.{row}", values) or empty for row in rows_of(name, values)]
        return rows or ([] if node.required else None)
    text = values.get(name, "")
    if node.kind == "boolean":
        return True if text in ("on", "true") else (False if node.required else None)
    return _scalar(node, text) if text.strip() else None


def _scalar(node: Node, text: str) -> Any:
    stripped = text.strip()
    if node.kind == "integer" and _WHOLE.fullmatch(stripped):
        return int(stripped)
    if node.kind == "number" and _NUMBER.fullmatch(stripped):
        return float(stripped)
    if node.kind == "json":
        try:
            return orjson.loads(stripped)
        except orjson.JSONDecodeError:
            return text
    return text if node.kind == "long-text" else stripped
