"""Every code block of docs/sagas.md is executed: tests run, blocks and sagas proven, commands typed."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

import pytest
from typer.testing import CliRunner

from contracts.catalog import standard_catalog
from orchestrator.cli.app import build_app
from orchestrator.cli.connections_memory import MemoryConnections
from orchestrator.cli.surroundings import Surroundings
from orchestrator.language import Saga
from orchestrator.language.blocks import Block
from orchestrator.verify import Finding, read_handlers, verify_sagas

PAGE = Path(__file__).resolve().parents[2] / "docs" / "sagas.md"
TEXT = PAGE.read_text(encoding="utf-8")
FENCES = re.findall(r"^```(\w*)\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
LINES_MAX = 60
"""A five-step saga with a branch and an approval (issue 4)."""
DELIBERATE = "RISKY"
"""The saga that the page shows as one that is not run."""


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModuleType]:
    """The page's Python, executed block after block; each is a file, so that its source can be read."""
    folder, module = tmp_path_factory.mktemp("page"), ModuleType("sagas_page")
    sys.modules[module.__name__] = module
    for number, (language, code) in enumerate(FENCES):
        if language == "python":
            file = folder / f"block_{number}.py"
            file.write_text(code, encoding="utf-8")
            exec(compile(code, str(file), "exec"), vars(module))
    yield module
    del sys.modules[module.__name__]


def findings(saga: Saga) -> tuple[Finding, ...]:
    return verify_sagas([saga], read_handlers())


def test_every_fence_is_of_a_kind_that_is_executed() -> None:
    assert {language for language, _ in FENCES} == {"python", "sh"}


def test_the_first_saga_is_short() -> None:
    first = FENCES[0][1]
    assert len(first.splitlines()) < LINES_MAX
    assert first.count("command(") == 4 and "approval(" in first and "choice(" in first and "emit(" in first


def test_its_tests_pass(page: ModuleType) -> None:
    tests = {name: value for name, value in vars(page).items() if name.startswith("test_")}
    assert len(tests) == TEXT.count("\ndef test_")
    for test in tests.values():
        assert isinstance(test, FunctionType)
        test()


def test_its_sagas_and_examples_are_proven(page: ModuleType) -> None:
    values: dict[str, Any] = dict(vars(page))
    sagas = {name: value for name, value in values.items() if isinstance(value, Saga)}
    assert findings(sagas.pop(DELIBERATE))
    for saga in sagas.values():
        assert findings(saga) == ()
    blocks = {name: value for name, value in values.items() if isinstance(value, Block)}
    assert len(blocks) == 10
    for name, block in blocks.items():
        key = values["CHECKED_ORDER"].key
        saga = Saga(name="example", version=1, starts_on=values["OrderPlaced"], key=key, body=block)
        assert findings(saga) == (), name


def test_every_block_has_an_example() -> None:
    code = "".join(text for language, text in FENCES if language == "python")
    words = (
        "sequence", "parallel", "command", "emit", "pivot", "choice", "when", "otherwise", "for_each", "repeat",
        "fallback", "sleep", "sleep_until", "wait_for", "observe", "approval",
    )  # fmt: skip
    assert [word for word in words if f"{word}(" not in code] == []


def test_its_commands_work(page: ModuleType, tmp_path: Path) -> None:
    around = Surroundings(
        environment={},
        folder=tmp_path,
        operator="ada",
        interactive=False,
        now_ms=lambda: 0,
        new_id=lambda: "id",
        connections=MemoryConnections(),
        sagas=(page.CHECKED_ORDER,),
        catalog=standard_catalog(),
    )
    typed = [line for language, text in FENCES if language == "sh" for line in text.splitlines()]
    assert typed
    for line in typed:
        program, *words = line.split()
        result = CliRunner().invoke(build_app(), words, obj=around)
        assert (program, result.exit_code) == ("counterpoint", 0), (line, result.output)
        assert result.stdout


def test_its_links_lead_somewhere() -> None:
    for target in re.findall(r"\]\(([^)#]+)", TEXT):
        assert (PAGE.parent / target).exists(), target
