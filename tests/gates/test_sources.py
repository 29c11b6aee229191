"""Rules about single files hold for every tracked file, and each is seen to fire on a planted violation."""

from __future__ import annotations

import subprocess
import sys
from functools import cache

import pytest

from tests.gates import source_rules as rules
from tests.gates.repository import ROOT, tracked_files

LONG_FUNCTION = "def long() -> None:\n" + "    pass\n" * 60
SLASH = "/"


@cache
def text_of(path: str) -> str | None:
    """None: the file is not text."""
    try:
        return (ROOT / path).read_text(encoding="utf-8")
    except UnicodeDecodeError:
        return None


@pytest.mark.parametrize("rule", rules.RULES, ids=lambda rule: rule.__name__)
def test_every_tracked_file_keeps_the_rule(rule: rules.Rule) -> None:
    found: list[str] = []
    for path in tracked_files():
        text = text_of(path)
        if text is not None:
            found.extend(rule(path, text))
    assert found == []


PLANTED = (
    (rules.drivers_in_files_named_for_them, "services/payment/gateway.py", "import httpx\n"),
    (rules.drivers_in_files_named_for_them, "services/sdk/host.py", "from aiokafka import AIOKafkaProducer\n"),
    (rules.drivers_in_files_named_for_them, "orchestrator/runtime/store.py", "def f():\n    import redis.asyncio\n"),
    (rules.environment_in_composition_roots, "services/sdk/host.py", "import os\nx = os.environ['A']\n"),
    (rules.environment_in_composition_roots, "operations/endpoints.py", "import os\nx = os.getenv('A')\n"),
    (rules.environment_in_composition_roots, "orchestrator/cli/app.py", "from os import environ\n"),
    (
        rules.environment_in_composition_roots,
        "services/payment/options.py",
        "from pydantic_settings import BaseSettings\n",
    ),
    (rules.sizes, "services/sdk/host.py", "\n" * 451),
    (rules.sizes, "services/inventory/reserve.lua", "\n" * 451),
    (rules.sizes, "services/sdk/host.py", LONG_FUNCTION),
    (rules.sizes, "services/sdk/host.py", LONG_FUNCTION.replace("def", "async def")),
    (rules.no_place_of_this_machine, "requirements.lock", "https://files.pythonhosted" + ".org/packages/a.whl\n"),
    (rules.no_place_of_this_machine, "requirements.lock", "--index" + "-url https://example.test/simple\n"),
    (
        rules.no_place_of_this_machine,
        "package-lock.json",
        f'"resolved": "https:{SLASH * 2}registry.example.test/a.tgz"\n',
    ),
    (
        rules.no_place_of_this_machine,
        "deploy/local/kafka/pom.xml",
        "<url>https://repo." + "maven.example.test/</url>\n",
    ),
    (rules.no_place_of_this_machine, "README.md", f"cd {SLASH}work{SLASH}main\n"),
    (rules.no_place_of_this_machine, "README.md", f"see {SLASH}home{SLASH}ann{SLASH}notes\n"),
    (rules.no_place_of_this_machine, "deploy/values.yaml", "redis://user:" + "secret@example.test\n"),
    (rules.nothing_left_to_do, "services/sdk/host.py", "# TO" + "DO: later\n"),
    (rules.nothing_left_to_do, "docs/protocol.md", "FIX" + "ME\n"),
    (rules.whole_words, "services/sdk/utils.py", ""),
    (rules.whole_words, "orchestrator/common/order.py", ""),
)


@pytest.mark.parametrize(("rule", "path", "text"), PLANTED)
def test_a_planted_violation_is_found(rule: rules.Rule, path: str, text: str) -> None:
    found = list(rule(path, text))
    assert found
    assert all(finding.startswith(path) for finding in found)


def test_every_rule_has_a_planted_violation() -> None:
    assert {rule for rule, _, _ in PLANTED} == set(rules.RULES)


@pytest.mark.parametrize(
    ("rule", "path", "text"),
    (
        (rules.drivers_in_files_named_for_them, "services/payment/gateway_http.py", "import httpx\n"),
        (rules.drivers_in_files_named_for_them, "tests/sdk/test_host.py", "import aiokafka\n"),
        (rules.environment_in_composition_roots, "services/__main__.py", "import os\nx = os.environ\n"),
        (rules.environment_in_composition_roots, "services/sdk/host.py", "def f(environ): return environ.get('A')\n"),
        (rules.sizes, "contracts/schemas/orders.placed.v1.json", "\n" * 1000),
        (rules.sizes, "services/sdk/host.py", LONG_FUNCTION.replace("    pass\n", "", 1)),
        (rules.no_place_of_this_machine, "pom.xml", 'xmlns="http://mav' + 'en.apache.org/POM/4.0.0"\n'),
        (rules.no_place_of_this_machine, "README.md", "the framework/wo" + "rk/flow of one worker\n"),
        (rules.nothing_left_to_do, "services/sdk/host.py", "# TO" + "DO: see docs/decisions/0052-gates.md\n"),
    ),
)
def test_what_is_allowed_is_not_found(rule: rules.Rule, path: str, text: str) -> None:
    assert list(rule(path, text)) == []


BANNED = (
    ("from datetime import datetime, UTC\nx = datetime.now(UTC)\n", "datetime.datetime.now"),
    ("import datetime\nx = datetime.datetime.utcnow()\n", "datetime.datetime.utcnow"),
    ("from datetime import date\nx = date.today()\n", "datetime.date.today"),
    ("import time\nx = time.time()\n", "time.time"),
    ("from time import monotonic\n", "time.monotonic"),
    ("import uuid\nx = uuid.uuid4()\n", "uuid.uuid4"),
    ("from random import random\n", "random.random"),
    ("import secrets\n", "secrets"),
    ("import os\nx = os.urandom(8)\n", "os.urandom"),
)


def banned_in(path: str, text: str) -> str:
    command = [sys.executable, "-m", "ruff", "check", "--select", "TID251", "--output-format", "concise"]
    done = subprocess.run(
        [*command, "--stdin-filename", path, "-"], cwd=ROOT, input=text, capture_output=True, text=True, check=False
    )
    return done.stdout


@pytest.mark.parametrize(("text", "name"), BANNED, ids=[name for _, name in BANNED])
def test_time_chance_and_random_ids_are_arguments(text: str, name: str) -> None:
    assert f"TID251 `{name}` is banned" in banned_in("orchestrator/runtime/shard.py", text)


def test_they_come_from_composition_roots_and_surroundings() -> None:
    everything = "".join(text for text, _ in BANNED)
    for path in (
        "orchestrator/app.py",
        "services/__main__.py",
        "services/sdk/surroundings.py",
        "deploy/demo/orders.py",
    ):
        assert "TID251" not in banned_in(path, everything)
    assert banned_in("contracts/orders.py", everything).count("TID251") >= len(BANNED)
