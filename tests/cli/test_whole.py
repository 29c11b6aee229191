"""What holds for the whole command line: help, the stack being away, `verify` and `topics`."""

from __future__ import annotations

import json
import socket
import time
from typing import Any

import pytest

from contracts.orders import OrderPlaced
from contracts.topics import INBOX
from orchestrator.language import Saga, command, sequence
from orchestrator.sagas.order_fulfilment import charge, reserve

COMMANDS = (
    "list", "show", "retry", "skip", "compensate", "recover", "publish", "verify", "draw", "try", "versions",
    "versions drop", "topics apply", "dead-letters list", "dead-letters show",
)  # fmt: skip


@pytest.mark.parametrize("words", ["", *COMMANDS])
def test_help_helps_with_examples(counterpoint: Any, words: str) -> None:
    result = counterpoint(*words.split(), "--help")
    assert result.exit_code == 0
    assert "counterpoint " in result.stdout.split("Usage")[1].split("\n", 1)[1]


@pytest.mark.parametrize("words", COMMANDS)
def test_json_and_endpoints_are_taken_everywhere(counterpoint: Any, words: str) -> None:
    text = counterpoint(*words.split(), "--help").stdout
    assert "--json" in text and "--endpoints" in text


STACK_COMMANDS = (
    ("list",),
    ("show", "order-fulfilment:o1"),
    ("retry", "order-fulfilment:o1"),
    ("topics", "apply"),
    ("recover", "--all"),
    ("dead-letters", "list"),
    ("versions",),
    ("publish", "payment.declined.v1", "-"),
)


@pytest.mark.parametrize("words", STACK_COMMANDS)
def test_a_stack_that_is_away_is_one_sentence_and_exit_code_4(counterpoint: Any, words: tuple[str, ...]) -> None:
    payload = '{"order_id": "o1", "code": "c"}'
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    address = f"127.0.0.1:{port}"
    redis = {"orchestrator": f"redis://{address}/0", "services": f"redis://{address}/0"}
    file = counterpoint.endpoints.with_name("away.json")
    file.write_text(json.dumps({"kafka": address, "redis": redis}))
    began = time.monotonic()
    result = counterpoint(*words, "--json", "--endpoints", str(file), stdin=payload)
    assert (result.exit_code, result.stdout) == (4, "")
    assert f"nothing answers at {address}" in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert time.monotonic() - began < 5


@pytest.mark.parametrize("words", STACK_COMMANDS)
def test_no_endpoints_file_is_exit_code_4_too(counterpoint: Any, words: tuple[str, ...]) -> None:
    blind = counterpoint.changed(environment={})
    result = blind(*words, stdin='{"order_id": "o1", "code": "c"}')
    assert result.exit_code == 4
    assert "make up" in result.stderr


def test_a_driver_that_fails_midway_is_the_stack_being_away(counterpoint: Any, world: Any) -> None:
    world.connections.failure = ConnectionResetError("reset")
    assert counterpoint("list").exit_code == 4
    world.connections.failure = ZeroDivisionError("a bug of ours")
    assert isinstance(counterpoint("list").exception, ZeroDivisionError)


def test_verify_proves_the_sagas_of_this_build_without_a_stack(counterpoint: Any) -> None:
    blind = counterpoint.changed(environment={})
    assert "proven" in blind("verify").stdout
    assert blind.json("verify", "order-fulfilment") == []
    unknown = blind("verify", "moon-landing")
    assert unknown.exit_code == 3
    assert "there are order-fulfilment" in unknown.stderr


def test_verify_prints_findings_with_place_rule_and_fix(counterpoint: Any) -> None:
    broken = Saga(
        name="broken",
        version=1,
        starts_on=OrderPlaced,
        key=lambda order: order.order_id,
        body=sequence(command(reserve), command(charge)),
    )
    careless = counterpoint.changed(sagas=(broken,))
    result = careless("verify")
    assert result.exit_code == 1
    assert "test_whole.py:" in result.stdout and "irreversible" in result.stdout and "fix:" in result.stdout
    printed = careless("verify", "--json")
    assert printed.exit_code == 1
    assert {"file", "line", "saga", "rule", "message", "fix", "path"} <= set(json.loads(printed.stdout)[0])


def test_topics_apply_creates_what_is_missing(counterpoint: Any, world: Any) -> None:
    world.connections.existing = {INBOX}
    planned = counterpoint.json("topics", "apply", "--dry-run")
    assert INBOX in planned["unchanged"]
    assert {"orders.events", "payment.dead-letters", "orchestrator.events"} <= set(planned["would_create"])
    assert world.connections.existing == {INBOX}
    assert counterpoint.json("topics", "apply")["created"] == planned["would_create"]
    assert "0 created" in counterpoint("topics", "apply").stdout


def test_topics_that_differ_are_told_one_sentence_each_and_refused(counterpoint: Any, world: Any) -> None:
    world.connections.problems = ("orchestrator.inbox has 12 partitions, but 64 are wanted",)
    result = counterpoint("topics", "apply", "--json")
    assert result.exit_code == 1
    assert "orchestrator.inbox has 12 partitions" in result.stderr
    assert json.loads(result.stdout)["problems"] == list(world.connections.problems)
