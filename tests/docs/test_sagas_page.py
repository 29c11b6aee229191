"""Every code block of docs/sagas.md is executed: tests run, blocks and sagas proven, commands typed."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

import pytest

import contracts
from contracts.catalog import CONTEXTS, standard_catalog
from contracts.envelope import Envelope
from contracts.orders import OrderPlaced
from orchestrator.engine.book import SagaBook
from orchestrator.language import Saga
from orchestrator.language.blocks import Block
from orchestrator.verify import Finding, Handlers, read_handlers, verify_sagas
from orchestrator.verify.cataloged import check_catalog
from tests.cli.conftest import counterpoint, world  # noqa: F401 - fixtures

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "sagas.md"
TEXT = PAGE.read_text(encoding="utf-8")
FENCES = re.findall(r"^```(\w*)\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
FILES = {
    name: code
    for name, _, code in re.findall(r"`([\w/]+\.\w+)`:\n\n```(\w+)\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
}
"""The blocks that the reader puts into a file."""
CONTRACTS, SAGA, TESTS = (
    "contracts/equipment.py",
    "orchestrator/sagas/equipment_request.py",
    "tests/sagas/test_equipment_request.py",
)
LINES_MAX = 60
"""A five-step saga with a branch and an approval is shorter."""
DELIBERATE = "RISKY"
"""The saga that the page shows as one that is not run."""
NO_SERVICE_YET = "EQUIPMENT_REQUEST"
"""The saga of the page's own contracts."""


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModuleType]:
    """The page's Python, executed block after block; each is a file, so that its source can be read. Blocks of files
    that others import are the modules of these files."""
    folder, module = tmp_path_factory.mktemp("page"), ModuleType("sagas_page")
    sys.modules[module.__name__] = module
    with pytest.MonkeyPatch.context() as patch:
        for number, (language, code) in enumerate(FENCES):
            if language != "python":
                continue
            file = folder / f"block_{number}.py"
            file.write_text(code, encoding="utf-8")
            name = next((name for name in (CONTRACTS, SAGA) if FILES[name] == code), None)
            space = module if name is None else _module_of(name, patch)
            exec(compile(code, str(file), "exec"), vars(space))
            if name == SAGA:
                setattr(module, NO_SERVICE_YET, getattr(space, NO_SERVICE_YET))
        yield module
    del sys.modules[module.__name__]


def _module_of(name: str, patch: pytest.MonkeyPatch) -> ModuleType:
    """A module as if the file were there, and its line in the catalog."""
    dotted = name.removesuffix(".py").replace("/", ".")
    module = ModuleType(dotted)
    patch.setitem(sys.modules, dotted, module)
    if name == CONTRACTS:
        patch.setattr(contracts, "equipment", module, raising=False)
        patch.setitem(CONTEXTS, "equipment", module)
    return module


def findings(saga: Saga, handlers: Handlers | None = None, beside: Sequence[Saga] = ()) -> tuple[Finding, ...]:
    return verify_sagas([saga], handlers or read_handlers(), [saga, *beside])


def test_every_fence_is_of_a_kind_that_is_executed() -> None:
    assert {language for language, _ in FENCES} == {"python", "sh", "json"}
    assert set(FILES) == {CONTRACTS, SAGA, TESTS, "request.json"}
    assert sum(language == "json" for language, _ in FENCES) == 1


def test_the_first_saga_is_short() -> None:
    code = FILES[SAGA]
    assert len(code.splitlines()) < LINES_MAX
    steps = [code.count(f"{block}(") for block in ("command", "approval", "emit")]
    assert steps == [3, 1, 2]  # one of them is the last word when everything is undone
    assert code.count("choice(when(") == 1 and code.count("undo=") == 2


@pytest.mark.parametrize("name", [CONTRACTS, SAGA, TESTS])
def test_files_are_as_make_check_wants_them(name: str) -> None:
    """Their imports are not sorted here: ruff takes a module without a file for a stranger's."""
    for words in (("format", "--check"), ("check", "--ignore", "I001")):
        command = [sys.executable, "-m", "ruff", *words, "--no-cache", "--stdin-filename", name, "-"]
        result = subprocess.run(command, input=FILES[name], capture_output=True, text=True, cwd=ROOT, check=False)
        assert result.returncode == 0, result.stdout + result.stderr


def test_its_tests_pass(page: ModuleType) -> None:
    tests = {name: value for name, value in vars(page).items() if name.startswith("test_")}
    assert len(tests) == TEXT.count("\ndef test_") >= 5
    for test in tests.values():
        assert isinstance(test, FunctionType)
        test()


def test_its_sagas_and_examples_are_proven(page: ModuleType) -> None:
    values: dict[str, Any] = dict(vars(page))
    sagas = {name: value for name, value in values.items() if isinstance(value, Saga)}
    assert findings(sagas.pop(DELIBERATE))
    own = sagas.pop(NO_SERVICE_YET)
    assert {finding.rule for finding in findings(own, Handlers(()))} == {"unhandled-command"}
    assert findings(own, Handlers.any()) == check_catalog([own], standard_catalog()) == ()
    for saga in sagas.values():
        assert findings(saga, beside=[*sagas.values()]) == ()
    blocks = {name: value for name, value in values.items() if isinstance(value, Block)}
    assert len(blocks) == 11
    for name, block in blocks.items():
        assert findings(saga_of(block), beside=[*sagas.values()]) == (), name


def saga_of(block: Block, name: str = "example") -> Saga:
    return Saga(name=name, version=1, starts_on=OrderPlaced, key=lambda order: order.order_id, body=block)


def test_every_block_has_an_example() -> None:
    code = "".join(text for language, text in FENCES if language == "python")
    words = (
        "sequence", "parallel", "command", "emit", "pivot", "choice", "when", "otherwise", "for_each", "repeat",
        "fallback", "sleep", "sleep_until", "wait_for", "observe", "approval", "subsaga",
    )  # fmt: skip
    assert [word for word in words if f"{word}(" not in code] == []


def test_its_commands_work(
    page: ModuleType,
    counterpoint: Any,  # noqa: F811
    world: Any,  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As a newcomer types them, in order, with three processes that wait for the manager."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "request.json").write_text(FILES["request.json"])
    (tmp_path / "goods.json").write_text('{"dock": "4"}')
    (tmp_path / "fingerprints.json").write_text("{}")
    sagas = (page.EQUIPMENT_REQUEST, saga_of(page.PATIENTLY, "restock"))
    for number in (1, 2, 3):
        begin(world, SagaBook(sagas), f"e{number}")
    typing = counterpoint.changed(sagas=sagas, catalog=standard_catalog(), fingerprints=tmp_path / "fingerprints.json")
    typed = [line for language, text in FENCES if language == "sh" for line in text.splitlines()]
    assert len(typed) > 12
    for line in typed:
        words, _, output = line.partition(" > ")
        program, *arguments = shlex.split(words)
        if program == "make":
            assert re.search(rf"^{arguments[0]}:", (ROOT / "Makefile").read_text(), re.MULTILINE), line
            continue
        result = typing(*arguments, stdin="")
        assert (program, result.exit_code) == ("counterpoint", 0), (line, result.output)
        assert result.stdout
        if output:
            (tmp_path / output).write_text(result.stdout)
    phases = {process.id: process.phase for process in world.connections.states.values()}
    assert phases == {
        "equipment-request:e1": "running",
        "equipment-request:e2": "compensating",
        "equipment-request:e3": "compensating",
        "restock:e7": "early",
    }


def begin(world: Any, book: SagaBook, key: str) -> None:  # noqa: F811
    """An expensive device, whose budget is reserved."""
    from contracts import equipment  # type: ignore[attr-defined]

    world.book, process = book, f"equipment-request:{key}"
    request = equipment.Requested.model_validate_json(FILES["request.json"]).model_copy(update={"request_id": key})
    envelope = Envelope(id=key, source="/intranet", type=request.type)
    world.feed(process, request, envelope, stamp=("equipment-request", 1))
    world.answer(process, "reserve_budget/1", equipment.BudgetReserved(request_id=key))


def test_its_links_lead_somewhere() -> None:
    for target in re.findall(r"\]\(([^)#]+)", TEXT):
        assert (PAGE.parent / target).exists(), target
