"""What a builder may say, so that equal captures always give an equal message.

Conservative: a syntactic whitelist over the function and the helpers that it calls. What is not listed is impure until
someone adds it here with a reason.
"""

from __future__ import annotations

import ast
import builtins
from collections.abc import Mapping
from datetime import timedelta
from enum import Enum
from types import FunctionType, MappingProxyType

from pydantic import BaseModel

FUNCTIONS = frozenset((
    "abs", "all", "any", "bool", "dict", "divmod", "enumerate", "float", "int", "isinstance", "len", "list", "max",
    "min", "range", "reversed", "round", "sorted", "str", "sum", "tuple", "zip",
))  # fmt: skip
"""Builtins whose result depends on their arguments alone. Not `hash`, `id`, `repr`, `set`, `frozenset`, `vars`."""

SETS = frozenset(("set", "frozenset"))
"""The order of a set of strings depends on the process: allowed only where order cannot show (see ORDERLESS)."""
ORDERLESS = frozenset(("sorted", "len", "any", "all"))

METHODS = frozenset((
    "capitalize", "casefold", "count", "date", "endswith", "find", "get", "index", "isalnum", "isalpha", "isdigit",
    "isoformat", "items", "join", "keys", "ljust", "lower", "lstrip", "model_copy", "partition", "removeprefix",
    "removesuffix", "replace", "rfind", "rjust", "rpartition", "rsplit", "rstrip", "split", "splitlines",
    "startswith", "strip", "title", "total_seconds", "upper", "values", "zfill",
))  # fmt: skip
"""Methods of strings, tuples, dicts, times and frozen models that neither change nor reach anything."""

VIEWS = frozenset(("items", "keys"))
"""Of a dict: iterating follows the dict's order, but `a.keys() & b.keys()` is a set."""

NODES: tuple[type[ast.AST], ...] = (
    *(ast.Return, ast.Assign, ast.AnnAssign, ast.If, ast.For, ast.Pass, ast.Break, ast.Continue),
    *(ast.Expr, ast.Assert, ast.Raise, ast.Match, ast.match_case, ast.pattern),
    *(ast.BoolOp, ast.BinOp, ast.UnaryOp, ast.IfExp, ast.Compare, ast.Constant, ast.Name, ast.Attribute),
    *(ast.Subscript, ast.Slice, ast.Tuple, ast.List, ast.Dict, ast.Set, ast.JoinedStr, ast.FormattedValue),
    *(ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp, ast.comprehension, ast.NamedExpr, ast.Starred),
    *(ast.Call, ast.keyword, ast.Lambda, ast.arguments, ast.arg),
    *(ast.expr_context, ast.boolop, ast.operator, ast.unaryop, ast.cmpop),
)
"""Syntax without effects beyond the names of the function itself. No import, try, with, while, global, def, await or
yield; and no `+=`, which changes a list in place."""

_MESSAGE_PACKAGE = "contracts"


def is_builtin_function(name: str, value: object) -> bool:
    return name in FUNCTIONS and value is getattr(builtins, name)


def is_exception(value: object) -> bool:
    return isinstance(value, type) and issubclass(value, Exception) and value.__module__ == "builtins"


def is_pure_class(value: object, module: str) -> bool:
    """A message or a value model of the contracts or of the saga's own module, or `timedelta`."""
    if value is timedelta:
        return True
    if not (isinstance(value, type) and issubclass(value, BaseModel | Enum)):
        return False
    return value.__module__ == module or value.__module__.split(".")[0] == _MESSAGE_PACKAGE


def is_constant(value: object) -> bool:
    """Cannot change, and is the same in every process. A set is not: its order may differ."""
    if isinstance(value, tuple):
        return all(is_constant(item) for item in value)
    if isinstance(value, MappingProxyType):
        items: Mapping[object, object] = value
        return all(is_constant(key) and is_constant(item) for key, item in items.items())
    return value is None or isinstance(value, str | bytes | bool | int | float | timedelta | Enum)


def is_helper(value: object, module: str) -> bool:
    """A plain function of the same module: the same rules hold for it."""
    return isinstance(value, FunctionType) and value.__module__ == module
