"""docs/bounds.md names bounds that there are, in the files that it names; and every constant that is one is named."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "bounds.md").read_text(encoding="utf-8")
ROWS = [line.split("|")[1:-1] for line in PAGE.splitlines() if line.startswith("| ") and "---" not in line]
FOLDERS = ("orchestrator/", "services/sdk/", "deploy/local/sandbox/", "")
WATCHED = ("orchestrator/engine", "orchestrator/runtime", "services/sdk", "deploy/local/sandbox")
CACHES = ("lru_cache", "cache")


def rows() -> Iterator[tuple[list[str], list[str]]]:
    """Of each row: the names of its bounds, and the files."""
    for what, bound, place in ROWS:
        files = re.findall(r"`([\w/.]+\.py)`", place)
        if files:
            yield re.findall(r"`([A-Za-z_]\w*)`", bound), files
        assert what.strip()


def text_of(file: str, beside: str) -> str:
    """A second file of a row may be named without its folder."""
    candidates = [ROOT / folder / one for one in (file, f"{beside}/{file}") for folder in FOLDERS]
    found = next((path for path in candidates if path.is_file()), None)
    assert found is not None, f"docs/bounds.md names {file}, which is not there"
    return found.read_text(encoding="utf-8")


def test_every_name_is_in_one_of_the_files_beside_it() -> None:
    named = list(rows())
    assert len(named) > 40
    for names, files in named:
        texts = [text_of(file, str(Path(files[0]).parent)) for file in files]
        for name in names:
            assert any(re.search(rf"\b{name}\b", text) for text in texts), f"{name} is not in {', '.join(files)}"


def unnamed_caches(source: str) -> list[int]:
    """Lines with a cache that has no size, or one without a name."""
    found = []
    for node in ast.walk(ast.parse(source)):
        called = node.func if isinstance(node, ast.Call) else None
        name = called.id if isinstance(called, ast.Name) else called.attr if isinstance(called, ast.Attribute) else ""
        if isinstance(node, ast.Call) and name in CACHES:
            size = next((word.value for word in node.keywords if word.arg == "maxsize"), None)
            if not isinstance(size, ast.Name):
                found.append(node.lineno)
        decorators = getattr(node, "decorator_list", [])
        found += [one.lineno for one in decorators if isinstance(one, ast.Name) and one.id in CACHES]
    return found


def test_every_cache_has_a_size_with_a_name() -> None:
    files = [*(ROOT / "contracts").glob("*.py"), *(f for one in WATCHED for f in (ROOT / one).rglob("*.py"))]
    assert len(files) > 80
    assert [f"{file}:{line}" for file in files for line in unnamed_caches(file.read_text(encoding="utf-8"))] == []


def test_a_planted_cache_is_seen() -> None:
    assert unnamed_caches("@lru_cache(maxsize=64)\ndef f(): ...") == [1]
    assert unnamed_caches("@cache\ndef f(): ...") == [1]
    assert unnamed_caches("@functools.lru_cache()\ndef f(): ...") == [1]
    assert unnamed_caches("f = lru_cache(maxsize=None)(g)") == [1]
    assert unnamed_caches("@lru_cache(maxsize=NAMED_MAX)\ndef f(): ...") == []


def test_every_growing_constant_of_engine_and_runtime_is_on_the_page() -> None:
    """A bound that is added is listed."""
    pattern = re.compile(r"^([A-Z][A-Z0-9_]*_MAX)\b.* = ", re.MULTILINE)
    for folder in ("orchestrator/engine", "orchestrator/runtime"):
        for file in (ROOT / folder).rglob("*.py"):
            for name in pattern.findall(file.read_text(encoding="utf-8")):
                assert name in PAGE or name in ELSEWHERE, f"{name} of {file.name} is not in docs/bounds.md"


ELSEWHERE = frozenset(("NUMBER_LENGTH_MAX", "VERSION_DIGITS_MAX", "AT_DIGITS_MAX", "POLL_INTERVAL_MAX_MS", "PIECE_MAX"))
"""Bounds of a format or a time, and not of something that grows."""
