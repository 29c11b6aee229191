"""Rules about single files: each takes a path from the root and the file's text, and says what is wrong with it."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator
from fnmatch import fnmatch
from pathlib import PurePosixPath

PRODUCT = ("contracts/", "operations/", "services/", "orchestrator/")
COMPOSITION_ROOTS = ("*/__main__.py", "orchestrator/app.py", "benchmarks/bench.py")

DRIVERS = {"aiokafka": "kafka", "redis": "redis", "httpx": "http"}
"""Client library -> the word in the names of the files that may import it (DESIGN section 6)."""
ENVIRONMENT = frozenset(("os.environ", "os.environb", "os.getenv", "os.putenv", "os.unsetenv"))

FUNCTION_LINES_MAX = 60
FILE_LINES_MAX = 450
"""STYLE rule 13."""
SIZED = (".py", ".lua", ".sh", ".ts", ".tsx", ".css")
GENERATED = ("contracts/schemas/*.json", "contracts/handlers.json", "requirements.lock")

# Brackets keep these patterns from finding themselves in this file.
REGISTRY = re.compile(
    r"pyp[i]\.org|pythonhoste[d]\.org|npmj[s]\.(?:org|com)|yarnpk[g]\.com|\brepo1?\.mave[n]|artifac[t]ory|\bnexu[s]\b"
    r"|index-url[\s=]+\S+:/[/]|https?:/[/][^\s/\"']*(?:registry|mirror|proxy)",
    re.IGNORECASE,
)
MACHINE_PATH = re.compile(r"(?<![\w.*-])/(?:wor[k]|roo[t]|home/\w+|Users/\w+|tmp/bash_job[s])/")
TO_DO = re.compile(r"\b(?:TOD[O]|FIXM[E]|XX[X])\b(?!.*docs/decisions/\d{4})")
CREDENTIAL = re.compile(r"(?i)(?:-----BEGIN [A-Z ]*PRIVATE KEY|://[^\s/:@\"'{}]+:[^\s/@\"'{}]+@)")

Rule = Callable[[str, str], Iterator[str]]


def drivers_in_files_named_for_them(path: str, text: str) -> Iterator[str]:
    if not path.startswith(PRODUCT) or not path.endswith(".py"):
        return
    name = PurePosixPath(path).stem
    for line, module in _imports(ast.parse(text)):
        word = DRIVERS.get(module.split(".")[0])
        if word is not None and word not in name:
            yield f"{path}:{line}: {module} is imported in a file that is not named *{word}*"


def environment_in_composition_roots(path: str, text: str) -> Iterator[str]:
    if path.startswith("tests/") or not path.endswith(".py") or any(fnmatch(path, root) for root in COMPOSITION_ROOTS):
        return
    tree = ast.parse(text)
    for line, module in _imports(tree):
        if module in ENVIRONMENT or module.split(".")[0] == "pydantic_settings":
            yield f"{path}:{line}: {module} reads the environment outside a composition root"
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and ast.unparse(node) in ENVIRONMENT:
            yield f"{path}:{node.lineno}: {ast.unparse(node)} outside a composition root"


def sizes(path: str, text: str) -> Iterator[str]:
    if not path.endswith(SIZED) or any(fnmatch(path, pattern) for pattern in GENERATED):
        return
    lines = text.count("\n")
    if lines > FILE_LINES_MAX:
        yield f"{path}: {lines} lines, at most {FILE_LINES_MAX} are wanted"
    if not path.endswith(".py"):
        return
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            if length > FUNCTION_LINES_MAX:
                yield f"{path}:{node.lineno}: {node.name} has {length} lines, at most {FUNCTION_LINES_MAX} are wanted"


def no_place_of_this_machine(path: str, text: str) -> Iterator[str]:
    """No registry host, machine path or credential."""
    for number, line in enumerate(text.splitlines(), 1):
        for what, pattern in (
            ("a package registry", REGISTRY),
            ("a path of one machine", MACHINE_PATH),
            ("a credential", CREDENTIAL),
        ):
            if found := pattern.search(line):
                yield f"{path}:{number}: names {what}: {found.group(0)}"


def nothing_left_to_do(path: str, text: str) -> Iterator[str]:
    """Allowed where the line names a page of docs/decisions."""
    for number, line in enumerate(text.splitlines(), 1):
        if TO_DO.search(line):
            yield f"{path}:{number}: {line.strip()[:80]}"


def whole_words(path: str, text: str) -> Iterator[str]:
    """STYLE: no file or folder is called by a word that says nothing."""
    for part in PurePosixPath(path).parts:
        if re.fullmatch(r"_*(?:utils?|commons?|helpers?|base|managers?|misc)", part.split(".")[0], re.IGNORECASE):
            yield f"{path}: {part} says nothing about what is in it"


RULES: tuple[Rule, ...] = (
    drivers_in_files_named_for_them,
    environment_in_composition_roots,
    sizes,
    no_place_of_this_machine,
    nothing_left_to_do,
    whole_words,
)


def _imports(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Line and module (for `from m import n` both `m` and `m.n`), wherever the import stands."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            yield node.lineno, node.module
            yield from ((node.lineno, f"{node.module}.{alias.name}") for alias in node.names)
