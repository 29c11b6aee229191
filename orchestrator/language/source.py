"""The syntax tree of a function, found by the file and line that its code object names."""

from __future__ import annotations

import ast
import linecache
from functools import lru_cache
from types import CodeType, FunctionType

FunctionNode = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda
FILES_MAX = 256
"""Parsed source files kept."""


@lru_cache(maxsize=FILES_MAX)
def _tree(file: str) -> ast.Module | None:
    lines = linecache.getlines(file)
    try:
        return ast.parse("".join(lines)) if lines else None
    except SyntaxError:
        return None


def function_nodes(function: FunctionType) -> tuple[FunctionNode, ...]:
    """Its definition; several, if lambdas share a line; none, if the source cannot be read."""
    code, tree = function.__code__, _tree(function.__code__.co_filename)
    if tree is None:
        return ()
    return tuple(node for node in ast.walk(tree) if isinstance(node, FunctionNode) and _matches(node, code))


def _matches(node: FunctionNode, code: CodeType) -> bool:
    name, first = code.co_name, code.co_firstlineno
    if isinstance(node, ast.Lambda):
        return name == "<lambda>" and node.lineno == first
    begins = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
    return node.name == name and begins == first


def class_functions(file: str, name: str) -> tuple[FunctionNode, ...]:
    """The functions in the bodies of the file's classes of that name; none, if the source cannot be read."""
    tree = _tree(file)
    if tree is None:
        return ()
    classes = (node for node in ast.walk(tree) if isinstance(node, ast.ClassDef) and node.name == name)
    return tuple(inner for found in classes for inner in found.body if isinstance(inner, FunctionNode))
