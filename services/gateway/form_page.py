"""The page of one form, drawn from the fields of its contract: each input has a label, and what is wrong with it beside
it. Lists get rows by buttons that the gateway itself answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from html import escape

from starlette.responses import HTMLResponse

from services.gateway.form_data import ACTION_FIELD, KEY_FIELD, rows_of
from services.gateway.form_nodes import Node
from services.gateway.page import page
from services.gateway.problems import FieldProblem

_ATTRIBUTES = {"minimum": "min", "maximum": "max", "minLength": "minlength", "maxLength": "maxlength"}
_TIME_HINT = "In UTC, for example 2026-01-31T09:30:00Z."
_JSON_HINT = "As JSON."


@dataclass(frozen=True, slots=True)
class Filled:
    """What a form holds: values by name, what is wrong with them, and the key of this submission."""

    key: str
    values: Mapping[str, str]
    errors: Sequence[FieldProblem] = ()

    def of(self, name: str) -> list[str]:
        return [one.detail for one in self.errors if one.place == name]


def form_page(title: str, path: str, root: Node, filled: Filled, status: int = 200) -> HTMLResponse:
    """`path`: where it is sent to."""
    fields = "".join(field_html(name, child, filled) for name, child in root.children.items())
    content = (
        f"{_summary(filled)}"
        f'<form method="post" action="{escape(path)}">'
        # The first button is what the Enter key presses: it must not be one that removes a row.
        '<button class="first" tabindex="-1" aria-hidden="true">Submit</button>'
        f'<input type="hidden" name="{KEY_FIELD}" value="{escape(filled.key)}">'
        f'{fields}<p class="buttons"><button class="main">Submit</button></p></form>'
    )
    return page(title, content, status)


def index_page(forms: Mapping[str, str]) -> HTMLResponse:
    """`forms`: titles by type."""
    if not forms:
        return page("Forms", "<p>This gateway offers no forms.</p>")
    items = "".join(
        f'<li><a href="/forms/{escape(name)}">{escape(title)}</a><br><code class="quiet">{escape(name)}</code></li>'
        for name, title in forms.items()
    )
    return page("Forms", f'<ul class="forms">{items}</ul>')


def field_html(name: str, node: Node, filled: Filled) -> str:
    """One field with all that is in it."""
    if node.kind == "object":
        inner = "".join(field_html(f"{name}.{key}", child, filled) for key, child in node.children.items())
        return f"{_fieldset(name, filled)}{_legend(node)}{_errors(name, filled)}{inner}</fieldset>"
    if node.kind == "list":
        return _list(name, node, filled)
    if node.kind == "boolean":
        checked = " checked" if filled.values.get(name) in ("on", "true") else ""
        box = f'<input type="checkbox"{_names(name)}{_described(name, filled)}{checked}>'
        return f'<div class="field choice">{box}{_label(name, node)}{_errors(name, filled)}</div>'
    hint = {"time": _TIME_HINT, "json": _JSON_HINT}.get(node.kind, "")
    shown = f'<p class="quiet" id="{_id(name)}-hint">{hint}</p>' if hint else ""
    control = _control(name, node, filled, hint)
    return f'<div class="field">{_label(name, node)}{control}{shown}{_errors(name, filled)}</div>'


def _list(name: str, node: Node, filled: Filled) -> str:
    assert node.item is not None, "a list has items"
    rows = rows_of(name, filled.values) or ([0] if node.required else [])
    parts = []
    for row in rows:
        one = replace(node.item, label=f"{node.label} {row + 1}")
        remove = _button(f"remove:{name}:{row}", f"Remove {node.label.lower()} {row + 1}")
        parts.append(f"{field_html(f'{name}.{row}', one, filled)}<p>{remove}</p>")
    add = _button(f"add:{name}", f"Add to {node.label.lower()}")
    errors = _errors(name, filled)
    return f"{_fieldset(name, filled)}{_legend(node)}{errors}{''.join(parts)}<p>{add}</p></fieldset>"


def _fieldset(name: str, filled: Filled) -> str:
    return f'<fieldset id="{_id(name)}"{_described(name, filled)}>'


def _button(action: str, text: str) -> str:
    """Not for submission: the browser need not check the fields yet."""
    return f'<button name="{ACTION_FIELD}" value="{escape(action)}" formnovalidate>{escape(text)}</button>'


def _control(name: str, node: Node, filled: Filled, hint: str) -> str:
    value = filled.values.get(name, "")
    common = f"{_names(name)}{_described(name, filled, hint)}{' required' if node.required else ''}"
    if node.kind == "choice":
        options = "".join(
            f"<option{' selected' if option == value else ''}>{escape(option)}</option>" for option in node.options
        )
        return f'<select{common}><option value=""></option>{options}</select>'
    if node.kind in ("long-text", "json"):
        return f"<textarea{common}{_limits(node)}>\n{escape(value)}</textarea>"
    if node.kind in ("integer", "number"):
        step = "1" if node.kind == "integer" else "any"
        return f'<input type="number" step="{step}"{common}{_limits(node)} value="{escape(value)}">'
    pattern = node.limits.get("pattern")
    shape = f' pattern="{escape(str(pattern))}"' if pattern else ""
    return f'<input type="text"{common}{_limits(node)}{shape} value="{escape(value)}">'


def _limits(node: Node) -> str:
    return "".join(f' {_ATTRIBUTES[one]}="{value}"' for one, value in node.limits.items() if one in _ATTRIBUTES)


def _names(name: str) -> str:
    return f' id="{_id(name)}" name="{escape(name)}"'


def _id(name: str) -> str:
    return f"field-{escape(name)}"


def _label(name: str, node: Node) -> str:
    optional = "" if node.required or node.kind == "boolean" else ' <span class="quiet">(optional)</span>'
    return f'<label for="{_id(name)}">{escape(node.label)}{optional}</label>'


def _legend(node: Node) -> str:
    optional = "" if node.required else ' <span class="quiet">(optional)</span>'
    return f"<legend>{escape(node.label)}{optional}</legend>"


def _described(name: str, filled: Filled, hint: str = "") -> str:
    wrong = bool(filled.of(name))
    ids = [f"{_id(name)}-hint"] * bool(hint) + [f"{_id(name)}-error"] * wrong
    described = f' aria-describedby="{" ".join(ids)}"' if ids else ""
    return described + (' aria-invalid="true"' if wrong else "")


def _errors(name: str, filled: Filled) -> str:
    details = filled.of(name)
    if not details:
        return ""
    return f'<p class="error" id="{_id(name)}-error">{escape("; ".join(details))}</p>'


def _summary(filled: Filled) -> str:
    """All that is wrong, first: also what belongs to no field."""
    if not filled.errors:
        return ""
    items = "".join(f"<li>{_pointed(one)}</li>" for one in filled.errors)
    return f'<div class="errors" role="alert"><strong>Not submitted yet.</strong><ul>{items}</ul></div>'


def _pointed(error: FieldProblem) -> str:
    if not error.place:
        return escape(error.detail)
    return f'<a href="#{_id(error.place)}">{escape(error.place)}</a>: {escape(error.detail)}'
