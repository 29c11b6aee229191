"""What is kept under a provider's request: the document that it is about. The provider's webhook knows only its own id.

Adapters: `kept_redis`, `kept_memory`; both pass `tests/services/test_document_stores.py`.
"""

from __future__ import annotations

from typing import Final, Protocol

import msgspec

KEPT_DAYS: Final = 400
"""Longer than a provider leaves a request open (a year), so that nothing is forgotten before its webhook."""


class Kept(msgspec.Struct, frozen=True, gc=False):
    document_id: str
    path: str


class KeptDocuments(Protocol):
    """Both wait while the store is away, and may be repeated."""

    async def keep(self, request_id: str, document: Kept) -> None:
        """For KEPT_DAYS."""

    async def find(self, request_id: str) -> Kept | None:
        """None if nothing was kept under it."""
