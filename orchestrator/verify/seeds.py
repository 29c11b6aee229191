"""`depends-on-hash-seed`: a function of a saga makes the same of the same, whatever the order of hashes.

Every operating system process of Python orders sets of texts in its own way. A builder in which that shows makes
another message under the same id when the log is folded again. The whitelist (`impure-builder`) keeps out what can be
seen in a function's text; this calls the functions, and so sees what contracts and their validators do, too.

All functions of all sagas are called in three child processes at once, on the same samples, with eight elements in
every list. That takes the time in which Python imports the sagas, about a second; so the command line and CI do it, and
a start of the orchestrator does not: what it runs has the fingerprint that was recorded.
"""

from __future__ import annotations

import base64
import contextlib
import json
import marshal
import os
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from types import FunctionType
from typing import Any

from pydantic import BaseModel

from orchestrator.language.injection import Ending, Stuck
from orchestrator.language.location import Location
from orchestrator.language.saga import Saga
from orchestrator.language.signature import Parameter
from orchestrator.language.waiting import WaitFor
from orchestrator.verify.finding import Finding
from orchestrator.verify.samples import NoSample, crowded
from orchestrator.verify.subject import Subject, builder_location

RULE = "depends-on-hash-seed"
SEEDS = ("1", "2", "3")
MARKS = ("", "b", "c", "d")
"""Of the samples: a predicate that depends on hashes says the same under three seeds once in four times."""
SECONDS_MAX = 120.0
"""A child that takes longer has a function that does not come to its end."""
COMPLAINT_MAX = 500
"""Characters of what a child that failed has said."""
SHOWN_MAX = 60
"""Characters of what was made, from where it differs."""
FIX = "iterate over a tuple or over sorted(...), not over a set, and do not use hash()"


class SeedsError(RuntimeError):
    """The functions could not be called; the message says what the child said."""


@dataclass(frozen=True, slots=True)
class Unchecked:
    """A function that could not be called in another process, and why."""

    saga: str
    name: str
    why: str


@dataclass(frozen=True, slots=True)
class _Call:
    saga: str
    path: str
    name: str
    location: Location
    request: dict[str, Any]


Checked = tuple[tuple[Finding, ...], tuple[Unchecked, ...]]


def check_seeds(sagas: Iterable[Saga], environment: Mapping[str, str]) -> Checked:
    """Findings, ordered by file and line, and what could not be checked. `environment`: of the child processes.

    Raises:
        SeedsError: a child process has failed as a whole.
    """
    unchecked: list[Unchecked] = []
    calls = [call for saga in sagas for call in _calls(saga, unchecked)]
    answers = _ask([call.request for call in calls], environment)
    found: dict[tuple[str, str, Location], Finding] = {}
    """One a function and place, though several samples may show it."""
    for place, call in enumerate(calls):
        told = [answer[place] for answer in answers]
        missing = next((why for made, why in told if made is None), None)
        if missing is not None:
            unchecked.append(Unchecked(call.saga, call.name, missing))
        elif len({made for made, _ in told}) > 1:
            made = _finding(call, [made for made, _ in told])
            found.setdefault((call.saga, call.path, call.location), made)
    return tuple(sorted(found.values())), tuple(dict.fromkeys(unchecked))


def _finding(call: _Call, made: list[str]) -> Finding:
    other = next(one for one in made if one != made[0])
    place = next(at for at, (one, two) in enumerate(zip(f"{made[0]}\0", f"{other}\0", strict=False)) if one != two)
    begins = max(0, place - SHOWN_MAX // 2)
    shown = [f"{'…' if begins else ''}{one[begins : begins + SHOWN_MAX]}" for one in (made[0], other)]
    message = f"{call.name} makes something else under another hash seed: {shown[0]!r}, and then {shown[1]!r}"
    return Finding(call.location.file, call.location.line, call.saga, RULE, message, FIX, call.path)


# What is called.


def _calls(saga: Saga, unchecked: list[Unchecked]) -> Iterator[_Call]:
    subject = Subject(saga)
    for path, key, event in _keys(subject):
        if not isinstance(key, FunctionType):
            continue
        location = builder_location(key, saga.location)
        message = [event.__module__, event.__qualname__]
        try:
            values = [_json(crowded(event, mark)) for mark in MARKS]
        except NoSample as error:
            unchecked.append(Unchecked(saga.name, f"the key function of {path}", str(error)))
            continue
        yield from _requests(saga, path, f"the key function of {path}", location, key, message, values, unchecked)
    for call in subject.calls:
        if not isinstance(call.builder, FunctionType) or subject.problem(call) is not None:
            continue
        location = builder_location(call.builder, call.spot.block.location)
        try:
            values = list(_values(subject.parameters(call)))
        except NoSample as error:
            unchecked.append(Unchecked(saga.name, call.name, str(error)))
            continue
        yield from _requests(saga, call.path, call.name, location, call.builder, None, values, unchecked)


def _keys(subject: Subject) -> Iterator[tuple[str, Any, type[BaseModel]]]:
    saga = subject.saga
    yield "the saga", saga.key, saga.starts_on
    if saga.cancelled_by is not None:
        yield "cancelled_by", saga.cancelled_by[1], saga.cancelled_by[0]
    for spot in subject.spots:
        if isinstance(spot.block, WaitFor) and spot.block.key is not None:
            yield spot.block.name, spot.block.key, spot.block.wants


def _values(parameters: tuple[Parameter, ...]) -> Iterator[dict[str, Any]]:
    """Arguments: several of everything, then without what is optional or may be many. Raises NoSample."""
    models = [one for one in parameters if one.wants not in (Ending, Stuck)]
    always = [one for one in models if not (one.optional or one.many)]
    for given, marks in ((models, MARKS), (always, MARKS[:1])):
        for mark in marks:
            yield {one.name: _argument(one, mark) for one in given}


def _argument(parameter: Parameter, mark: str) -> Any:
    assert issubclass(parameter.wants, BaseModel)
    made = _json(crowded(parameter.wants, mark))
    return [made] if parameter.many else made


def _json(value: BaseModel) -> Any:
    return value.model_dump(mode="json")


def _requests(
    saga: Saga,
    path: str,
    name: str,
    location: Location,
    function: FunctionType,
    message: list[str] | None,
    values: list[dict[str, Any]],
    unchecked: list[Unchecked],
) -> Iterator[_Call]:
    code = function.__code__
    is_lambda = code.co_name == "<lambda>"
    if code.co_freevars or ("<locals>" in function.__qualname__ and not is_lambda):
        unchecked.append(Unchecked(saga.name, name, "it is defined inside of another function"))
        return
    request = {
        "module": function.__module__,
        "file": code.co_filename,
        "name": function.__qualname__,
        "line": code.co_firstlineno,
        "code": base64.b64encode(marshal.dumps(code)).decode() if is_lambda else None,
        "message": message,
    }
    if is_lambda and message is None:
        return  # a lambda has no annotations: `builder-signature` says so
    for given in values:
        yield _Call(saga.name, path, name, location, {**request, "values": given})


# Asking.


def _ask(requests: list[dict[str, Any]], environment: Mapping[str, str]) -> list[list[tuple[str, str | None]]]:
    """What each call came to, by seed. Raises SeedsError."""
    asked = json.dumps({"path": sys.path, "calls": requests})
    children = [_child(seed, environment) for seed in SEEDS]
    try:
        for child in children:
            assert child.stdin is not None
            with contextlib.suppress(BrokenPipeError):  # it has ended already, and says why
                child.stdin.write(asked)
                child.stdin.close()
            child.stdin = None
        return [_heard(child) for child in children]
    finally:
        for child in children:
            child.kill()
            child.wait()


def _child(seed: str, environment: Mapping[str, str]) -> subprocess.Popen[str]:
    path = os.pathsep.join(one for one in sys.path if one)
    return subprocess.Popen(
        [sys.executable, "-m", "orchestrator.verify.seeded"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
        env={**environment, "PYTHONPATH": path, "PYTHONHASHSEED": seed},
    )


def _heard(child: subprocess.Popen[str]) -> list[tuple[str, str | None]]:
    try:
        said, complained = child.communicate(timeout=SECONDS_MAX)
    except subprocess.TimeoutExpired:
        raise SeedsError(f"the functions did not come to their end within {SECONDS_MAX:g} s") from None
    if child.returncode != 0:
        raise SeedsError(f"the functions could not be called: {complained.strip()[-COMPLAINT_MAX:]}")
    return [(made, why) for made, why in json.loads(said)]
