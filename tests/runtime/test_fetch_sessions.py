"""Incremental fetches against a broker that keeps sessions as KIP-227 says: whatever happens on the way, the broker
looks at exactly the partitions, and from exactly the offsets, that the client asks for."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest
from aiokafka.errors import KafkaConnectionError
from aiokafka.protocol.fetch import FetchRequest, FetchRequest_v4, FetchRequest_v11
from aiokafka.protocol.metadata import MetadataRequest

from operations.fetch_sessions_kafka import EPOCH_MAX, FetchSessions

TOPICS = {"inbox": 6, "events": 3}
MOST_BYTES = 1_000
ID_NOT_FOUND, BAD_EPOCH = 70, 71
Place = tuple[str, int]


class SessionBroker:
    """`seen`: what the last fetch was about, partition -> offset, as the broker has understood it."""

    def __init__(self) -> None:
        self.sessions: dict[int, tuple[int, dict[Place, int]]] = {}
        """Id -> the epoch it expects, and what it is asked for."""
        self.full = False
        """No room for new sessions."""
        self.seen: dict[Place, int] = {}
        self.named = 0
        self.ids = 0

    def fetch(self, request: Any) -> Any:
        # (replica, wait, min bytes, max bytes, isolation, session, epoch, topics, forgotten, rack)
        session, epoch = request.session_id, request.session_epoch
        asked = {(topic, row[0]): row[2] for topic, rows in request.topics for row in rows}
        self.named = len(asked)
        if epoch <= 0:
            self.seen = asked
            if epoch < 0 or self.full:
                return _answer(0, 0)
            self.ids += 1
            self.sessions[self.ids] = (1, asked)
            return _answer(0, self.ids)
        if session not in self.sessions:
            return _answer(ID_NOT_FOUND, session)
        expected, kept = self.sessions[session]
        if epoch != expected:
            return _answer(BAD_EPOCH, session)
        for topic, numbers in request.forgotten_topics_data:
            for number in numbers:
                del kept[topic, number]
        kept.update(asked)
        self.sessions[session] = (expected + 1, kept)
        self.seen = dict(kept)
        return _answer(0, session)


def _answer(code: int, session: int) -> Any:
    return FetchRequest_v11.RESPONSE_TYPE(0, code, session, [])


class Client:
    """aiokafka's `send`. `struck`: the next fetch reaches the broker, and its answer does not come back."""

    def __init__(self, broker: SessionBroker) -> None:
        self.broker = broker
        self.struck = False
        self.other: list[object] = []

    async def send(self, node: int, request: Any, *, group: str = "default") -> Any:
        if not isinstance(request, FetchRequest):
            self.other.append((node, request, group))
            return "answered"
        answer = self.broker.fetch(request.build(FetchRequest_v11))
        if self.struck:
            self.struck = False
            raise KafkaConnectionError("cut")
        return answer


def _request(wanted: dict[Place, int]) -> FetchRequest:
    topics: dict[str, list[tuple[int, int, int]]] = {}
    for (topic, number), offset in wanted.items():
        topics.setdefault(topic, []).append((number, offset, MOST_BYTES))
    return FetchRequest(250, 1, 16_000, 0, list(topics.items()))


@pytest.mark.parametrize("seed", range(30))
async def test_the_broker_looks_where_the_client_asks(seed: int) -> None:
    random, broker = Random(seed), SessionBroker()
    client = Client(broker)
    sessions = FetchSessions(client.send)
    offsets: dict[Place, int] = {(topic, n): 0 for topic, count in TOPICS.items() for n in range(count)}
    answered = 0
    for _ in range(300):
        for place in random.sample(sorted(offsets), random.randint(0, 3)):
            offsets[place] = max(0, offsets[place] + random.choice((1, 1, 5, -2)))
        paused = set(random.sample(sorted(offsets), random.choice((0, 0, 1, 4))))
        wanted = {place: offset for place, offset in offsets.items() if place not in paused}
        broker.full = random.random() < 0.05
        if random.random() < 0.03:
            broker.sessions.clear()
        client.struck = random.random() < 0.05
        try:
            answer = await sessions.send(0, _request(wanted))
        except KafkaConnectionError:
            continue
        if answer.error_code == 0:
            answered += 1
            assert broker.seen == wanted
    assert answered > 250, "an error is followed by a fetch that begins anew"


async def test_only_what_has_changed_is_named() -> None:
    broker = SessionBroker()
    sessions = FetchSessions(Client(broker).send)
    wanted = {("inbox", n): 0 for n in range(6)}
    await sessions.send(0, _request(wanted))
    assert broker.named == 6
    await sessions.send(0, _request(wanted | {("inbox", 3): 7}))
    assert broker.named == 1 and broker.seen["inbox", 3] == 7
    await sessions.send(0, _request({("inbox", 3): 7}))
    assert broker.named == 0 and broker.seen == {("inbox", 3): 7}


async def test_nodes_have_sessions_of_their_own() -> None:
    brokers = (SessionBroker(), SessionBroker())

    async def send(node: int, request: Any) -> Any:
        return await Client(brokers[node]).send(node, request)

    sessions = FetchSessions(send)
    for _ in range(2):
        await sessions.send(0, _request({("inbox", 0): 1}))
        await sessions.send(1, _request({("inbox", 1): 2}))
    assert brokers[0].seen == {("inbox", 0): 1} and brokers[1].seen == {("inbox", 1): 2}


async def test_the_number_of_a_fetch_begins_again_before_it_is_too_large() -> None:
    broker = SessionBroker()
    sessions = FetchSessions(Client(broker).send)
    await sessions.send(0, _request({("inbox", 0): 1}))
    sessions._sessions[0].epoch = EPOCH_MAX
    broker.sessions[1] = (EPOCH_MAX, broker.sessions[1][1])
    await sessions.send(0, _request({("inbox", 0): 2}))
    assert sessions._sessions[0].epoch == 1


async def test_other_requests_and_old_brokers_are_left_alone() -> None:
    client = Client(SessionBroker())
    sessions = FetchSessions(client.send)
    metadata = MetadataRequest(["inbox"])
    assert await sessions.send(3, metadata, group="coordination") == "answered"
    assert client.other == [(3, metadata, "coordination")]

    asked: list[Any] = []

    async def old(node: int, request: Any) -> Any:
        asked.append(request.build(FetchRequest_v4))
        return FetchRequest_v4.RESPONSE_TYPE(0, [])

    for _ in range(2):
        await FetchSessions(old).send(0, _request({("inbox", 0): 1}))
    assert [one.topics for one in asked] == [[("inbox", [(0, 1, MOST_BYTES)])]] * 2
