"""The program on a real Kafka and Redis: killed, cut off from Kafka, told to stop; and its tools."""

from __future__ import annotations

import asyncio
import json
import signal
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from typer.testing import CliRunner

from contracts.catalog import standard_catalog
from contracts.envelope import decode_headers
from contracts.topics import INBOX
from deploy.local.stack import Stack
from services.gateway import __main__ as program
from services.gateway.declaration import declaration_of
from services.gateway.program import ProgramSettings, _needed_topics
from tests.gateway.declarations import ORDERS, SHOP_ORDER
from tests.gateway.door import LEAD, LINK_SECRET, SECRET
from tests.gateway.gateway_process import running_gateway
from tests.sdk.shared_stack import create_topics

DIES = (str(Path(__file__).with_name("dies_after_publishing.py")),)
TOPICS = ("orders.events", "leads.events", "accounts.events", INBOX)


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Its own: Kafka is stopped in here."""
    stack = Stack(tmp_path_factory.mktemp("gateway"))
    endpoints = stack.up(only=("kafka", "redis-services"))
    try:
        asyncio.run(create_topics(endpoints.kafka, TOPICS, partitions=64))
        yield stack
    finally:
        stack.down()


async def _read(kafka: str, topic: str) -> list[tuple[str, Any]]:
    consumer = AIOKafkaConsumer(bootstrap_servers=kafka, enable_auto_commit=False)
    await consumer.start()
    try:
        places = [TopicPartition(topic, number) for number in range(64)]
        consumer.assign(places)
        ends = await consumer.end_offsets(places)
        for place in places:
            # Not `seek_to_beginning`: while a new topic has no leader it goes to the end instead.
            consumer.seek(place, 0)
        found: list[tuple[str, Any]] = []
        while any([await consumer.position(place) < end for place, end in ends.items()]):
            for records in (await consumer.getmany(timeout_ms=500)).values():
                found += [(decode_headers(record.headers).id, json.loads(record.value)) for record in records]
        return found
    finally:
        await consumer.stop()


def events(stack: Stack, topic: str, key: str) -> list[str]:
    """Ids of all records whose payload has this key first, repeats included."""
    return [one for one, data in asyncio.run(_read(stack.endpoints.kafka, topic)) if next(iter(data.values())) == key]


def lead() -> dict[str, str]:
    return {**LEAD, "lead_id": f"l-{uuid.uuid4().hex}"}


def post(url: str, content: dict[str, str], key: str) -> httpx.Response:
    return httpx.post(f"{url}/forms/leads.submitted", json=content, headers={"Idempotency-Key": key}, timeout=30)


@pytest.mark.stack
def test_killed_between_kafka_and_the_answer_a_repeat_is_the_same_event(stack: Stack, tmp_path: Path) -> None:
    content = lead()
    with running_gateway(stack.site.endpoints, tmp_path, DIES) as gateway:
        with pytest.raises(httpx.TransportError):
            post(gateway.url, content, content["lead_id"])
        assert gateway.process.wait(10) == -signal.SIGKILL
    assert len(events(stack, "leads.events", content["lead_id"])) == 1

    with running_gateway(stack.site.endpoints, tmp_path) as gateway:
        answers = [post(gateway.url, content, content["lead_id"]) for _ in range(2)]
        other = post(gateway.url, {**content, "name": "Bob"}, content["lead_id"])

    assert [answer.status_code for answer in (*answers, other)] == [202, 202, 422]
    published = events(stack, "leads.events", content["lead_id"])
    assert len(published) == 2
    assert set(published) == {answer.json()["event_id"] for answer in answers}


@pytest.mark.stack
def test_without_kafka_nothing_is_said_to_be_accepted_and_then_it_works_again(stack: Stack, tmp_path: Path) -> None:
    content, later = lead(), lead()
    with running_gateway(stack.site.endpoints, tmp_path, COUNTERPOINT_GATEWAY_PUBLISH_SECONDS="2") as gateway:
        assert post(gateway.url, lead(), uuid.uuid4().hex).status_code == 202
        stack.stop("kafka")
        try:
            refused = post(gateway.url, content, content["lead_id"])
            assert refused.status_code == 503
            assert refused.headers["content-type"] == "application/problem+json"
            assert "event_id" not in refused.json()
        finally:
            stack.start("kafka")
        answer = _until_accepted(gateway.url, content, content["lead_id"])
        assert post(gateway.url, later, later["lead_id"]).status_code == 202
        assert httpx.get(f"{gateway.operations}/readyz").status_code == 200
    assert set(events(stack, "leads.events", content["lead_id"])) == {answer.json()["event_id"]}


def _until_accepted(url: str, content: dict[str, str], key: str) -> httpx.Response:
    """As a client does that is told to come back."""
    for _ in range(60):
        answer = post(url, content, key)
        if answer.status_code == 202:
            return answer
        assert answer.status_code == 503
    raise AssertionError("never accepted again")


async def _until_published(client: httpx.AsyncClient, operations: str) -> None:
    for _ in range(200):
        if "counterpoint_gateway_publishing 1.0" in (await client.get(f"{operations}/metrics")).text:
            return
        await asyncio.sleep(0.05)
    raise AssertionError("no event is on its way to Kafka")


@pytest.mark.stack
def test_told_to_stop_it_answers_who_is_inside(stack: Stack, tmp_path: Path) -> None:
    """SIGTERM comes while an event waits for Kafka, which is stopped: the sender still gets its answer."""
    content = lead()

    async def story(url: str, process: Any) -> httpx.Response:
        async with httpx.AsyncClient(timeout=30) as client:
            task = asyncio.create_task(
                client.post(f"{url}/forms/leads.submitted", json=content, headers={"Idempotency-Key": "stop"})
            )
            await _until_published(client, gateway.operations)
            process.send_signal(signal.SIGTERM)
            return await task

    with running_gateway(stack.site.endpoints, tmp_path, COUNTERPOINT_GATEWAY_PUBLISH_SECONDS="3") as gateway:
        assert post(gateway.url, lead(), uuid.uuid4().hex).status_code == 202
        stack.stop("kafka")
        try:
            answer = asyncio.run(story(gateway.url, gateway.process))
        finally:
            stack.start("kafka")
        assert answer.status_code == 503
        assert gateway.process.wait(40) == 0


@pytest.mark.stack
def test_webhook_and_link_on_the_real_thing_with_the_programs_own_tools(stack: Stack, tmp_path: Path) -> None:
    file, body = tmp_path / "gateway.toml", tmp_path / "body.json"
    number = uuid.uuid4().int % 10**9
    data = {**SHOP_ORDER, "id": f"evt_{number}", "data": {**SHOP_ORDER["data"], "number": number}}
    file.write_text(ORDERS)
    body.write_text(json.dumps(data))
    environment = {
        "SHOP_SECRET": SECRET,
        "COUNTERPOINT_GATEWAY_FILE": str(file),
        "COUNTERPOINT_GATEWAY_LINK_SECRETS": LINK_SECRET.replace(" ", "-"),
    }
    with running_gateway(stack.site.endpoints, tmp_path, **environment) as gateway:
        signed = CliRunner().invoke(program.app, ["sign", "shop", str(body)], env=environment)
        headers = dict(line.split(": ", 1) for line in signed.stdout.splitlines())
        hook = httpx.post(f"{gateway.url}/webhooks/shop", content=body.read_bytes(), headers=headers, timeout=30)
        words = ["link", f"restock:e{number}", "--signal", "goods-arrived"]
        made = CliRunner().invoke(program.app, words, env={**environment, "COUNTERPOINT_GATEWAY_URL": gateway.url})
        said = [httpx.post(made.stdout.strip(), timeout=30).status_code for _ in range(2)]
        metrics = httpx.get(f"{gateway.operations}/metrics").text

    assert (hook.status_code, said) == (202, [202, 410])
    assert events(stack, "orders.events", str(number)) == [hook.json()["event_id"]]
    assert len(events(stack, INBOX, f"restock:e{number}")) == 1
    assert 'counterpoint_gateway_requests_total{kind="webhooks",name="shop",result="accepted"} 1.0' in metrics


@pytest.mark.stack
def test_a_missing_topic_is_said_before_anybody_is_served(stack: Stack, tmp_path: Path) -> None:
    file = tmp_path / "gateway.toml"
    file.write_text('[forms."purchasing.goods-received.v1"]')
    with (
        pytest.raises(
            AssertionError, match=r"missing topics purchasing\.events: run `counterpoint topics apply` first"
        ),
        running_gateway(stack.site.endpoints, tmp_path, COUNTERPOINT_GATEWAY_FILE=str(file)),
    ):
        pass


def run(*words: str, **environment: str) -> tuple[int, str]:
    result = CliRunner().invoke(program.app, list(words), env=environment)
    return result.exit_code, result.output


def test_check_says_what_is_taken(tmp_path: Path) -> None:
    file = tmp_path / "gateway.toml"
    file.write_text(ORDERS)
    assert run("check", "--file", str(file), SHOP_SECRET="x") == (
        0,
        "POST /forms/orders.placed.v1\nPOST /forms/leads.submitted.v1\nPOST /forms/accounts.signup-submitted.v1\n"
        "POST /webhooks/shop  -> orders.placed.v1\n",
    )
    code, said = run("check", "--file", str(file), SHOP_SECRET="")
    assert (code, "SHOP_SECRET in the environment" in said) == (1, True)


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (("check", "--file", "/nowhere.toml"), "cannot be read"),
        (("link", "a:b", "--signal", "s"), "set COUNTERPOINT_GATEWAY_LINK_SECRETS"),
        (("--endpoints", "/nowhere.json"), "make up"),
        (("sign", "shop", "/nowhere.json"), "no source 'shop'"),
    ],
)
def test_what_is_wrong_is_said_in_one_sentence(words: tuple[str, ...], complaint: str) -> None:
    code, said = run(*words)
    assert (code, complaint in said) == (1, True)


def test_the_topics_that_are_needed() -> None:
    declaration = declaration_of('[forms."leads.submitted.v1"]', standard_catalog())
    settings = ProgramSettings("k:1", "redis://r:1", declaration, "127.0.0.1", 0, 0, "gateway-1")
    assert _needed_topics(settings) == ["leads.events"]
