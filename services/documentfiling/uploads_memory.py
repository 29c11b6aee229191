"""Uploads in memory, for tests."""

from __future__ import annotations


class MemoryUploads:
    def __init__(self) -> None:
        self._digests: dict[tuple[str, str], str] = {}

    async def note(self, document_id: str, path: str, sha256: str) -> None:
        self._digests[(document_id, path)] = sha256

    async def find(self, document_id: str, path: str) -> str | None:
        return self._digests.get((document_id, path))
