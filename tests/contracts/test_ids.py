"""Ids and partitions: deterministic, and the same as other clients make."""

from __future__ import annotations

from collections import Counter

import pytest
from aiokafka.partitioner import DefaultPartitioner
from aiokafka.partitioner import murmur2 as aiokafka_murmur2
from confluent_kafka import KafkaError, Message, Producer
from hypothesis import given
from hypothesis import strategies as st

from contracts import ids
from contracts.topics import DOMAIN_PARTITIONS, SHARDS

MOCK_PARTITIONS = 4
"""What the mock broker of librdkafka gives to a topic that it makes by itself."""


def test_the_public_formats() -> None:
    process = ids.process_id("order-fulfilment", "o1")
    assert process == "order-fulfilment:o1"
    assert ids.command_id(process, "charge", 1) == "order-fulfilment:o1/charge/1"
    assert ids.command_id(process, "ship[3].dispatch", 2) == "order-fulfilment:o1/ship[3].dispatch/2"
    assert ids.undo_id(process, "charge", 1) == "order-fulfilment:o1/charge/undo/1"
    assert ids.emit_id(process, "fulfilled") == "order-fulfilment:o1/fulfilled"
    assert ids.service_source("payment") == "/counterpoint/payment"
    assert ids.ORCHESTRATOR_SOURCE == "/counterpoint/orchestrator"


def test_a_handlers_id_is_32_hex_digits_of_all_its_parts() -> None:
    parts = ("payment", "charge", "order-fulfilment:o1/charge/1", "payment.captured.v1", 0)
    made = ids.handler_message_id(*parts)
    assert made == ids.handler_message_id(*parts)
    assert len(made) == 32 and set(made) <= set("0123456789abcdef")
    others = {
        ids.handler_message_id(*(*parts[:place], value, *parts[place + 1 :]))  # type: ignore[arg-type]
        for place, value in enumerate(("other", "other", "other", "other", 1))
    }
    assert len(others | {made}) == 6


@given(st.lists(st.text(max_size=5), min_size=4, max_size=4), st.lists(st.text(max_size=5), min_size=4, max_size=4))
def test_parts_do_not_run_into_one_another(one: list[str], other: list[str]) -> None:
    clean = [[part.replace("\x1f", "") for part in parts] for parts in (one, other)]
    made = [ids.handler_message_id(a, b, c, d, 0) for a, b, c, d in clean]
    assert (made[0] == made[1]) == (clean[0] == clean[1])


def test_the_fingerprint_covers_type_and_data() -> None:
    assert ids.fingerprint("a.b.v1", b"{}") != ids.fingerprint("a.b.v2", b"{}")
    assert ids.fingerprint("a.b.v1", b"{}") != ids.fingerprint("a.b.v1", b"{ }")


@pytest.mark.parametrize(
    ("text", "signed"),
    (
        (b"21", -973932308),
        (b"foobar", -790332482),
        (b"a-little-bit-long-string", -985981536),
        (b"a-little-bit-longer-string", -1486304829),
        (b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58897971),
        (b"abc", 479470107),
    ),
)
def test_murmur2_as_the_java_client_has_it(text: bytes, signed: int) -> None:
    """Vectors of Kafka's own UtilsTest.testMurmur2; ours has the sign bit cleared, as `Utils.toPositive` does."""
    assert ids.murmur2(text) == signed & 0x7FFFFFFF


@given(st.binary(max_size=70))
def test_murmur2_as_aiokafka_has_it(data: bytes) -> None:
    assert ids.murmur2(data) == aiokafka_murmur2(data) & 0x7FFFFFFF


@given(st.text(min_size=1, max_size=70), st.sampled_from((1, 7, DOMAIN_PARTITIONS, SHARDS)))
def test_a_partition_is_where_the_default_partitioner_puts_the_key(key: str, partitions: int) -> None:
    every = list(range(partitions))
    assert ids.partition_of(key, partitions) == DefaultPartitioner()(key.encode(), every, every)


def test_shards_are_filled_evenly() -> None:
    filled = Counter(ids.partition_of(f"order-fulfilment:o{number}", SHARDS) for number in range(64_000))
    assert len(filled) == SHARDS
    assert 800 < min(filled.values()) <= max(filled.values()) < 1_200


def test_librdkafka_puts_keys_there_too_if_it_is_told_to_use_murmur2() -> None:
    """Against its built-in mock broker. Its own default (`consistent_random`, a CRC) puts most keys elsewhere."""
    keys = [f"order-{number}-ö" for number in range(60)]
    assert _partitions_by_librdkafka(keys, partitioner="murmur2_random") == [
        ids.partition_of(key, MOCK_PARTITIONS) for key in keys
    ]
    assert _partitions_by_librdkafka(keys) != [ids.partition_of(key, MOCK_PARTITIONS) for key in keys]


def _partitions_by_librdkafka(keys: list[str], **settings: str) -> list[int]:
    producer = Producer({"bootstrap.servers": "", "test.mock.num.brokers": 1, "log_level": 0, **settings})
    found: dict[str, int] = {}

    def delivered(error: KafkaError | None, message: Message) -> None:
        partition = message.partition()
        assert error is None and partition is not None, error
        found[(message.key() or b"").decode()] = partition

    for key in keys:
        producer.produce("t", key=key, value=b"", on_delivery=delivered)
    assert producer.flush(10) == 0
    assert len(producer.list_topics("t", timeout=5).topics["t"].partitions) == MOCK_PARTITIONS
    return [found[key] for key in keys]
