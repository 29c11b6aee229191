"""The topics, their settings and the numbers behind them (DESIGN section 3)."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

INBOX = "orchestrator.inbox"
SNAPSHOTS = "orchestrator.snapshots"
LIFECYCLE = "orchestrator.events"
ORCHESTRATOR_DEAD_LETTERS = "orchestrator.dead-letters"
ORCHESTRATOR_REPLAYS = "orchestrator.replays"

SHARDS = 64
"""Partitions of the inbox: frozen, since a process's shard is murmur2(process id) mod this."""
DOMAIN_PARTITIONS = 12
DAY_MS = 24 * 60 * 60 * 1000
RETENTION_MS = 7 * DAY_MS
TOMBSTONE_MS = RETENTION_MS + DAY_MS
"""How long it is remembered that a process was there: no shorter than the topics are kept on which sagas start, so that
none of their records starts it again. A start record that is older is given up."""
DEAD_LETTER_RETENTION_MS = 30 * DAY_MS
MESSAGE_BYTES_MAX = 1024 * 1024
"""A larger message is refused to its publisher by the broker."""
INBOX_BYTES_MAX = MESSAGE_BYTES_MAX + 64 * 1024
"""Room for the headers that the router adds to a message of the full size."""


@dataclass(frozen=True, slots=True)
class TopicSpec:
    name: str
    partitions: int
    configs: dict[str, str] = field(default_factory=dict)
    retention_max_ms: int | None = None
    """Records must not be kept longer: sagas start on them, and what has ended is remembered for so long."""


def commands_topic(context: str) -> str:
    return f"{context}.commands"


def events_topic(context: str) -> str:
    return f"{context}.events"


def dead_letters_topic(service: str) -> str:
    return f"{service}.dead-letters"


def replays_topic(service: str) -> str:
    return f"{service}.replays"


def _spec(name: str, partitions: int, retention_ms: int, bytes_max: int, **more: str) -> TopicSpec:
    configs = {
        "message.timestamp.type": "LogAppendTime",
        "max.message.bytes": str(bytes_max),
        "retention.ms": str(retention_ms),
    }
    return TopicSpec(name, partitions, configs | {key.replace("_", "."): value for key, value in more.items()})


def domain_topics(contexts: tuple[str, ...]) -> tuple[TopicSpec, ...]:
    """`<context>.commands` and `<context>.events` of each context."""
    return tuple(
        replace(_spec(name, DOMAIN_PARTITIONS, RETENTION_MS, MESSAGE_BYTES_MAX), retention_max_ms=kept_ms)
        for context in contexts
        for name, kept_ms in ((commands_topic(context), None), (events_topic(context), TOMBSTONE_MS))
    )


def service_topics(services: tuple[str, ...]) -> tuple[TopicSpec, ...]:
    """`<service>.dead-letters` and `<service>.replays` of each service."""
    return tuple(
        _spec(name, DOMAIN_PARTITIONS, DEAD_LETTER_RETENTION_MS, INBOX_BYTES_MAX)
        for service in services
        for name in (dead_letters_topic(service), replays_topic(service))
    )


def orchestrator_topics() -> tuple[TopicSpec, ...]:
    return (
        _spec(INBOX, SHARDS, RETENTION_MS, INBOX_BYTES_MAX),
        _spec(SNAPSHOTS, SHARDS, -1, INBOX_BYTES_MAX, cleanup_policy="compact"),
        _spec(LIFECYCLE, DOMAIN_PARTITIONS, RETENTION_MS, MESSAGE_BYTES_MAX),
        _spec(ORCHESTRATOR_DEAD_LETTERS, DOMAIN_PARTITIONS, DEAD_LETTER_RETENTION_MS, INBOX_BYTES_MAX),
        _spec(ORCHESTRATOR_REPLAYS, DOMAIN_PARTITIONS, RETENTION_MS, INBOX_BYTES_MAX),
    )
