"""One suite for every adapter of the inbox: marks, outcomes, fences, revocations, positions, ownership."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from services.sdk.failures import StoreMovedError
from services.sdk.inbox_memory import MemoryInbox
from services.sdk.inbox_redis import RedisInbox, open_redis
from services.sdk.ports import Answer, Claim, Exchange, Found, Inbox, Place, Reply, Settlement
from tests.sdk.shared_stack import shared_endpoints, unique

PLACE = Place("sample.commands", 3)
OTHER = Place("sample.commands", 4)
PRINT = "p" * 32


@dataclass
class Session:
    """Numbers the exchanges of one owner, as a runner does."""

    inbox: Inbox
    owner: str
    token: str
    number: int = 0
    at: dict[Place, int] = field(default_factory=dict)

    async def take(self, at: dict[Place, int]) -> None:
        await self.inbox.take(self.owner, self.token, at)
        self.number, self.at = 0, dict(at)

    def exchange(
        self,
        claims: tuple[Claim, ...] = (),
        settlements: tuple[Settlement, ...] = (),
        to: dict[Place, int] | None = None,
    ) -> Exchange:
        positions = {place: (offset, (to or {}).get(place, offset)) for place, offset in self.at.items()}
        return Exchange(self.number + 1, positions, settlements, claims)

    async def send(self, exchange: Exchange) -> Reply:
        reply = await self.inbox.exchange(self.owner, self.token, exchange)
        self.number = exchange.number
        self.at = {place: after for place, (_, after) in exchange.positions.items()}
        return reply

    async def claim(self, identity: str, fence: str, **more: Any) -> Answer:
        claim = Claim(PLACE, identity, more.pop("fingerprint", PRINT), padded(fence), **more)
        return (await self.send(self.exchange(claims=(claim,)))).answers[0]

    async def settle(self, identity: str, fence: str, outcomes: bytes, *, dead: bool = False) -> bool:
        settlement = Settlement(PLACE, 0, identity, PRINT, padded(fence), outcomes, dead=dead)
        return (await self.send(self.exchange(settlements=(settlement,)))).stored[0]


def padded(fence: str) -> str:
    return fence.ljust(24, "0")


@pytest.fixture(params=["memory", pytest.param("redis", marks=pytest.mark.stack)])
async def inbox(request: pytest.FixtureRequest) -> AsyncIterator[Inbox]:
    if request.param == "memory":
        yield MemoryInbox(lambda: 0)
        return
    redis = open_redis((await asyncio.to_thread(shared_endpoints)).redis.services)
    yield RedisInbox(redis, unique("conformance"))
    await redis.aclose()


@pytest.fixture
async def session(inbox: Inbox) -> Session:
    session = Session(inbox, "one", "aaaaaaaa")
    await session.take({PLACE: 10, OTHER: 20})
    return session


async def test_the_settings_of_a_system_of_record_are_accepted(inbox: Inbox) -> None:
    assert list(await inbox.check()) == []


async def test_an_empty_inbox_has_no_positions(inbox: Inbox) -> None:
    assert await inbox.positions() == {}


async def test_positions_are_those_of_the_last_exchange(inbox: Inbox, session: Session) -> None:
    assert await inbox.positions() == {PLACE: 10, OTHER: 20}
    await session.send(session.exchange(to={PLACE: 15}))
    assert await inbox.positions() == {PLACE: 15, OTHER: 20}


async def test_new_then_settled(session: Session) -> None:
    assert await session.claim("k:1", "f1") == Answer(Found.NEW, padded("f1"))
    assert await session.settle("k:1", "f1", b"outcome\x00\xff")
    assert await session.claim("k:1", "f2") == Answer(Found.SETTLED, padded("f1"), b"outcome\x00\xff")


async def test_a_started_mark_is_found_and_its_fence_replaced(session: Session) -> None:
    await session.claim("k:1", "f1")
    assert await session.claim("k:1", "f2") == Answer(Found.UNFINISHED, padded("f2"))
    assert not await session.settle("k:1", "f1", b"late")
    assert await session.settle("k:1", "f2", b"mine")
    assert (await session.claim("k:1", "f3")).outcomes == b"mine"


async def test_a_settlement_without_a_mark_is_not_stored(session: Session) -> None:
    assert not await session.settle("k:1", "f1", b"x")
    assert (await session.claim("k:1", "f2")).found is Found.NEW


async def test_another_payload_is_a_conflict_at_every_stage(session: Session) -> None:
    other = "q" * 32
    await session.claim("k:1", "f1")
    assert (await session.claim("k:1", "f2", fingerprint=other)).found is Found.CONFLICT
    # The mark still has its fence.
    assert await session.settle("k:1", "f1", b"x")
    assert (await session.claim("k:1", "f3", fingerprint=other)).found is Found.CONFLICT
    assert (await session.claim("k:1", "f4")).found is Found.SETTLED


async def test_a_refusal_is_stored_only_where_there_is_no_mark(session: Session) -> None:
    assert await session.claim("k:1", "f1", refusal=b"too late") == Answer(Found.REFUSED, padded("f1"))
    assert await session.claim("k:1", "f2") == Answer(Found.SETTLED, padded("f1"), b"too late")
    await session.claim("k:2", "f3")
    assert (await session.claim("k:2", "f4", refusal=b"too late")).found is Found.UNFINISHED
    assert await session.settle("k:2", "f4", b"done")
    assert (await session.claim("k:2", "f5", refusal=b"too late")).outcomes == b"done"


async def test_an_undo_revokes_what_has_no_record(session: Session) -> None:
    await session.claim("k:started", "f1")
    await session.claim("k:done", "f2")
    await session.settle("k:done", "f2", b"done")
    revokes = ("k:started", "k:done", "k:absent")
    assert (await session.claim("k:undo", "f3", revokes=revokes)).found is Found.NEW
    assert await session.settle("k:started", "f1", b"finished")
    assert (await session.claim("k:done", "f4")).outcomes == b"done"
    revoked = await session.claim("k:absent", "f5")
    assert revoked.found is Found.REVOKED
    # The refusal that answers it is stored under the revocation's fence, whatever the payload was.
    assert await session.settle("k:absent", revoked.fence[:24], b"undone")
    assert (await session.claim("k:absent", "f6")).outcomes == b"undone"


async def test_a_refused_undo_revokes_nothing(session: Session) -> None:
    await session.claim("k:undo", "f1", revokes=("k:absent",), refusal=b"too late")
    assert (await session.claim("k:absent", "f2")).found is Found.NEW


async def test_a_repeated_undo_revokes_again_and_harms_nothing(session: Session) -> None:
    await session.claim("k:undo", "f1", revokes=("k:absent",))
    await session.claim("k:undo", "f2", revokes=("k:absent", "k:more"))
    assert (await session.claim("k:absent", "f3")).found is Found.REVOKED
    assert (await session.claim("k:more", "f4")).found is Found.REVOKED


async def test_a_dead_letter_is_executed_by_a_replay_alone(session: Session) -> None:
    await session.claim("m:1", "f1")
    await session.settle("m:1", "f1", b"letter", dead=True)
    assert await session.claim("m:1", "f2") == Answer(Found.SETTLED, padded("f1"), b"letter")
    assert await session.claim("m:1", "f3", replayed=True) == Answer(Found.UNFINISHED, padded("f3"))
    assert await session.settle("m:1", "f3", b"done")
    assert await session.claim("m:1", "f4", replayed=True) == Answer(Found.SETTLED, padded("f3"), b"done")


async def test_one_exchange_settles_before_it_claims(session: Session) -> None:
    await session.claim("k:1", "f1")
    settlement = Settlement(PLACE, 0, "k:1", PRINT, padded("f1"), b"done")
    reply = await session.send(session.exchange((Claim(PLACE, "k:1", PRINT, padded("f2")),), (settlement,)))
    assert reply == Reply((True,), (Answer(Found.SETTLED, padded("f1"), b"done"),))


async def test_the_newest_exchange_may_be_repeated(session: Session) -> None:
    """A reply that was lost: the same step is sent again and must give the same answers."""
    await session.claim("k:old", "f0")
    await session.claim("k:settling", "f1")
    await session.claim("m:dead", "f2")
    await session.settle("m:dead", "f2", b"letter", dead=True)
    claims = (
        Claim(PLACE, "k:new", PRINT, padded("g1")),
        Claim(PLACE, "k:old", PRINT, padded("g2")),
        Claim(PLACE, "k:refused", PRINT, padded("g3"), refusal=b"no"),
        Claim(PLACE, "k:undo", PRINT, padded("g4"), revokes=("k:x", "k:old")),
        Claim(PLACE, "m:dead", PRINT, padded("g5"), replayed=True),
        Claim(PLACE, "k:x", PRINT, padded("g6")),
        Claim(PLACE, "k:old", "q" * 32, padded("g7")),
    )
    settlements = (
        Settlement(PLACE, 11, "k:settling", PRINT, padded("f1"), b"done"),
        Settlement(PLACE, 12, "k:settling", PRINT, padded("zz"), b"not mine"),
    )
    exchange = session.exchange(claims, settlements, to={PLACE: 13})
    first = await session.send(exchange)
    assert [answer.found for answer in first.answers] == ["n", "u", "f", "n", "u", "r", "c"]
    assert first.stored == (True, False)
    assert await session.send(exchange) == first
    assert await session.settle("k:new", "g1", b"x")


async def test_a_number_that_was_passed_is_refused(session: Session) -> None:
    early = session.exchange((Claim(PLACE, "k:1", PRINT, padded("f1")),))
    await session.send(early)
    await session.claim("k:2", "f2")
    with pytest.raises(StoreMovedError):
        await session.inbox.exchange(session.owner, session.token, early)


async def test_a_number_from_the_future_is_refused(session: Session) -> None:
    """The store went back in time: its last number is lower than ours."""
    exchange = Exchange(3, {PLACE: (10, 10)}, (), (Claim(PLACE, "k:1", PRINT, padded("f1")),))
    with pytest.raises(StoreMovedError):
        await session.inbox.exchange(session.owner, session.token, exchange)
    assert (await session.claim("k:1", "f2")).found is Found.NEW, "nothing of the refused step was written"


async def test_a_position_that_moved_is_refused_whole(inbox: Inbox, session: Session) -> None:
    settlement = Settlement(PLACE, 11, "k:1", PRINT, padded("f1"), b"x")
    await session.claim("k:1", "f1")
    wrong = Exchange(session.number + 1, {PLACE: (10, 12), OTHER: (21, 22)}, (settlement,), ())
    with pytest.raises(StoreMovedError):
        await inbox.exchange(session.owner, session.token, wrong)
    assert await inbox.positions() == {PLACE: 10, OTHER: 20}
    assert (await session.claim("k:1", "f2")).found is Found.UNFINISHED


async def test_who_lost_a_partition_cannot_write_on_it(inbox: Inbox, session: Session) -> None:
    await session.claim("k:1", "f1")
    rival = Session(inbox, "two", "bbbbbbbb")
    await rival.take({PLACE: 10})
    with pytest.raises(StoreMovedError):
        await session.settle("k:1", "f1", b"late")
    assert (await rival.claim("k:1", "f2")).found is Found.UNFINISHED
    # What it still owns, it can write on.
    session.at = {OTHER: 20}
    assert (await session.send(session.exchange(to={OTHER: 21}))).stored == ()


async def test_a_restart_under_the_same_name_ends_the_earlier_session(inbox: Inbox, session: Session) -> None:
    again = Session(inbox, "one", "cccccccc")
    await again.take({PLACE: 10, OTHER: 20})
    with pytest.raises(StoreMovedError):
        await session.claim("k:1", "f1")
    assert (await again.claim("k:1", "f2")).found is Found.NEW


async def test_taking_twice_is_harmless(inbox: Inbox, session: Session) -> None:
    await session.take({PLACE: 10, OTHER: 20})
    assert (await session.claim("k:1", "f1")).found is Found.NEW


async def test_a_large_exchange(session: Session) -> None:
    """Near 8,000 items Lua's unpack would fail; nothing here depends on it."""
    claims = tuple(
        Claim(PLACE, f"k:{n}", PRINT, padded(f"f{n}"), revokes=tuple(f"k:r{n}-{i}" for i in range(20)))
        for n in range(600)
    )
    reply = await session.send(session.exchange(claims))
    assert {answer.found for answer in reply.answers} == {Found.NEW}
    settlements = tuple(Settlement(PLACE, n, f"k:{n}", PRINT, padded(f"f{n}"), b"x" * 2_000) for n in range(600))
    assert all((await session.send(session.exchange((), settlements))).stored)


STEP = st.tuples(
    st.sampled_from(["claim", "settle", "kill", "refuse", "undo", "replay", "conflict", "again"]),
    st.integers(0, 3),
    st.integers(0, 2),
)


@pytest.mark.stack
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=st.lists(STEP, max_size=30))
async def test_both_adapters_answer_alike(steps: list[tuple[str, int, int]]) -> None:
    """Any sequence of steps gets the same replies from memory and from Redis."""
    redis = open_redis(shared_endpoints().redis.services)
    pair = [Session(inbox, "one", "aaaaaaaa") for inbox in (MemoryInbox(lambda: 0), RedisInbox(redis, unique("alike")))]
    try:
        for session in pair:
            await session.take({PLACE: 0})
        replies = [await replay(session, steps) for session in pair]
        assert replies[0] == replies[1]
    finally:
        await redis.aclose()


async def replay(session: Session, steps: list[tuple[str, int, int]]) -> list[object]:
    found: list[object] = []
    newest: Exchange | None = None
    for number, (what, key, other) in enumerate(steps):
        identity, fence = f"k:{key}", padded(f"f{number:02}")  # f1 and f10 would be the same, padded
        held = next((f for k, f in reversed(_fences(found)) if k == identity), padded("none"))
        match what:
            case "claim":
                exchange = session.exchange((Claim(PLACE, identity, PRINT, fence),))
            case "refuse":
                exchange = session.exchange((Claim(PLACE, identity, PRINT, fence, refusal=b"no"),))
            case "undo":
                exchange = session.exchange((Claim(PLACE, identity, PRINT, fence, revokes=(f"k:{other}", "k:9")),))
            case "replay":
                exchange = session.exchange((Claim(PLACE, identity, PRINT, fence, replayed=True),))
            case "conflict":
                exchange = session.exchange((Claim(PLACE, identity, "q" * 32, fence),))
            case "settle" | "kill":
                dead = what == "kill"
                settlement = Settlement(PLACE, number, identity, PRINT, held, f"o{number}".encode(), dead=dead)
                exchange = session.exchange((), (settlement,), to={PLACE: number})
            case _:
                if newest is None:
                    continue
                exchange = newest
        newest = exchange
        reply = await session.send(exchange)
        found.append(([claim.identity for claim in exchange.claims], reply))
    return found


def _fences(found: list[object]) -> list[tuple[str, str]]:
    pairs: list[tuple[str, str]] = []
    for identities, reply in found:  # type: ignore[misc]
        pairs.extend((identity, answer.fence) for identity, answer in zip(identities, reply.answers, strict=True))  # type: ignore[has-type]
    return pairs
