"""A look at shards that are at work: none is taken for damaged because it went on between two questions."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import cast

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition

from contracts.topics import SHARDS
from deploy.chaos import inbox_look
from deploy.chaos.inbox_look import take_look
from deploy.chaos.promises import damaged


class Busy:
    """Every question finds the inbox a little longer, and all of it folded and committed already."""

    def __init__(self) -> None:
        self.end = 10

    def _grown(self) -> int:
        self.end += 1
        return self.end

    def assign(self, places: Sequence[TopicPartition]) -> None:
        self.assigned = len(places)

    async def beginning_offsets(self, places: Sequence[TopicPartition]) -> dict[TopicPartition, int]:
        return dict.fromkeys(places, self._grown() - 5)

    async def end_offsets(self, places: Sequence[TopicPartition]) -> dict[TopicPartition, int]:
        return dict.fromkeys(places, self._grown())

    async def committed(self, place: TopicPartition) -> int:
        return self._grown()

    async def kept(self, redis_url: str) -> tuple[Mapping[int, int | None], frozenset[str]]:
        return dict.fromkeys(range(SHARDS), self._grown()), frozenset((redis_url,))


async def test_a_shard_that_goes_on_meanwhile_is_sound(monkeypatch: pytest.MonkeyPatch) -> None:
    busy = Busy()

    @asynccontextmanager
    async def consumer(kafka: str, group: str) -> AsyncIterator[AIOKafkaConsumer]:
        yield cast(AIOKafkaConsumer, busy)

    monkeypatch.setattr(inbox_look, "_consumer", consumer)
    monkeypatch.setattr(inbox_look, "_kept", busy.kept)
    look = await take_look("kafka", "redis", "group")
    assert busy.assigned == SHARDS == len(look.bounds)
    assert damaged(look) == set()
