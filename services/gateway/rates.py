"""How much one client, or one source, may send: token buckets in memory, the least recently seen forgotten first."""

from __future__ import annotations

import ipaddress
from collections import OrderedDict
from collections.abc import Callable

BUCKETS_MAX = 10_000
"""Clients remembered. One that is forgotten starts with a full bucket."""
IPV6_NETWORK_BITS = 64
"""What one subscriber is given; a limit by address alone would be no limit."""


class Buckets:
    """`per_second` tokens flow into each bucket up to `burst`; a request takes one. `monotonic_s` is the clock."""

    def __init__(self, per_second: float, burst: int, monotonic_s: Callable[[], float]) -> None:
        self._per_second = per_second
        self._burst = float(burst)
        self._monotonic_s = monotonic_s
        self._levels: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._levels)

    def take(self, name: str) -> float:
        """0 if there was a token, and it is taken; else the seconds until there is one."""
        now_s = self._monotonic_s()
        level, seen_s = self._levels.pop(name, (self._burst, now_s))
        level = min(self._burst, level + (now_s - seen_s) * self._per_second)
        allowed = level >= 1.0
        self._levels[name] = (level - 1.0 if allowed else level, now_s)
        if len(self._levels) > BUCKETS_MAX:
            self._levels.popitem(last=False)
        return 0.0 if allowed else (1.0 - level) / self._per_second


def client_name(address: str) -> str:
    """Whose bucket it is: the address, of IPv6 the network of one subscriber."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address[:64]
    if isinstance(parsed, ipaddress.IPv6Address):
        if parsed.ipv4_mapped is not None:
            return str(parsed.ipv4_mapped)
        return str(ipaddress.ip_network((parsed, IPV6_NETWORK_BITS), strict=False))
    return str(parsed)
