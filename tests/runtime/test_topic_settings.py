"""What a program must know of topics and broker before it starts, each told in one sentence."""

from __future__ import annotations

import pytest

from contracts.topics import (
    INBOX,
    RETENTION_MS,
    SNAPSHOTS,
    TOMBSTONE_MS,
    TopicSpec,
    domain_topics,
    orchestrator_topics,
)
from orchestrator.runtime.topics_kafka import broker_problems, topic_problems

SPECS = {spec.name: spec for spec in (*domain_topics(("orders",)), *orchestrator_topics())}
EVENTS, COMMANDS = SPECS["orders.events"], SPECS["orders.commands"]


def problems(spec: TopicSpec, partitions: int | None = None, **settings: str) -> list[str]:
    found = spec.configs | {name.replace("_", "."): value for name, value in settings.items()}
    return list(topic_problems(spec, spec.partitions if partitions is None else partitions, found))


@pytest.mark.parametrize("name", SPECS)
def test_a_topic_as_it_was_asked_for_is_sound(name: str) -> None:
    assert problems(SPECS[name]) == []


@pytest.mark.parametrize("name", [INBOX, SNAPSHOTS])
def test_another_number_of_partitions_is_refused(name: str) -> None:
    (problem,) = problems(SPECS[name], partitions=12)
    assert problem.startswith(f"topic {name} has 12 partitions, not 64")


def test_snapshots_that_are_deleted_instead_of_compacted_are_refused() -> None:
    (problem,) = problems(SPECS[SNAPSHOTS], cleanup_policy="delete")
    assert "cleanup.policy=delete" in problem


@pytest.mark.parametrize("kept", [str(TOMBSTONE_MS + 1), "-1"])
def test_what_sagas_start_on_is_not_kept_longer_than_what_has_ended_is_remembered(kept: str) -> None:
    (problem,) = problems(EVENTS, retention_ms=kept)
    assert f"retention.ms={kept}" in problem and "start it again" in problem
    assert problems(EVENTS, retention_ms=str(TOMBSTONE_MS)) == []
    assert problems(COMMANDS, retention_ms=kept) == [], "no saga starts on a command"


def test_group_offsets_that_do_not_outlive_the_inbox_are_refused() -> None:
    minutes = RETENTION_MS // 60_000
    (problem,) = broker_problems({"offsets.retention.minutes": str(minutes - 1)})
    assert "offsets.retention.minutes" in problem
    assert list(broker_problems({"offsets.retention.minutes": str(minutes)})) == []
    assert list(broker_problems({"auto.create.topics.enable": "true"})) != []
