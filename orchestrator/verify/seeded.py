"""`python -m orchestrator.verify.seeded`: calls functions of sagas' authors and says what they return.

A child of `seeds.py`, which starts it under several hash seeds. Standard input: JSON `{"path": sys.path, "calls":
[...]}`; standard output: a JSON list, for each call one text, or null and why it could not be called.
"""

from __future__ import annotations

import base64
import importlib
import importlib.util
import json
import marshal
import sys
from datetime import UTC, datetime
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
from typing import Any

from pydantic import BaseModel

from contracts.message import Message
from orchestrator.language.injection import Ending, Stuck
from orchestrator.language.signature import read_parameters

ENDING = Ending("failed", "step")
STUCK = Stuck("step", "failed", datetime(2026, 1, 1, 9, tzinfo=UTC), 1)


class Unreachable(LookupError):
    """The function is not where it says that it is."""


def main() -> None:
    asked = json.load(sys.stdin)
    answers, sys.stdout = sys.stdout, sys.stderr  # what a function prints is no answer
    sys.path[:] = asked["path"]
    json.dump([_answer(call) for call in asked["calls"]], answers)


def _answer(call: dict[str, Any]) -> list[str | None]:
    """What came of it, or None and why nothing did."""
    try:
        function = _function(call)
        arguments = _arguments(function, call)
    except Exception as error:  # noqa: BLE001 - importing a module runs what its author wrote
        return [None, f"{type(error).__name__}: {error}"]
    try:
        return [_told(function(*arguments[0], **arguments[1])), None]
    except Exception as error:  # noqa: BLE001 - an author's function may raise: that is what came of it
        return [f"raised {type(error).__name__}: {error}", None]


def _module(name: str, file: str) -> ModuleType:
    """Raises Unreachable, ImportError, and whatever its code raises."""
    name = "_imported_main" if name == "__main__" else name  # a program's file is read, the program is not run
    try:
        module = importlib.import_module(name)
    except ImportError:
        module = ModuleType("")
    if getattr(module, "__file__", None) is not None and Path(str(module.__file__)).resolve() == Path(file).resolve():
        return module
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        raise Unreachable(f"there is no module {name}")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _function(call: dict[str, Any]) -> FunctionType:
    module = _module(call["module"], call["file"])
    if call["code"] is not None:
        code = marshal.loads(base64.b64decode(call["code"]))
        assert isinstance(code, CodeType)
        return FunctionType(code, vars(module), "<lambda>")
    found: Any = module
    for part in call["name"].split("."):
        found = getattr(found, part, None)
    if not isinstance(found, FunctionType) or found.__code__.co_firstlineno != call["line"]:
        raise Unreachable(f"{call['name']} is not found in {call['module']}")
    return found


def _arguments(function: FunctionType, call: dict[str, Any]) -> tuple[list[Any], dict[str, Any]]:
    if call["message"] is not None:
        module, name = call["message"]
        return [getattr(importlib.import_module(module), name).model_validate(call["values"])], {}
    return [], {
        parameter.name: _value(parameter.wants, parameter.many, call["values"].get(parameter.name))
        for parameter in read_parameters(function)
    }


def _value(wants: type[Any], many: bool, given: Any) -> Any:
    if wants is Ending:
        return ENDING
    if wants is Stuck:
        return STUCK
    if many:
        return tuple(wants.model_validate(one) for one in given or ())
    return None if given is None else wants.model_validate(given)


def _told(made: Any) -> str:
    if isinstance(made, Message):
        return f"{made.key} {made.to_json().decode()}"
    if isinstance(made, BaseModel):
        return made.model_dump_json()
    if isinstance(made, tuple):
        return f"({', '.join(_told(one) for one in made)})"
    return repr(made)


if __name__ == "__main__":
    main()
