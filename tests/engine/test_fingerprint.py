"""The fingerprint changes with everything that matters to a running process, and with nothing else."""

from __future__ import annotations

import dataclasses
import importlib.util
import itertools
import os
import subprocess
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from orchestrator.engine.fingerprint import fingerprint
from orchestrator.sagas import all_sagas
from orchestrator.testkit.lab import lab_saga
from orchestrator.testkit.lab_children import child, child_saga
from tests.gates.repository import ROOT

SOURCE = '''
"""A small saga."""
from __future__ import annotations

from datetime import timedelta
from enum import Enum
from types import MappingProxyType

from contracts.message import Command, Event, Identifier
from orchestrator.language import Ending, Rate, Retry, Saga, command, emit, parallel, sequence


class Grade(Enum):
    LOW = "low"


class Started(Event, type="tests.started.v1"):
    order_id: Identifier
    amount: int = 1

    def doubled(self) -> int:
        return self.amount * 2


class Done(Event, type="tests.done.v1"):
    order_id: Identifier


class No(Event, type="tests.no.v1"):
    order_id: Identifier


class Do(Command, type="tests.do.v1", succeeds=Done, refuses=No):
    order_id: Identifier
    amount: int
    note: str | None = None


class Undo(Command, type="tests.undo.v1", succeeds=Done):
    order_id: Identifier


FACTOR = 3
RATES = MappingProxyType({"eur": 100})


def first(started: Started) -> Do:
    """Does it."""
    return Do(order_id=started.order_id, amount=_times(started.amount))


def second(started: Started) -> Do:
    return Do(order_id=started.order_id, amount=2, note=Grade.LOW.value)


def undo(started: Started) -> Undo:
    return Undo(order_id=started.order_id)


def over(started: Started, ending: Ending) -> Done:
    return Done(order_id=started.order_id)


def _times(amount: int) -> int:
    return amount * FACTOR + RATES["eur"]


def unused(amount: int) -> int:
    return amount


SAGA = Saga(
    name="small",
    version=1,
    starts_on=Started,
    key=lambda started: started.order_id,
    body=sequence(
        command(first, undo=undo, retry=Retry(attempts=2)),
        command(second, undo=undo),
    ),
    cancelled=emit(over),
    deadline=timedelta(hours=1),
)
'''
_serial = itertools.count()


@pytest.fixture
def of(tmp_path: Path) -> Callable[[str], str]:
    """The fingerprint of the saga in a module's source."""

    def fingerprinted(source: str) -> str:
        file = tmp_path / f"small_{next(_serial)}" / "small.py"
        file.parent.mkdir()
        file.write_text(source)
        spec = importlib.util.spec_from_file_location("small", file)
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules["small"] = module
        try:
            spec.loader.exec_module(module)
            return fingerprint(module.SAGA)
        finally:
            del sys.modules["small"]

    return fingerprinted


def edited(old: str, new: str) -> str:
    assert SOURCE.count(old) >= 1, old
    return SOURCE.replace(old, new)


MATTERS = {
    "a builder's body": ("amount=2, note", "amount=4, note"),
    "a helper's body": ("amount * FACTOR", "amount + FACTOR"),
    "a constant that a helper names": ("FACTOR = 3", "FACTOR = 4"),
    "a constant's item": ('{"eur": 100}', '{"eur": 101}'),
    "an enum's value": ('LOW = "low"', 'LOW = "lower"'),
    "a policy": ("Retry(attempts=2)", "Retry(attempts=3)"),
    "a limit": ("command(second, undo=undo)", "command(second, undo=undo, limit=Rate(5))"),
    "the deadline": ("hours=1", "hours=2"),
    "the key": ("started: started.order_id,", 'started: started.order_id + "x",'),
    "the order of blocks": (
        "command(first, undo=undo, retry=Retry(attempts=2)),\n        command(second, undo=undo),",
        "command(second, undo=undo),\n        command(first, undo=undo, retry=Retry(attempts=2)),",
    ),
    "the kind of a block": ("body=sequence(", "body=parallel("),
    "a step's name": ("command(second, undo=undo)", 'command(second, undo=undo, name="other")'),
    "an undo": ("command(second, undo=undo)", "command(second, irreversible=True)"),
    "what ends it": ("    cancelled=emit(over),\n", ""),
    "a contract's default": ("amount: int = 1", "amount: int = 2"),
    "a contract's field": ("note: str | None = None", "note: str | None = None\n    more: str | None = None"),
    "the order of a contract's fields": (
        "order_id: Identifier\n    amount: int\n",
        "amount: int\n    order_id: Identifier\n",
    ),
    "a contract's function": ("self.amount * 2", "self.amount * 3"),
    "what a command is refused by": ("succeeds=Done, refuses=No", "succeeds=(Done, No)"),
    "what a builder asks for": ("def undo(started: Started)", "def undo(started: Started | None)"),
}


@pytest.mark.parametrize("what", MATTERS)
def test_it_changes_with(of: Callable[[str], str], what: str) -> None:
    assert of(edited(*MATTERS[what])) != of(SOURCE)


MATTERS_NOT = {
    "comments": ("    return amount * FACTOR", "    # three times\n    return amount * FACTOR"),
    "docstrings": ('"""Does it."""', '"""Does it again, in other words."""'),
    "layout": ("amount=_times(started.amount))", "amount=_times(\n            started.amount\n        ),\n    )"),
    "quotes": ('RATES["eur"]', "RATES['eur']"),
    "where things are written": ('"""A small saga."""', '"""A small saga."""\n\n\n\n'),
    "functions that nothing calls": ("def unused(amount: int) -> int:\n    return amount\n", ""),
    "the version": ("version=1", "version=2"),
}


@pytest.mark.parametrize("what", MATTERS_NOT)
def test_it_does_not_change_with(of: Callable[[str], str], what: str) -> None:
    assert of(edited(*MATTERS_NOT[what])) == of(SOURCE)


def test_a_contracts_words_for_people_do_not_matter(of: Callable[[str], str]) -> None:
    told = edited(
        "    note: str", '    """Do it, says the docstring, which is the schema\'s description."""\n\n    note: str'
    )
    assert of(told) == of(SOURCE)


def test_a_function_without_source_is_told_by_its_code(of: Callable[[str], str]) -> None:
    names: dict[str, object] = {}
    source = SOURCE.replace("from __future__ import annotations\n", "")
    exec(compile(source, "<nowhere>", "exec"), names)
    other: dict[str, object] = {}
    exec(compile(source.replace("amount=2, note", "amount=4, note"), "<nowhere>", "exec"), other)
    assert fingerprint(names["SAGA"]) != fingerprint(other["SAGA"])  # type: ignore[arg-type]


def test_it_is_the_same_in_every_process() -> None:
    code = (
        "from orchestrator.engine.fingerprint import fingerprint\nfrom orchestrator.sagas import all_sagas\n"
        "print(*(fingerprint(saga) for saga in all_sagas()))"
    )
    found = {
        subprocess.run(
            [sys.executable, "-c", code],
            cwd=ROOT,
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout.split()[0]
        for seed in ("0", "1", "77")
    }
    assert found == {fingerprint(all_sagas()[0])}


def test_a_parent_is_as_its_childs_name_and_version_say_and_no_more() -> None:
    """What the child does is in the fingerprint of the child, whose version the parent names."""
    one = lab_saga(child("ship", child_saga()))
    assert fingerprint(one) == fingerprint(lab_saga(child("ship", child_saga(deadline=timedelta(hours=1)))))
    others = (
        lab_saga(child("ship", dataclasses.replace(child_saga(), version=2))),
        lab_saga(child("ship", child_saga(name="lab-other"))),
        lab_saga(child("ship", child_saga(), undo=True)),
        lab_saga(child("ship", child_saga(), irreversible=True)),
    )
    assert len({fingerprint(saga) for saga in (one, *others)}) == 5
    assert fingerprint(child_saga()) != fingerprint(child_saga(returns=False))
