"""What was uploaded, as a port: the content that each document must have when it is filed.

Adapters: `uploads_redis`, `uploads_memory`; both pass `tests/services/test_document_stores.py`.
"""

from __future__ import annotations

from typing import Final, Protocol

KEPT_DAYS: Final = 400
"""Longer than a provider leaves a request for a signature open (a year)."""


class Uploads(Protocol):
    """Both wait while the store is away, and may be repeated."""

    async def note(self, document_id: str, path: str, sha256: str) -> None:
        """For KEPT_DAYS. A document that is uploaded again to the same path has the newer content."""

    async def find(self, document_id: str, path: str) -> str | None:
        """The SHA-256 in lower-case hex digits; None if no upload is known."""
