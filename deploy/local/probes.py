"""Asks a part, in its own protocol, whether it can work. A probe answers within seconds, and never raises."""

from __future__ import annotations

import http.client
import socket
import struct
from collections.abc import Callable

TIMEOUT_SECONDS = 2.0
ANSWER_LIMIT_BYTES = 4_000_000
REASON_LIMIT_BYTES = 500

# Returns None if the part is ready, else why not, in a few words.
Probe = Callable[[], str | None]


def kafka_probe(host: str, port: int) -> Probe:
    """Return a probe that is content when the broker answers a Metadata request and lists itself."""

    def probe() -> str | None:
        try:
            return None if _kafka_brokers(host, port) >= 1 else "it lists no broker"
        except (OSError, struct.error) as error:
            return str(error)

    return probe


def redis_probe(host: str, port: int) -> Probe:
    """Return a probe that is content when the server answers PONG; while it loads its file it says something else."""

    def probe() -> str | None:
        try:
            with socket.create_connection((host, port), TIMEOUT_SECONDS) as connection:
                connection.sendall(b"PING\r\n")
                answer = connection.recv(128)
        except OSError as error:
            return str(error)
        return None if answer.startswith(b"+PONG") else answer.decode(errors="replace").strip()

    return probe


def http_probe(host: str, port: int, path: str = "/readyz") -> Probe:
    """Return a probe that is content when `path` answers 200; otherwise the reason is what it answers."""

    def probe() -> str | None:
        connection = http.client.HTTPConnection(host, port, timeout=TIMEOUT_SECONDS)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            said = answer.read(REASON_LIMIT_BYTES).decode(errors="replace").strip()
        except (OSError, http.client.HTTPException) as error:
            return str(error)
        finally:
            connection.close()
        return None if answer.status == 200 else said or f"{path} answers {answer.status}"

    return probe


def _kafka_brokers(host: str, port: int) -> int:
    # Metadata (key 3) version 4, for no topics: the newest version without Kafka's compact encoding.
    client = b"probe"
    request = struct.pack(">hhih", 3, 4, 1, len(client)) + client + struct.pack(">i?", 0, False)
    with socket.create_connection((host, port), TIMEOUT_SECONDS) as connection:
        connection.sendall(struct.pack(">i", len(request)) + request)
        (size,) = struct.unpack(">i", _exactly(connection, 4))
        answer = _exactly(connection, min(size, ANSWER_LIMIT_BYTES))
    _correlation, _throttle_ms, brokers = struct.unpack_from(">iii", answer)
    return int(brokers)


def _exactly(connection: socket.socket, size: int) -> bytes:
    parts = bytearray()
    while len(parts) < size:
        part = connection.recv(size - len(parts))
        if not part:
            raise OSError("the broker closed the connection")
        parts += part
    return bytes(parts)
