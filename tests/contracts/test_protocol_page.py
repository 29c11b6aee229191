"""docs/protocol.md is right: its examples are read by our codec and contracts, its tables name every reason."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import pytest

from contracts.catalog import standard_catalog
from contracts.envelope import decode_headers
from contracts.message import Command
from contracts.record import Headers
from contracts.technical import CommandFailed
from orchestrator.engine.decision import Reason as IgnoredReason
from orchestrator.runtime.dead_letters import DEAD_LETTER_REASONS
from services.sdk.reasons import Reason as ServiceReason

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "protocol.md").read_text(encoding="utf-8")
CATALOG = standard_catalog()


def examples() -> Iterator[tuple[str, str, Headers, bytes]]:
    """Topic, key, headers and value of each fenced record."""
    for block in re.findall(r"```text\n(.*?)```", PAGE, re.DOTALL):
        head, value = block.split("\n\n", 1)
        topic, key, *headers = head.splitlines()
        pairs = tuple(tuple(line.split(": ", 1)) for line in headers)
        yield (
            topic.removeprefix("topic "),
            key.removeprefix("key "),
            tuple((name, text.encode()) for name, text in pairs),
            value.strip().encode(),
        )


EXAMPLES = tuple(examples())


def test_there_is_one_example_of_each_kind() -> None:
    kinds = [dict(headers)["ce_type"].decode() for _, _, headers, _ in EXAMPLES]
    assert kinds == [
        *("orders.placed.v1", "payment.charge.v1", "payment.captured.v1", "payment.declined.v1"),
        *("counterpoint.command-failed.v1", "payment.refund.v1", "payment.refunded.v1"),
        "orchestrator.process-compensating.v1",
    ]


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: dict(example[2])["ce_type"].decode())
def test_an_example_is_what_its_contract_says(example: tuple[str, str, Headers, bytes]) -> None:
    topic, key, headers, value = example
    envelope = decode_headers(headers)
    contract = CATALOG.require(envelope.type)
    message = contract.model_validate_json(value)
    assert topic == ("payment.events" if contract is CommandFailed else contract.topic)
    assert key == ("o1" if contract is CommandFailed else message.key)
    if issubclass(contract, Command):
        assert envelope.idempotency_key == envelope.id
        assert envelope.deadline and envelope.try_number == 1 and envelope.process_id
    elif topic == "payment.events":
        assert envelope.process_id == "order-fulfilment:o1"
        assert envelope.causation_id is not None and envelope.causation_id.startswith("order-fulfilment:o1/charge/")


def table(heading: str) -> set[str]:
    """The code words in the first column of the table whose header row begins with `heading`."""
    (rows,) = re.findall(rf"^\| {heading} \|.*\n\|---.*\n((?:\|.*\n)+)", PAGE, re.MULTILINE)
    return {word for row in rows.splitlines() for word in re.findall(r"`([a-z-]+)`", row.split("|")[1])}


def test_every_reason_for_ignoring_is_named() -> None:
    assert table("reason") == set(get_args(IgnoredReason))


def test_every_reason_for_a_dead_letter_is_named() -> None:
    assert table("`dl_reason`") == {str(reason) for reason in ServiceReason} | DEAD_LETTER_REASONS
