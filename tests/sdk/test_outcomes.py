"""What is published: ids, keys, causation and traces (DESIGN section 3)."""

from __future__ import annotations

from contracts.ids import handler_message_id
from contracts.technical import CommandFailed
from services.sdk.outcomes import child_trace
from services.sdk.testing import Harness
from tests.sdk.sample import Heard, Noticed, Ping, Pinged, Refused, World, make_service

TRACE = "00-0123456789abcdef0123456789abcdef-0123456789abcdef-01"


async def test_an_outcome_names_its_command_and_its_process() -> None:
    async with Harness(make_service(), [World()]) as harness:
        [outcome] = await harness.deliver(Ping(name="a"), id="saga:a/ping/1", process_id="saga:a", traceparent=TRACE)
    envelope = outcome.envelope
    assert outcome.message == Pinged(name="a")
    assert (outcome.record.topic, outcome.record.key) == ("sample.events", b"a")
    assert envelope.id == handler_message_id("sample", "ping", "saga:a/ping/1", "sample.pinged.v1", 0)
    assert envelope.source == "/counterpoint/sample"
    assert (envelope.process_id, envelope.causation_id) == ("saga:a", "saga:a/ping/1")
    assert envelope.time == "2026-01-01T00:00:00.000Z"
    assert envelope.traceparent == child_trace(TRACE, envelope.id)
    assert envelope.traceparent is not None and envelope.traceparent.startswith(TRACE[:36])
    assert envelope.traceparent[36:52] != TRACE[36:52]


async def test_only_the_outcome_carries_the_process() -> None:
    world = World(answers=lambda command: (Heard(name="a"), Pinged(name="a"), Heard(name="b")))
    async with Harness(make_service(), [world]) as harness:
        published = await harness.deliver(Ping(name="a"), id="saga:a/ping/1", process_id="saga:a")
    assert [(p.message, p.envelope.process_id, p.envelope.causation_id) for p in published] == [
        (Heard(name="a"), None, "saga:a/ping/1"),
        (Pinged(name="a"), "saga:a", "saga:a/ping/1"),
        (Heard(name="b"), None, "saga:a/ping/1"),
    ]
    assert len({p.envelope.id for p in published}) == 3


async def test_a_reaction_carries_causation_and_never_a_process() -> None:
    async with Harness(make_service(), [World()]) as harness:
        [heard] = await harness.deliver(Noticed(name="a"), id="e1", source="/else", process_id="saga:a")
    assert (heard.envelope.process_id, heard.envelope.causation_id) == (None, "e1")
    assert heard.envelope.id == handler_message_id("sample", "hear", "/else e1", "sample.heard.v1", 0)


async def test_a_refusal_is_an_outcome() -> None:
    world = World(answers=lambda command: Refused(name=command.name))
    async with Harness(make_service(), [world]) as harness:
        [outcome] = await harness.deliver(Ping(name="a"), process_id="saga:a")
        assert outcome.message == Refused(name="a")
        assert harness.metric("handled_total", type="sample.ping.v1", result="refusal") == 1


async def test_a_handler_that_breaks_its_contract_is_answered_unknown_and_not_repeated() -> None:
    wrong = [None, (), Heard(name="a"), (Pinged(name="a"), Refused(name="a")), "text", {"a": 1}]
    for index, answer in enumerate(wrong):
        world = World(answers=lambda command, answer=answer: answer)  # type: ignore[misc]
        async with Harness(make_service(), [world]) as harness:
            [outcome] = await harness.deliver(Ping(name="a"), process_id="saga:a")
        assert isinstance(outcome.message, CommandFailed), f"case {index}"
        assert (outcome.message.code, outcome.message.effect) == ("broken-handler", "unknown")
        assert len(world.calls) == 1


async def test_an_outcome_over_the_broker_limit_is_answered_unknown() -> None:
    class Fat(Pinged):
        def to_json(self) -> bytes:
            return b'{"name":"a","count":1,"x":"' + b"x" * 1024 * 1024 + b'"}'

    async with Harness(make_service(), [World(answers=lambda command: Fat(name="a"))]) as harness:
        [outcome] = await harness.deliver(Ping(name="a"), process_id="saga:a")
    assert isinstance(outcome.message, CommandFailed)
    assert (outcome.message.code, outcome.message.effect) == ("broken-handler", "unknown")
    assert "bytes is over" in outcome.message.message


def test_a_strange_traceparent_is_not_passed_on() -> None:
    assert child_trace("nonsense", "id") is None
    assert child_trace(None, "id") is None
