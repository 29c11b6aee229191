"""Token buckets: what flows in, what is bounded, and whose bucket it is."""

from __future__ import annotations

import pytest

from services.gateway.rates import BUCKETS_MAX, Buckets, client_name


def test_a_bucket_empties_and_fills_up_to_its_size() -> None:
    clock = [0.0]
    buckets = Buckets(2.0, 3, lambda: clock[0])
    assert [buckets.take("a") for _ in range(4)] == [0.0, 0.0, 0.0, 0.5]
    clock[0] = 0.5
    assert [buckets.take("a"), buckets.take("a")] == [0.0, 0.5]
    clock[0] = 1_000.0
    assert [buckets.take("a") for _ in range(4)] == [0.0, 0.0, 0.0, 0.5]
    assert buckets.take("b") == 0.0


def test_the_least_recently_seen_is_forgotten() -> None:
    buckets = Buckets(1.0, 1, lambda: 0.0)
    for number in range(BUCKETS_MAX):
        buckets.take(str(number))
    buckets.take("0")
    buckets.take("one more")
    assert len(buckets) == BUCKETS_MAX
    assert buckets.take("0") > 0
    assert buckets.take("1") == 0.0


@pytest.mark.parametrize(
    ("address", "name"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("unknown", "unknown"),
    ],
)
def test_whose_bucket(address: str, name: str) -> None:
    assert client_name(address) == name
