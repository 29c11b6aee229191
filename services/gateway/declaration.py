"""What the gateway takes: which contracts as forms, which webhook sources. Read from one TOML file (docs/gateway.md).

Everything is checked when it is read, so that a mistake is found at the start and not by the first sender.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path as File
from types import MappingProxyType
from typing import Any, Final

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from contracts.catalog import Catalog
from contracts.message import Event
from services.gateway.mapping import Path, Rule
from services.gateway.mapping_words import FieldSpecs, MappingWordsError, conditions_of, path_of, specs_of
from services.gateway.signatures import PRESETS, Encoding, Layout, Scheme

SOURCES_MAX = 1_000
RULES_MAX = 1_000
HOUR_MS = 3_600_000
REMEMBER_HOURS = 24.0
"""How long keys are remembered by default: as long as services remember what they have done."""
REMEMBER_UNTIMED_HOURS = 30 * 24.0
"""The same where the signature has no time: an old request is told from a new one by this memory alone."""
NOT_FROM_OUTSIDE: Final = frozenset(("orchestrator", "counterpoint"))
"""Contexts whose events nobody outside may say."""

DEFAULT_FORMS: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        "orders.placed.v1": ("order_id",),
        "leads.submitted.v1": ("lead_id",),
        "accounts.signup-submitted.v1": ("account_id",),
    }
)
"""The types that are meant for people, and the fields that the gateway fills in if they are absent."""


class DeclarationError(Exception):
    """The declaration cannot be used. The message names the place and what to do."""


@dataclass(frozen=True, slots=True)
class Form:
    """`generate`: fields that are made from the idempotency key if they are absent."""

    message: type[Event]
    title: str
    generate: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Source:
    """`secret_names`: the environment variables that hold its secrets. `event_id`: where the sender's id of an event
    is, or None: the id is the signed header's, or the body's digest."""

    name: str
    scheme: Scheme
    secret_names: tuple[str, ...]
    event_id: Path | None
    rules: tuple[Rule, ...]
    remember_ms: int
    per_second: float
    burst: int


@dataclass(frozen=True, slots=True)
class Declaration:
    """Forms by type, sources by name."""

    forms: Mapping[str, Form]
    sources: Mapping[str, Source]

    def messages(self) -> frozenset[type[Event]]:
        """Everything that may be published."""
        mapped = (rule.message for source in self.sources.values() for rule in source.rules)
        return frozenset((*(form.message for form in self.forms.values()), *mapped))


class _Words(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class _FormWords(_Words):
    title: str | None = None
    generate: tuple[str, ...] = ()


class _EventWords(_Words):
    type: str
    when: dict[str, Any] = Field(default_factory=dict)
    fields: FieldSpecs


class _SourceWords(_Words):
    scheme: str | None = None
    secrets: tuple[str, ...] = Field(min_length=1, max_length=4)
    header: str | None = None
    layout: Layout | None = None
    marker: str | None = None
    signed: str | None = None
    encoding: Encoding | None = None
    secret_encoding: str | None = None
    timestamp_header: str | None = None
    id_header: str | None = None
    tolerance_seconds: int | None = Field(default=None, ge=1, le=86_400)
    event_id: str | list[str] | None = None
    remember_hours: float | None = Field(default=None, gt=0, le=24 * 365)
    per_second: float = Field(default=50.0, gt=0)
    burst: int = Field(default=200, ge=1)
    events: tuple[_EventWords, ...] = Field(min_length=1, max_length=RULES_MAX)


class _FileWords(_Words):
    forms: dict[str, _FormWords] | None = None
    sources: dict[str, _SourceWords] = Field(default_factory=dict, max_length=SOURCES_MAX)


def read_declaration(file: File, catalog: Catalog) -> Declaration:
    """Raises DeclarationError."""
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DeclarationError(f"{file} cannot be read: {error}") from None
    try:
        return declaration_of(text, catalog)
    except DeclarationError as error:
        raise DeclarationError(f"{file}: {error}") from None


def declaration_of(text: str, catalog: Catalog) -> Declaration:
    """Without a `[forms]` table the default forms are offered. Raises DeclarationError."""
    try:
        words = _FileWords.model_validate(tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        raise DeclarationError(f"it is not TOML: {error}") from None
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise DeclarationError(f"{'.'.join(map(str, first['loc']))}: {first['msg']}") from None
    if words.forms is None:
        forms = default_declaration(catalog).forms
    else:
        forms = {name: _form(name, one, catalog) for name, one in words.forms.items()}
    return Declaration(forms, {name: _source(name, one, catalog) for name, one in words.sources.items()})


def default_declaration(catalog: Catalog) -> Declaration:
    """No sources, and the default forms as far as this build has their contracts."""
    names = {name: generate for name, generate in DEFAULT_FORMS.items() if catalog.get(name) is not None}
    return Declaration({name: _form(name, _FormWords(generate=gen), catalog) for name, gen in names.items()}, {})


def _form(name: str, words: _FormWords, catalog: Catalog) -> Form:
    message = _event(name, f"forms.{name}", catalog)
    unknown = [field for field in words.generate if field not in message.model_fields]
    if unknown:
        raise DeclarationError(f"forms.{name}: {message.type} has no field {unknown[0]} to generate")
    return Form(message, words.title or _title(name), words.generate)


def _title(name: str) -> str:
    context, what = name.split(".")[:2]
    return f"{context}: {what.replace('-', ' ')}".capitalize()


def _event(name: str, place: str, catalog: Catalog) -> type[Event]:
    message = catalog.get(name)
    if message is None:
        raise DeclarationError(f"{place}: no contract has the type {name!r} (contracts/schemas lists them)")
    if not issubclass(message, Event):
        raise DeclarationError(f"{place}: {name} is a command; only a saga says those, the gateway publishes events")
    if name.split(".", 1)[0] in NOT_FROM_OUTSIDE:
        raise DeclarationError(f"{place}: {name} is the system's own, and nobody outside may say it")
    return message


def _source(name: str, words: _SourceWords, catalog: Catalog) -> Source:
    place = f"sources.{name}"
    if not name.replace("-", "").isalnum() or not name.isascii() or name.lower() != name or len(name) > 64:
        raise DeclarationError(f"{place}: a source's name is 1-64 of [a-z0-9-]")
    scheme = _scheme(place, words)
    hours = words.remember_hours
    if hours is None:
        hours = REMEMBER_UNTIMED_HOURS if scheme.tolerance_ms is None else REMEMBER_HOURS
    remember_ms = round(hours * HOUR_MS)
    if scheme.tolerance_ms is not None and remember_ms <= 2 * scheme.tolerance_ms:
        raise DeclarationError(f"{place}: remember_hours must be longer than the replay window, on both sides of now")
    try:
        event_id = None if words.event_id is None else path_of(words.event_id)
        rules = tuple(_rule(f"{place}.events.{number}", one, catalog) for number, one in enumerate(words.events))
    except MappingWordsError as error:
        raise DeclarationError(f"{place}: {error}") from None
    return Source(name, scheme, words.secrets, event_id, rules, remember_ms, words.per_second, words.burst)


def _rule(place: str, words: _EventWords, catalog: Catalog) -> Rule:
    message = _event(words.type, place, catalog)
    try:
        rule = Rule(message, conditions_of(words.when), specs_of(words.fields))
    except MappingWordsError as error:
        raise DeclarationError(f"{place}: {error}") from None
    check_fields(place, rule)
    return rule


def check_fields(place: str, rule: Rule) -> None:
    """Raises DeclarationError if the contract has no such field, or needs one that is not mapped."""
    fields = rule.message.model_fields
    unknown = [name for name in rule.fields if name not in fields]
    if unknown:
        raise DeclarationError(f"{place}: {rule.message.type} has no field {unknown[0]}; it has: {', '.join(fields)}")
    missing = [name for name, field in fields.items() if field.is_required() and name not in rule.fields]
    if missing:
        raise DeclarationError(f"{place}: {rule.message.type} needs {', '.join(missing)} in fields")


def _scheme(place: str, words: _SourceWords) -> Scheme:
    """The preset, with what the source says otherwise."""
    if words.scheme is not None and words.scheme not in PRESETS:
        raise DeclarationError(f"{place}: no scheme {words.scheme!r}; known are {', '.join(PRESETS)}")
    said: dict[str, Any] = {
        "header": words.header and words.header.lower(),
        "layout": words.layout,
        "marker": words.marker,
        "signed": words.signed,
        "encoding": words.encoding,
        "secret_encoding": words.secret_encoding,
        "timestamp_header": words.timestamp_header and words.timestamp_header.lower(),
        "id_header": words.id_header and words.id_header.lower(),
        "tolerance_ms": words.tolerance_seconds and words.tolerance_seconds * 1000,
    }
    given = {name: value for name, value in said.items() if value is not None}
    preset = PRESETS.get(words.scheme or "")
    if preset is None and not {"header", "layout", "marker"} <= given.keys():
        raise DeclarationError(f"{place}: name a scheme ({', '.join(PRESETS)}), or header, layout and marker")
    if given.get("secret_encoding", "text") not in ("text", "base64"):
        raise DeclarationError(f"{place}: secret_encoding is text or base64")
    whole = {name: getattr(preset, name) for name in said} if preset is not None else {}
    scheme = Scheme(**(whole | given))
    problem = scheme.problem()
    if problem is not None:
        raise DeclarationError(f"{place}: {problem}")
    return scheme
