"""Storefront: what customers see of a sku."""

from __future__ import annotations

from typing import Literal, TypeAlias

from contracts.message import Command, Event, Identifier

Availability: TypeAlias = Literal["in-stock", "back-soon", "sold-out"]


class ListingMarked(Event, type="storefront.marked.v1"):
    """`previous` is what the listing said before, so that the mark can be taken back."""

    sku: Identifier
    availability: Availability
    previous: Availability


class MarkListing(Command, type="storefront.mark.v1", succeeds=ListingMarked):
    sku: Identifier
    availability: Availability
