"""What a saga means, as one hash: it changes with everything that could make a running process decide otherwise.

It covers the structure (blocks, names, policies), the source of the functions that the author wrote with the helpers
and constants that they name, and the contracts of their messages (schemas with defaults, and the functions in their
classes). It leaves out the version, comments, docstrings, layout, and where things are written. The same in every
process, whatever the hash seed.

Not covered: functions that a contract names outside of its class (as in `Annotated[..., AfterValidator(f)]`), and
the engine itself.
"""

from __future__ import annotations

import ast
import dataclasses
import functools
import hashlib
import json
import sys
import typing
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime, timedelta
from enum import Enum
from types import FunctionType, MappingProxyType, ModuleType
from typing import Any

from pydantic import BaseModel
from pydantic.errors import PydanticUserError

from contracts.message import Command, Message
from orchestrator.language.saga import Saga
from orchestrator.language.source import class_functions, function_nodes

Told = list[Any] | str | None
"""What JSON can say."""
_NO_MEANING = frozenset(("ctx", "kind", "type_comment"))
"""Fields of syntax that say nothing, or nothing new."""
_NAMED_SCHEMAS = frozenset(("properties", "$defs", "patternProperties"))
_WORDS_OF_SCHEMAS = frozenset(("title", "description", "examples"))


def fingerprint(saga: Saga) -> str:
    """64 hex digits. Raises nothing: what cannot be read is told by its name."""
    return hashlib.sha256(json.dumps(describe(saga), sort_keys=True).encode()).hexdigest()


def describe(saga: Saga) -> dict[str, Any]:
    """What the fingerprint is made of."""
    teller = _Teller(saga)
    structure = teller.fields(saga, without=frozenset(("version",)))
    return {"structure": structure, "functions": teller.functions, "models": teller.models}


class _Teller:
    """Functions and models are told once each, in the order in which they are met, and then referred to."""

    def __init__(self, saga: Saga) -> None:
        self._saga = saga
        self.functions: list[Told] = []
        self.models: list[Told] = []
        self._known: dict[int, Told] = {}
        self._kept: list[object] = []
        """So that no id is used twice."""

    def fields(self, value: Any, without: frozenset[str] = frozenset()) -> list[Told]:
        """Fields that count in comparisons. An empty one is left out, so that an option which the language gains
        later, and which nobody uses, changes nothing."""
        found: list[Told] = [type(value).__name__]
        for field in dataclasses.fields(value):
            inner = getattr(value, field.name)
            if field.compare and field.name not in without and inner is not None and inner is not False and inner != ():
                found.append([field.name, self.tell(inner)])
        return found

    def tell(self, value: Any) -> Told:
        if value is None or (isinstance(value, bool | int | float | str | bytes) and not isinstance(value, Enum)):
            return [type(value).__name__, repr(value)]
        if isinstance(value, FunctionType):
            return self._once(value, "function", self.functions, lambda: self._function(value))
        if isinstance(value, type):
            return self._class(value)
        return self._composite(value)

    def _composite(self, value: Any) -> Told:
        match value:
            case Enum():
                return [_named(type(value)), value.name, self.tell(value.value)]
            case timedelta():
                return ["timedelta", repr(value // timedelta(microseconds=1))]
            case datetime():
                return ["datetime", value.isoformat()]
            case tuple() | list():
                return [type(value).__name__, *(self.tell(item) for item in value)]
            case dict() | MappingProxyType():
                return ["mapping", *([self.tell(key), self.tell(item)] for key, item in value.items())]
            case set() | frozenset():
                return ["set", *sorted((self.tell(item) for item in value), key=json.dumps)]
            case functools.partial():
                return ["partial", self.tell(value.func), self.tell(value.args), self.tell(value.keywords)]
            case ModuleType():
                return ["module", value.__name__]
            case BaseModel():
                return [self.tell(type(value)), value.model_dump_json()]
            case Saga():
                return ["saga", value.name, str(value.version)]
        if dataclasses.is_dataclass(value):
            return self.fields(value)
        wrapped = getattr(value, "__wrapped__", None) or getattr(value, "__func__", None)
        if wrapped is not None:
            return ["wrapped", _named(type(value)), self.tell(wrapped)]
        return ["value of", _named(type(value))]

    def _once(self, value: Any, kind: str, told: list[Told], make: Any) -> Told:
        """A reference; the first time, what it refers to is told."""
        known = self._known.get(id(value))
        if known is None:
            known = self._known[id(value)] = [kind, str(len(told))]
            self._kept.append(value)
            place = len(told)
            told.append(None)  # it may name itself
            told[place] = make()
        return known

    # Functions.

    def _function(self, function: FunctionType) -> Told:
        nodes = function_nodes(function)
        code = function.__code__
        if not nodes:
            return ["code", function.__qualname__, code.co_code.hex(), repr(code.co_names), *_constants(code.co_consts)]
        cells = zip(code.co_freevars, function.__closure__ or (), strict=True)
        closed = [[name, self.tell(cell.cell_contents)] for name, cell in cells]
        named = [[name, self.tell(value)] for name, value in self._globals(function, nodes)]
        return ["source", [_syntax(node) for node in nodes], closed, named, self.tell(function.__defaults__)]

    def _globals(self, function: FunctionType, nodes: Iterable[ast.AST]) -> Iterator[tuple[str, Any]]:
        """What the function names of its module, annotations included, in the order of the names."""
        names = {inner.id for node in nodes for inner in ast.walk(node) if isinstance(inner, ast.Name)}
        for name in sorted(names & function.__globals__.keys()):
            value = function.__globals__[name]
            if not isinstance(value, FunctionType) or self._is_ours(value, function):
                yield name, value

    def _is_ours(self, helper: FunctionType, function: FunctionType) -> bool:
        """Of the same package: libraries are pinned by the lock file, not by this."""
        return helper.__module__.split(".")[0] == function.__module__.split(".")[0]

    # Classes.

    def _class(self, value: type[Any]) -> Told:
        if issubclass(value, BaseModel) and value not in (BaseModel, Message, Command):
            return self._once(value, "model", self.models, lambda: self._model(value))
        if issubclass(value, Enum):
            return ["enum", _named(value), *([one.name, self.tell(one.value)] for one in value)]
        return ["class", _named(value)]

    def _model(self, model: type[BaseModel]) -> Told:
        inner = [self.tell(one) for field in model.model_fields.values() for one in _models_in(field.annotation)]
        told: list[Told] = [getattr(model, "type", "") or model.__name__, list(model.model_fields), _schema_of(model)]
        file = getattr(sys.modules.get(model.__module__), "__file__", None)
        told.append([_syntax(node) for node in class_functions(file or "", model.__name__)])
        told.append(inner)
        if issubclass(model, Command):
            told.append([self.tell(event) for event in (*model.succeeds, *model.refuses)])
            told.append([event.type for event in model.refuses])
        return told


def _named(value: type[Any]) -> str:
    return f"{value.__module__}.{value.__qualname__}"


def _constants(values: tuple[object, ...]) -> Iterator[str]:
    return (repr(value) for value in values if isinstance(value, str | bytes | int | float | None))


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for inner in typing.get_args(annotation):
        yield from _models_in(inner)


def _schema_of(model: type[BaseModel]) -> Told:
    try:
        return [json.dumps(_without_words(model.model_json_schema()), sort_keys=True)]
    except PydanticUserError:  # it has a field of which JSON knows nothing
        return [[name, str(field.annotation), repr(field.default)] for name, field in model.model_fields.items()]


def _without_words(schema: Any) -> Any:
    """A schema without what is said in it for people only."""
    if isinstance(schema, list):
        return [_without_words(item) for item in schema]
    if not isinstance(schema, Mapping):
        return schema
    found = {}
    for key, value in schema.items():
        if key in _NAMED_SCHEMAS:
            found[key] = {name: _without_words(inner) for name, inner in value.items()}
        elif key in ("default", "const", "enum"):
            found[key] = value
        elif key not in _WORDS_OF_SCHEMAS:
            found[key] = _without_words(value)
    return found


def _syntax(node: Any) -> Told:
    """Syntax without layout and docstrings; written so that it is the same under every version of Python."""
    if isinstance(node, list):
        return [_syntax(item) for item in node]
    if not isinstance(node, ast.AST):
        return [type(node).__name__, repr(node)]
    found: list[Told] = [type(node).__name__]
    for field, value in ast.iter_fields(node):
        is_body = field == "body" and isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        told = _without_docstring(value) if is_body else value
        if told is not None and told != [] and field not in _NO_MEANING:
            found.append([field, _syntax(told)])
    return found


def _without_docstring(body: list[ast.stmt]) -> list[ast.stmt]:
    first = body[0]
    said = isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str)
    return body[1:] if said else body
