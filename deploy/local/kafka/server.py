"""One Kafka node (KRaft, broker and controller in one): its settings, its storage, its command line."""

from __future__ import annotations

import base64
import secrets
import subprocess
from pathlib import Path

from deploy.local.errors import StackError

HERE = Path(__file__).parent
FORMAT_SECONDS = 60
DAY_MINUTES = 24 * 60

SETTINGS = {
    "process.roles": "broker,controller",
    "node.id": "1",
    "controller.listener.names": "CONTROLLER",
    "inter.broker.listener.name": "PLAINTEXT",
    "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
    # Topics are made by `counterpoint topics apply` alone, and a stranger's time stamp decides nothing (DESIGN
    # section 3).
    "auto.create.topics.enable": "false",
    "log.message.timestamp.type": "LogAppendTime",
    # Longer than any topic's retention: a group that slept must find its place, not start anew.
    "offsets.retention.minutes": str(30 * DAY_MINUTES),
    # One node: nothing can be replicated.
    "default.replication.factor": "1",
    "min.insync.replicas": "1",
    "offsets.topic.replication.factor": "1",
    "transaction.state.log.replication.factor": "1",
    "transaction.state.log.min.isr": "1",
    "share.coordinator.state.topic.replication.factor": "1",
    "share.coordinator.state.topic.min.isr": "1",
    # Small internal topics: each of the default 50 partitions costs files and start time here.
    "offsets.topic.num.partitions": "8",
    "transaction.state.log.num.partitions": "4",
    "share.coordinator.state.topic.num.partitions": "4",
    "group.initial.rebalance.delay.ms": "0",
    # A killed broker may register again only when its old session has ended: the default of 9 s made restarts
    # take 12 s.
    "broker.session.timeout.ms": "5000",
    "broker.heartbeat.interval.ms": "1000",
    # Sized for two cores that also run everything else.
    "num.network.threads": "2",
    "num.io.threads": "4",
    "background.threads": "2",
    "num.recovery.threads.per.data.dir": "2",
    "log.cleaner.enable": "true",
    "log.cleaner.threads": "1",
    "log.cleaner.dedupe.buffer.size": "33554432",
}


def java_options(heap_mb: int) -> list[str]:
    """Return the virtual machine's options: a fixed ceiling for memory, and an end instead of a half-dead broker."""
    return [
        "-Xms128m",
        f"-Xmx{heap_mb}m",
        # One thread collects, and the quick compiler alone compiles: half the processor time of the defaults for the
        # first half million records (docs/decisions/0028-kafka-on-two-cores.md).
        "-XX:+UseSerialGC",
        "-XX:TieredStopAtLevel=1",
        "-XX:+ExitOnOutOfMemoryError",
        "-Djava.awt.headless=true",
        f"-Dlog4j2.configurationFile={HERE / 'log4j2.xml'}",
    ]


def kafka_command(java: str, jars: Path, properties: Path, heap_mb: int) -> tuple[str, ...]:
    """Return the command line that runs the broker; it needs nothing from the environment."""
    return (java, *java_options(heap_mb), "-cp", f"{jars}/*", "kafka.Kafka", str(properties))


def write_properties(folder: Path, host: str, port: int, controller_port: int) -> Path:
    """Write the broker's settings into `folder` and return their file. Ports may differ from the last run's."""
    places = {
        "listeners": f"PLAINTEXT://{host}:{port},CONTROLLER://{host}:{controller_port}",
        "advertised.listeners": f"PLAINTEXT://{host}:{port}",
        "controller.quorum.voters": f"1@{host}:{controller_port}",
        "log.dirs": str(folder / "data"),
    }
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "server.properties"
    path.write_text("".join(f"{key}={value}\n" for key, value in {**places, **SETTINGS}.items()))
    return path


def format_storage(java: str, jars: Path, properties: Path, log: Path) -> None:
    """Give an empty data folder its cluster id; a formatted one stays. Raises `StackError` if the tool fails."""
    if (properties.parent / "data" / "meta.properties").is_file():
        return
    # 16 random bytes are what Kafka calls a UUID; the leading A keeps the text from looking like an option.
    cluster = "A" + base64.urlsafe_b64encode(secrets.token_bytes(16)).decode()[1:22]
    command = [java, "-Xmx128m", "-XX:TieredStopAtLevel=1", f"-Dlog4j2.configurationFile={HERE / 'log4j2.xml'}"]
    command += ["-cp", f"{jars}/*", "kafka.tools.StorageTool", "format", "-t", cluster, "-c", str(properties)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=FORMAT_SECONDS, check=False)
    if done.returncode != 0:
        lines = (done.stdout + done.stderr).splitlines()
        raise StackError(f"Kafka's storage tool could not format {properties.parent}.", tail="\n".join(lines[-8:]))
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("a") as output:
        output.write(done.stdout)
