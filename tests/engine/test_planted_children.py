"""Proves the nets around children: each planted fault is found (see planted_children.py)."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from random import Random

import pytest

from orchestrator.testkit.explore import explore
from tests.engine import test_child, test_family
from tests.engine.planted_children import EXPLORED, TOLD
from tests.engine.test_exploration import SEEDS


@pytest.mark.parametrize("name", EXPLORED)
def test_the_explorer_finds_it(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    EXPLORED[name](monkeypatch)
    for seed in range(SEEDS):
        try:
            explore(Random(seed))
        except AssertionError:
            return
    pytest.fail(f"no run was broken by {name}")


def stories() -> list[Callable[[], None]]:
    """Those that need nothing but themselves."""
    found = [*vars(test_child).values(), *vars(test_family).values()]
    return [
        one for one in found
        if inspect.isfunction(one) and one.__name__.startswith("test_") and not inspect.signature(one).parameters
    ]  # fmt: skip


@pytest.mark.parametrize("name", TOLD)
def test_a_story_finds_it(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    TOLD[name](monkeypatch)
    for story in (*stories(), lambda: test_child.test_what_is_called_off_before_it_began_never_begins("is_undone")):
        try:
            story()
        except AssertionError:
            return
    pytest.fail(f"no story was broken by {name}")
