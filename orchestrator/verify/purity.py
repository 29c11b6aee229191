"""Checks one function, and the helpers that it calls, against the whitelist."""

from __future__ import annotations

import ast
import builtins
from collections.abc import Iterator
from dataclasses import dataclass
from types import FunctionType

from orchestrator.language.source import FunctionNode, function_nodes
from orchestrator.verify import whitelist

CHAIN_MAX = 16
"""Helpers that call helpers; more is a program, not a builder."""


@dataclass(frozen=True, slots=True)
class Impurity:
    """`chain`: the functions through which it is reached, the builder first."""

    file: str
    line: int
    problem: str
    fix: str
    chain: tuple[str, ...]


def impurities(function: FunctionType, chain: tuple[str, ...] = ()) -> Iterator[Impurity]:
    """Everything in `function` that is not known to be pure."""
    code = function.__code__
    here = (*chain, code.co_name)

    def impure(line: int, problem: str, fix: str) -> Impurity:
        return Impurity(code.co_filename, line, problem, fix, here)

    if code.co_name in chain or len(here) > CHAIN_MAX:
        yield impure(code.co_firstlineno, "it calls itself, or helpers too deep", "say it without recursion")
        return
    nodes = function_nodes(function)
    if not nodes:
        yield impure(code.co_firstlineno, "its source cannot be read", "define it in a source file, with def")
    elif code.co_freevars:
        names = ", ".join(code.co_freevars)
        yield impure(code.co_firstlineno, f"it closes over {names}", "define it at the top level of its module")
    else:
        for node in nodes:
            reader = _Reader(function, node)
            yield from (impure(line, problem, fix) for line, problem, fix in reader.problems())
            for helper in reader.helpers():
                yield from impurities(helper, here)


Problem = tuple[int, str, str]


class _Reader:
    """One function's body."""

    def __init__(self, function: FunctionType, node: FunctionNode) -> None:
        self._globals = function.__globals__
        self._module = function.__module__
        self._node = node
        body = node.body if isinstance(node.body, list) else [node.body]
        self._inside = [inner for statement in body for inner in _walk(statement)]
        self._inner = _inner_names(self._inside)
        self._locals = _parameters(node.args) | _assigned(self._inside) | self._inner
        self._orderless = set(_orderless(self._inside))
        self._callable_here = set(_called_or_key(self._inside))
        self._iterated = set(_iterated(self._inside))

    def problems(self) -> Iterator[Problem]:
        if not isinstance(self._node, ast.Lambda) and self._node.decorator_list:
            yield self._node.lineno, "it is decorated", "say what it does in its body"
        if isinstance(self._node, ast.AsyncFunctionDef):
            yield self._node.lineno, "it is async", "write a plain def"
        for default in (*self._node.args.defaults, *self._node.args.kw_defaults):
            if default is not None and not isinstance(default, ast.Constant):
                yield default.lineno, "a default value is not a constant", "use None, a number or a string"
        for name in sorted(self._inner & self._globals.keys()):
            fix = "give the variable another name"
            yield self._node.lineno, f"{name} is a variable of a comprehension or lambda, and a global too", fix
        for node in self._inside:
            yield from self._problems_of(node)

    def helpers(self) -> tuple[FunctionType, ...]:
        """Functions of the same module that it names, in the order of their names."""
        names = sorted({node.id for node in self._inside if isinstance(node, ast.Name)} - self._locals)
        found = (self._globals.get(name) for name in names)
        return tuple(value for value in found if isinstance(value, FunctionType) and self._is_helper(value))

    def _is_helper(self, value: object) -> bool:
        return whitelist.is_helper(value, self._module)

    def _problems_of(self, node: ast.AST) -> Iterator[Problem]:
        line = getattr(node, "lineno", self._node.lineno)
        if not isinstance(node, whitelist.NODES):
            name = type(node).__name__.lower()
            yield line, f"it uses {name}", "build the message from the captured values alone, in plain expressions"
        elif isinstance(node, ast.Name):
            yield from self._name(node)
        elif isinstance(node, ast.Lambda) and node not in self._callable_here:
            yield line, "it passes a function around", "use a lambda as key= only"
        elif isinstance(node, ast.Attribute | ast.Subscript) and not isinstance(node.ctx, ast.Load):
            yield line, f"it assigns to {ast.unparse(node)}", "captured values are frozen: build a new one"
        elif isinstance(node, ast.Attribute) and node.attr.startswith("_"):
            yield line, f"it reaches into {ast.unparse(node)}", "use public fields"
        elif isinstance(node, ast.Call):
            yield from self._call(node)
        elif isinstance(node, ast.Compare) and not _compares_by_value(node):
            yield line, "it compares identities", "compare with == (`is` is for None)"
        elif isinstance(node, ast.Set | ast.SetComp) and node not in self._orderless:
            yield line, "it iterates over a set, whose order differs between processes", "use a tuple, or sorted(...)"

    def _name(self, node: ast.Name) -> Iterator[Problem]:
        if node.id in self._locals:
            return
        value = self._globals.get(node.id, getattr(builtins, node.id, None))
        if node.id not in self._globals and not hasattr(builtins, node.id):
            yield node.lineno, f"{node.id} is not defined", "define it in the same module"
        elif not self._known(node.id, value):
            fix = (
                "use only messages, functions of this module, constants and the builtins listed in verify/whitelist.py"
            )
            if isinstance(value, dict | list | set | frozenset):
                fix = "make the constant a tuple or a types.MappingProxyType, so that nothing can change it"
            yield node.lineno, f"it uses {node.id} ({_kind(value)})", fix
        elif self._is_helper(value) and node not in self._callable_here:
            yield node.lineno, f"it passes {node.id} around", "call the function, or use it as key= only"

    def _known(self, name: str, value: object) -> bool:
        return (
            whitelist.is_builtin_function(name, value)
            or (name in whitelist.SETS and value is getattr(builtins, name))
            or whitelist.is_exception(value)
            or whitelist.is_pure_class(value, self._module)
            or whitelist.is_constant(value)
            or self._is_helper(value)
        )

    def _call(self, node: ast.Call) -> Iterator[Problem]:
        called = node.func
        if isinstance(called, ast.Attribute):
            if called.attr not in whitelist.METHODS:
                fix = "use methods listed in orchestrator/verify/whitelist.py, or a helper in the same module"
                yield node.lineno, f"it calls .{called.attr}(), which is not known to be pure", fix
            elif called.attr in whitelist.VIEWS and node not in self._iterated:
                fix = "iterate over it, or make it a tuple"
                yield node.lineno, f"it computes with .{called.attr}(), which is like a set", fix
        elif not isinstance(called, ast.Name):
            yield node.lineno, f"it calls {ast.unparse(called)}", "call functions by their names"
        elif called.id in self._locals:
            yield node.lineno, f"it calls {called.id}, a value that it was given", "call functions by their names"
        elif called.id in whitelist.SETS and node not in self._orderless:
            fix = "use a tuple, or sorted(...)"
            yield node.lineno, "it makes a set, whose order differs between processes", fix


def _walk(node: ast.AST) -> Iterator[ast.AST]:
    """All nodes but annotations, which are not evaluated."""
    yield node
    for field, value in ast.iter_fields(node):
        if field in ("annotation", "returns"):
            continue
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, ast.AST):
                yield from _walk(child)


def _parameters(arguments: ast.arguments) -> set[str]:
    every = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
    every.extend(extra for extra in (arguments.vararg, arguments.kwarg) if extra is not None)
    return {argument.arg for argument in every}


def _assigned(nodes: list[ast.AST]) -> set[str]:
    """Names that the function binds itself, in patterns too."""
    names = {node.id for node in nodes if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load)}
    names |= {node.name for node in nodes if isinstance(node, ast.MatchAs | ast.MatchStar) and node.name}
    return names | {node.rest for node in nodes if isinstance(node, ast.MatchMapping) and node.rest}


def _inner_names(nodes: list[ast.AST]) -> set[str]:
    """Names that only exist inside a comprehension or a lambda."""
    targets = [node.target for node in nodes if isinstance(node, ast.comprehension)]
    names = {inner.id for target in targets for inner in ast.walk(target) if isinstance(inner, ast.Name)}
    return names | {node.arg for node in nodes if isinstance(node, ast.arg)}


def _called_or_key(nodes: list[ast.AST]) -> Iterator[ast.AST]:
    """Where a function may stand: before its arguments, or as `key=`."""
    for node in nodes:
        if isinstance(node, ast.Call):
            yield node.func
        elif isinstance(node, ast.keyword) and node.arg == "key":
            yield node.value


def _iterated(nodes: list[ast.AST]) -> Iterator[ast.AST]:
    """What is only iterated over: by `for`, a comprehension, or a builtin function."""
    for node in nodes:
        if isinstance(node, ast.For | ast.comprehension):
            yield node.iter
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in whitelist.FUNCTIONS:
            yield from node.args


def _compares_by_value(node: ast.Compare) -> bool:
    """`is` with anything but None may differ between processes for equal values."""
    return all(
        not isinstance(operator, ast.Is | ast.IsNot) or (isinstance(right, ast.Constant) and right.value is None)
        for operator, right in zip(node.ops, node.comparators, strict=True)
    )


def _orderless(nodes: list[ast.AST]) -> Iterator[ast.AST]:
    """Where a set's order cannot show: the right side of `in`, and arguments of `sorted` and the like."""
    for node in nodes:
        if isinstance(node, ast.Compare):
            pairs = zip(node.ops, node.comparators, strict=True)
            yield from (right for operator, right in pairs if isinstance(operator, ast.In | ast.NotIn))
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in whitelist.ORDERLESS:
            yield from node.args


def _kind(value: object) -> str:
    return value.__module__ if isinstance(value, type | FunctionType) else f"a {type(value).__name__}"
