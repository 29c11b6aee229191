"""What a sku holds when it is seen for the first time (FLOWS: outside systems, last paragraph)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

Opening = Mapping[str, int]
"""Units by warehouse; empty: the sku has none and does not open."""
OpeningRule = Callable[[str], Opening]

_NONE: Opening = MappingProxyType({})
_SCARCE: Opening = MappingProxyType({"east": 5})
_PLENTY: Opening = MappingProxyType({"east": 3_334, "central": 3_333, "west": 3_333})


def open_nothing(sku: str) -> Opening:
    """In production an unknown sku has no stock."""
    return _NONE


def open_local(sku: str) -> Opening:
    """The local stack's rule."""
    if sku.startswith("absent-"):
        return _NONE
    return _SCARCE if sku.startswith("scarce-") else _PLENTY


OPENING_RULES: Mapping[str, OpeningRule] = MappingProxyType({"none": open_nothing, "local": open_local})
"""By the name in the setting `opening_stock`."""
