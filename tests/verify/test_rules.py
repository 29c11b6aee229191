"""The rules are complete: each file is run, has a name of its own, and is on the page that explains it."""

from __future__ import annotations

import re
from importlib import import_module
from pathlib import Path

from orchestrator.verify import rules, run

NAMES = sorted(file.stem for file in Path(rules.__path__[0]).glob("*.py") if file.stem != "__init__")
PAGE = Path(__file__).resolve().parents[2] / "docs" / "decisions" / "0051-verify-rules.md"


def test_every_rule_is_run() -> None:
    run_modules = {check.__module__.rsplit(".", 1)[1] for check in run.RULES}
    assert run_modules | {"saga_unique"} == set(NAMES)


def test_every_rule_is_named_and_explained() -> None:
    ids = [import_module(f"{rules.__name__}.{name}").RULE for name in NAMES]
    assert len(set(ids)) == len(ids)
    assert all(re.fullmatch(r"[a-z]+(-[a-z]+)*", rule) for rule in ids)
    rows = [line.split("|")[1] for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("| `")]
    assert sorted(rule for row in rows for rule in re.findall(r"`([a-z-]+)`", row)) == sorted(ids)
