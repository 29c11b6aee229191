"""Kept documents in memory, for tests."""

from __future__ import annotations

from services.documentsignature.kept import Kept


class MemoryKeptDocuments:
    def __init__(self) -> None:
        self.documents: dict[str, Kept] = {}

    async def keep(self, request_id: str, document: Kept) -> None:
        self.documents[request_id] = document

    async def find(self, request_id: str) -> Kept | None:
        return self.documents.get(request_id)
