"""Definitions that nothing could work with are refused where they are written (the rest is for `verify` to find)."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from orchestrator.language import Retry, Saga, SagaError, sequence
from orchestrator.testkit.lab import Begun, lab_saga, step, told


@pytest.mark.parametrize(
    "policy",
    [
        {"attempts": 0},
        {"attempts": 101},
        {"factor": 0.5},
        {"factor": 1e9},
        {"factor": float("nan")},
        {"first": timedelta(seconds=-1)},
        {"first": timedelta(minutes=2)},
    ],
)
def test_a_retry_policy_that_cannot_be_meant(policy: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        Retry(**policy)


def test_the_longest_policy_can_be_computed() -> None:
    policy = Retry(attempts=100, factor=1_000, first=timedelta(milliseconds=1), maximum=timedelta(hours=1))
    assert [policy.delay_ms(n) for n in (1, 2, 3, 99)] == [1, 1_000, 1_000_000, 3_600_000]
    assert Retry(first=timedelta(0)).delay_ms(5) == 0


@pytest.mark.parametrize(
    "changes",
    [
        {"name": "Lab"},
        {"name": "a--b"},
        {"version": 0},
        {"body": sequence(step("a"), step("a"))},
        {"body": sequence(step("a"), told("a"))},
        {"body": step("a"), "cancelled": told("a")},
        {"body": step("a/b")},
    ],
)
def test_a_saga_that_cannot_be_meant(changes: dict[str, Any]) -> None:
    whole: dict[str, Any] = {"name": "lab", "version": 1, "starts_on": Begun, "key": str, "body": sequence()}
    with pytest.raises(SagaError):
        Saga(**(whole | changes))


def test_where_it_was_written_is_known() -> None:
    assert lab_saga(step("a")).location.file.endswith("lab.py")
