"""Deterministic ids: the same cause always gives the same id, so that a repeat is recognised.

Formats (public, see docs/protocol.md): process `<saga>:<business key>`, command `<process>/<step path>/<try>`, undo
`<process>/<step path>/undo/<n>`, emit `<process>/<name>`; what a handler publishes has a 32-digit hash.
"""

from __future__ import annotations

import hashlib
import re
from functools import lru_cache

ORCHESTRATOR_SOURCE = "/counterpoint/orchestrator"


def service_source(service: str) -> str:
    """`ce_source` of everything that a service publishes."""
    return f"/counterpoint/{service}"


KEY_LENGTH_MAX = 256
KEY_PATTERN = re.compile(r"[A-Za-z0-9._-]{1,128}(?::[A-Za-z0-9._-]{1,128})*")
"""A business key: one Identifier, or several joined by colons (`restock:<sku>:<occurrence>`)."""


def is_business_key(key: object) -> bool:
    return isinstance(key, str) and len(key) <= KEY_LENGTH_MAX and KEY_PATTERN.fullmatch(key) is not None


def process_id(saga: str, key: str) -> str:
    return f"{saga}:{key}"


def command_id(process: str, step_path: str, try_number: int) -> str:
    return f"{process}/{step_path}/{try_number}"


def undo_id(process: str, step_path: str, number: int) -> str:
    return f"{process}/{step_path}/undo/{number}"


def child_notice_id(process: str, step_path: str, what: str) -> str:
    """Of what a step tells its child but for start and undo, which have the ids of a command: `cancel`, `release`."""
    return f"{process}/{step_path}/{what}"


def child_answer_id(asked: str) -> str:
    """Of a child's answer to the message with the id `asked`."""
    return f"{asked}/ended"


def emit_id(process: str, name: str) -> str:
    return f"{process}/{name}"


def handler_message_id(service: str, handler: str, cause: str, type_name: str, index: int) -> str:
    """Id of the `index`-th message that a handler publishes. `cause` is the incoming idempotency key, or
    `<source> <id>` where there is none."""
    text = "\x1f".join((service, handler, cause, type_name, str(index)))
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def fingerprint(type_name: str, data: bytes) -> str:
    """Tells "the same message again" from "the same id with another payload". Covers type and data, not headers."""
    return hashlib.sha256(type_name.encode() + b"\x00" + data).hexdigest()[:32]


_MASK = 0xFFFFFFFF


def murmur2(data: bytes) -> int:
    """MurmurHash2, 32 bits, with the seed of Kafka's Java client; its sign bit cleared (`toPositive`)."""
    length = len(data)
    multiplier, rotation = 0x5BD1E995, 24
    value = (0x9747B28C ^ length) & _MASK
    whole = length & ~3
    for index in range(0, whole, 4):
        k = int.from_bytes(data[index : index + 4], "little")
        k = (k * multiplier) & _MASK
        k ^= k >> rotation
        k = (k * multiplier) & _MASK
        value = ((value * multiplier) & _MASK) ^ k
    if length & 3:
        value ^= int.from_bytes(data[whole:], "little")
        value = (value * multiplier) & _MASK
    value ^= value >> 13
    value = (value * multiplier) & _MASK
    value ^= value >> 15
    return value & 0x7FFFFFFF


PLACED_MAX = 65_536
"""Keys of which the partition is remembered."""


@lru_cache(maxsize=PLACED_MAX)
def partition_of(key: str, partitions: int) -> int:
    """The partition on which the Java client and aiokafka put `key` by default. Clients made from librdkafka need
    `partitioner=murmur2_random` for that."""
    return murmur2(key.encode()) % partitions
