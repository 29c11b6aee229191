"""Every import rule of pyproject.toml fires: one violation is planted for each, in a skeleton of the source tree."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.gates.repository import ROOT

CONFIG = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"]
NAMES = {contract["id"]: contract["name"] for contract in CONFIG["contracts"]}
LINT_IMPORTS = [sys.executable, "-c", "from importlinter.cli import lint_imports_command as main; main()"]

SKELETON = (
    *("contracts/orders", "operations/endpoints", "deploy/local/stack", "benchmarks/bench"),
    *(
        "services/sdk/service",
        "services/sdk/outside/judgement",
        "services/inventory/stock",
        "services/payment/handlers",
    ),
    *("services/scheduler/schedule", "services/stockreport/handlers"),
    *("services/leadalert/handlers", "services/leadcrm/handlers", "services/invoicing/handlers"),
    *("services/documentsignature/handlers", "services/documentfiling/handlers"),
    *("services/shipping/handlers", "services/gateway/app", "services/registry", "services/__main__"),
    *("orchestrator/language/blocks", "orchestrator/engine/decide", "orchestrator/verify/run"),
    *("orchestrator/runtime/shard", "orchestrator/testkit/story", "orchestrator/sagas/order_fulfilment"),
    "orchestrator/rehearsal/rehearsal",
    *("orchestrator/api/read_model", "orchestrator/cli/story", "orchestrator/app", "orchestrator/__main__"),
)

PLANTED = (
    ("contracts-alone", "contracts/orders", "services.sdk"),
    ("contracts-alone", "contracts/orders", "orchestrator.language"),
    ("contracts-alone", "contracts/orders", "operations.endpoints"),
    ("contracts-alone", "contracts/orders", "orjson"),
    ("operations-alone", "operations/endpoints", "contracts.orders"),
    ("operations-alone", "operations/endpoints", "orchestrator.engine"),
    ("services-layers", "services/payment/handlers", "services.inventory.stock"),
    ("services-layers", "services/inventory/stock", "services.shipping"),
    ("services-layers", "services/stockreport/handlers", "services.inventory.stock"),
    ("services-layers", "services/scheduler/schedule", "services.stockreport"),
    ("services-layers", "services/leadcrm/handlers", "services.leadalert"),
    ("services-layers", "services/documentfiling/handlers", "services.documentsignature"),
    ("services-layers", "services/sdk/service", "services.payment"),
    ("services-layers", "services/sdk/outside/judgement", "services.registry"),
    ("services-layers", "services/gateway/app", "services.payment.handlers"),
    ("services-layers", "services/payment/handlers", "services.gateway.app"),
    ("services-layers", "services/gateway/app", "services.registry"),
    ("services-alone", "services/gateway/app", "orchestrator.runtime.shard"),
    ("services-alone", "services/payment/handlers", "orchestrator.language"),
    ("services-alone", "services/sdk/service", "orchestrator.runtime.shard"),
    ("services-alone", "services/registry", "deploy.local"),
    ("orchestrator-alone", "orchestrator/cli/story", "services.registry"),
    ("orchestrator-alone", "orchestrator/app", "services.sdk"),
    ("orchestrator-alone", "orchestrator/runtime/shard", "deploy.local.stack"),
    ("orchestrator-layers", "orchestrator/language/blocks", "orchestrator.engine.decide"),
    ("orchestrator-layers", "orchestrator/engine/decide", "orchestrator.runtime.shard"),
    ("orchestrator-layers", "orchestrator/engine/decide", "orchestrator.sagas"),
    ("orchestrator-layers", "orchestrator/runtime/shard", "orchestrator.sagas.order_fulfilment"),
    ("orchestrator-layers", "orchestrator/runtime/shard", "orchestrator.verify"),
    ("orchestrator-layers", "orchestrator/runtime/shard", "orchestrator.api.read_model"),
    ("orchestrator-layers", "orchestrator/verify/run", "orchestrator.runtime.shard"),
    ("orchestrator-layers", "orchestrator/verify/run", "orchestrator.sagas"),
    ("orchestrator-layers", "orchestrator/rehearsal/rehearsal", "orchestrator.runtime.shard"),
    ("orchestrator-layers", "orchestrator/api/read_model", "orchestrator.sagas"),
    ("orchestrator-layers", "orchestrator/cli/story", "orchestrator.app"),
    ("sagas-alone", "orchestrator/sagas/order_fulfilment", "orchestrator.engine"),
    ("sagas-alone", "orchestrator/sagas/order_fulfilment", "orchestrator.runtime.shard"),
    ("sagas-alone", "orchestrator/sagas/order_fulfilment", "operations.endpoints"),
    ("language-alone", "orchestrator/language/blocks", "operations"),
    ("language-alone", "orchestrator/language/blocks", "redis"),
    ("engine-pure", "orchestrator/engine/decide", "asyncio"),
    ("engine-pure", "orchestrator/engine/decide", "time"),
    ("engine-pure", "orchestrator/engine/decide", "random"),
    ("engine-pure", "orchestrator/engine/decide", "os"),
    ("engine-pure", "orchestrator/engine/decide", "logging"),
    ("engine-pure", "orchestrator/engine/decide", "operations.endpoints"),
    ("engine-pure", "orchestrator/language/blocks", "time"),  # the engine imports it: indirect imports count
    ("verify-alone", "orchestrator/verify/run", "operations.endpoints"),
    ("verify-alone", "orchestrator/verify/run", "aiokafka"),
    ("rehearsal-alone", "orchestrator/rehearsal/rehearsal", "operations.endpoints"),
    ("rehearsal-alone", "orchestrator/rehearsal/rehearsal", "redis"),
    ("cli-reads", "orchestrator/cli/story", "orchestrator.runtime.shard"),
    ("cli-reads", "orchestrator/cli/story", "orchestrator.engine.decide"),
    ("testkit-for-tests", "orchestrator/app", "orchestrator.testkit"),
    ("testkit-for-tests", "orchestrator/runtime/shard", "orchestrator.testkit.story"),
)


def plant(root: Path, module: str, code: str) -> None:
    file = root / f"{module}.py"
    file.parent.mkdir(parents=True, exist_ok=True)
    for folder in [file.parent, *file.parent.parents]:
        if folder == root:
            break
        (folder / "__init__.py").touch()
    with file.open("a", encoding="utf-8") as source:
        source.write(f"{code}\n")


@pytest.fixture
def skeleton(tmp_path: Path) -> Path:
    for module in SKELETON:
        plant(tmp_path, module, '"""Nothing yet."""')
    for contract in CONFIG["contracts"]:  # import-linter wants every module that it is told about
        for module in contract.get("forbidden_modules", ()):
            if module.startswith("orchestrator."):
                plant(tmp_path, f"{module.replace('.', '/')}/part", "")
    plant(tmp_path, "orchestrator/engine/decide", "import orchestrator.language.blocks")
    return tmp_path


def lint(root: Path, *arguments: str) -> tuple[int, str]:
    """Exit code and report of lint-imports in `root`, by the rules of this checkout."""
    environment = {**os.environ, "PYTHONPATH": str(root), "COLUMNS": "200"}
    command = [*LINT_IMPORTS, str(ROOT / "pyproject.toml"), "--no-cache", "--no-logo", *arguments]
    done = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


def test_the_rules_hold_in_this_checkout() -> None:
    code, report = lint(ROOT)
    assert code == 0, report


def test_the_skeleton_breaks_no_rule(skeleton: Path) -> None:
    code, report = lint(skeleton)
    assert code == 0, report
    assert all(f"{name} KEPT" in report for name in NAMES.values())


def test_every_rule_has_a_planted_violation() -> None:
    assert {contract for contract, _, _ in PLANTED} == NAMES.keys()


@pytest.mark.parametrize("contract", NAMES)
def test_every_planted_violation_is_found(skeleton: Path, contract: str) -> None:
    """All those of one rule at once (a run takes time), and each is named in the report."""
    planted = [(module, imported) for rule, module, imported in PLANTED if rule == contract]
    for module, imported in planted:
        plant(skeleton, module, f"import {imported}")
    code, report = lint(skeleton, "--contract", contract)
    assert code == 1, report
    assert f"{NAMES[contract]} BROKEN" in report
    unnamed = [pair for pair in planted if f"{pair[0].replace('/', '.')} -> {pair[1]}" not in report]
    assert unnamed == [], report


def test_a_new_package_needs_its_place(skeleton: Path) -> None:
    for container, contract in (("orchestrator", "orchestrator-layers"), ("services", "services-layers")):
        plant(skeleton, f"{container}/unlisted/part", "")
        code, report = lint(skeleton, "--contract", contract)
        assert (code, f"{container}.unlisted" in report) == (1, True), report
