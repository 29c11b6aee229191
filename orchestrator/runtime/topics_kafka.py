"""Topics on a real broker: create what is missing, say what is wrong. Nothing that exists is ever changed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import KafkaError, for_code

from contracts.topics import INBOX, RETENTION_MS, TopicSpec
from orchestrator.runtime.group_start_kafka import commit_start
from orchestrator.runtime.groups import ENGINE_GROUP
from orchestrator.runtime.log import LogUnavailable

REPLICAS_WANTED = 3
"""Copies of each partition, where the cluster has as many brokers."""
LEADERS_WAIT_S = 30.0
"""How long new partitions may take to have leaders."""
LEADERS_POLL_S = 0.1
ERROR_TOPIC_EXISTS = 36
"""Kafka's code for TOPIC_ALREADY_EXISTS: somebody else was faster."""
NO_LEADER = -1


class TopicsFailed(RuntimeError):
    """The broker refused to create a topic, or its partitions got no leaders in time."""


@dataclass(frozen=True, slots=True)
class TopicsReport:
    """`created`: topics that were (in a dry run: would be) created. `problems`: one sentence each."""

    created: tuple[str, ...]
    unchanged: tuple[str, ...]
    problems: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Found:
    """What the cluster has: partitions with a leader and in all, and settings, by topic."""

    partitions: dict[str, int]
    led: dict[str, int]


class KafkaTopics:
    """One admin connection; use as `async with`."""

    def __init__(self, bootstrap: str) -> None:
        self._bootstrap = bootstrap
        self._admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap, request_timeout_ms=15_000)

    async def __aenter__(self) -> KafkaTopics:
        """Raises aiokafka's KafkaConnectionError if the broker is away."""
        await self._admin.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._admin.close()

    async def apply(self, specs: Sequence[TopicSpec], *, dry_run: bool = False) -> TopicsReport:
        """Create what is missing (not in a dry run) and wait until it can be used; check the rest.

        Raises:
            TopicsFailed: a topic could not be created.
        """
        found = await self._found([spec.name for spec in specs])
        missing = [spec for spec in specs if spec.name not in found.partitions]
        existing = [spec for spec in specs if spec.name in found.partitions]
        if missing and not dry_run:
            await self._create(missing)
            if any(spec.name == INBOX for spec in missing):
                await commit_start(
                    self._bootstrap, ENGINE_GROUP, INBOX
                )  # a person may write to it before an engine runs
        problems = await self._problems(existing, found)
        return TopicsReport(
            tuple(spec.name for spec in missing), tuple(spec.name for spec in existing), tuple(problems)
        )

    async def check(self, specs: Sequence[TopicSpec]) -> tuple[str, ...]:
        """What a program must know before it starts: missing topics and wrong settings, one sentence each."""
        found = await self._found([spec.name for spec in specs])
        missing = [spec.name for spec in specs if spec.name not in found.partitions]
        problems = await self._problems([spec for spec in specs if spec.name in found.partitions], found)
        if missing:
            problems.insert(0, f"topics are missing ({', '.join(missing)}): run `counterpoint topics apply`")
        return tuple(problems)

    async def _found(self, names: Sequence[str]) -> _Found:
        known = set(await self._admin.list_topics())
        wanted = [name for name in names if name in known]
        if not wanted:
            return _Found({}, {})
        described = await self._admin.describe_topics(wanted)
        partitions = {topic["topic"]: topic["partitions"] for topic in described if topic["error_code"] == 0}
        led = {name: sum(one["leader"] != NO_LEADER for one in found) for name, found in partitions.items()}
        return _Found({name: len(found) for name, found in partitions.items()}, led)

    async def _create(self, specs: Sequence[TopicSpec]) -> None:
        brokers = len((await self._admin.describe_cluster())["brokers"])
        replicas = min(REPLICAS_WANTED, brokers)
        topics = [NewTopic(spec.name, spec.partitions, replicas, topic_configs=spec.configs) for spec in specs]
        try:
            response = await self._admin.create_topics(topics)
        except KafkaError as error:
            raise TopicsFailed(f"topics could not be created: {error!r}") from error
        for name, code, *detail in response.topic_errors:
            if code not in (0, ERROR_TOPIC_EXISTS):
                reason = next((text for text in detail if text), for_code(code).__name__)
                raise TopicsFailed(f"topic {name} could not be created: {reason}")
        await self._wait_for_leaders(specs)
        await self._wait_until_served(specs)

    async def _wait_until_served(self, specs: Sequence[TopicSpec]) -> None:
        """A leader is named before its broker serves the partition; until then every client is told to look for another
        leader. A broker that tells the end of a partition serves it."""
        consumer = AIOKafkaConsumer(bootstrap_servers=self._bootstrap, enable_auto_commit=False)
        await consumer.start()
        try:
            partitions = [TopicPartition(spec.name, number) for spec in specs for number in range(spec.partitions)]
            consumer.assign(partitions)
            async with asyncio.timeout(LEADERS_WAIT_S):
                await consumer.end_offsets(partitions)
        except (KafkaError, TimeoutError) as error:
            raise TopicsFailed(f"the new topics are not served after {LEADERS_WAIT_S:.0f} s: {error!r}") from error
        finally:
            await consumer.stop()

    async def _wait_for_leaders(self, specs: Sequence[TopicSpec]) -> None:
        """A client that meets a partition without a leader retries for long: let it meet none."""
        loop = asyncio.get_running_loop()
        until = loop.time() + LEADERS_WAIT_S
        while True:
            found = await self._found([spec.name for spec in specs])
            waiting = [spec.name for spec in specs if found.led.get(spec.name, 0) < spec.partitions]
            if not waiting:
                return
            if loop.time() > until:
                raise TopicsFailed(f"no leaders after {LEADERS_WAIT_S:.0f} s: {', '.join(waiting)}")
            await asyncio.sleep(LEADERS_POLL_S)

    async def _problems(self, specs: Sequence[TopicSpec], found: _Found) -> list[str]:
        settings = await self._settings(ConfigResourceType.TOPIC, [spec.name for spec in specs])
        problems = [
            problem
            for spec in specs
            for problem in topic_problems(spec, found.partitions[spec.name], settings.get(spec.name, {}))
        ]
        broker = (await self._admin.describe_cluster())["brokers"][0]["node_id"]
        problems.extend(broker_problems((await self._settings(ConfigResourceType.BROKER, [broker]))[str(broker)]))
        return problems

    async def _settings(self, kind: Any, names: Sequence[str | int]) -> dict[str, dict[str, str]]:
        """Settings by resource name. A broker may forbid the question; then nothing is known of that resource."""
        if not names:
            return {}
        responses = await self._admin.describe_configs([ConfigResource(kind, str(name)) for name in names])
        found: dict[str, dict[str, str]] = {str(name): {} for name in names}
        for response in responses:
            for code, _message, _kind, name, entries in response.resources:
                if code == 0:
                    found[name] = {entry[0]: entry[1] for entry in entries}
        return found


async def start_problems(bootstrap: str, specs: Sequence[TopicSpec]) -> tuple[str, ...]:
    """What `KafkaTopics.check` finds, for a program that starts. Raises LogUnavailable if the broker is away."""
    try:
        async with KafkaTopics(bootstrap) as topics:
            return await topics.check(specs)
    except (KafkaError, OSError, TimeoutError) as error:
        raise LogUnavailable(f"Kafka at {bootstrap} is away: {error!r}") from error


def topic_problems(spec: TopicSpec, partitions: int, settings: Mapping[str, str]) -> Iterator[str]:
    """What differs from `spec`, one sentence each. Limits may be larger than asked for; the rest must be equal."""
    if partitions != spec.partitions:
        yield (
            f"topic {spec.name} has {partitions} partitions, not {spec.partitions}: keys would go elsewhere; "
            "move its records to a new topic"
        )
    for name, wanted in spec.configs.items():
        found = settings.get(name)
        if found is not None and not _fits(name, wanted, found):
            yield f"topic {spec.name} has {name}={found}, not {wanted}"
    kept = settings.get("retention.ms")
    if spec.retention_max_ms is not None and kept is not None and not 0 <= int(kept) <= spec.retention_max_ms:
        yield (
            f"topic {spec.name} has retention.ms={kept}, but that a process was there is remembered for"
            f" {spec.retention_max_ms} ms only: an older record could start it again; set retention.ms to at most that"
        )


def _fits(name: str, wanted: str, found: str) -> bool:
    rule: Callable[[int, int], bool] | None = _AT_LEAST.get(name)
    if rule is None:
        return found == wanted
    return rule(int(wanted), int(found))


def _retained_as_long(wanted: int, found: int) -> bool:
    return found == -1 or (wanted != -1 and found >= wanted)


_AT_LEAST: dict[str, Callable[[int, int], bool]] = {"retention.ms": _retained_as_long}


def broker_problems(settings: Mapping[str, str]) -> Iterator[str]:
    """A committed offset must outlive the records that it speaks of (DESIGN section 2)."""
    minutes = settings.get("offsets.retention.minutes")
    if minutes is not None and int(minutes) * 60_000 < RETENTION_MS:
        yield (
            f"the broker keeps group offsets for {minutes} minutes, but the inbox is kept for "
            f"{RETENTION_MS // 60_000}: set offsets.retention.minutes to at least that"
        )
    if settings.get("auto.create.topics.enable") == "true":
        yield "the broker creates topics by itself: set auto.create.topics.enable=false"
