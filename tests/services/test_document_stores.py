"""What every store of documents promises, in memory and in Redis."""

from __future__ import annotations

import pytest
from redis.asyncio import Redis

from services.documentfiling.uploads import Uploads
from services.documentfiling.uploads_memory import MemoryUploads
from services.documentfiling.uploads_redis import RedisUploads
from services.documentsignature.kept import KEPT_DAYS, Kept, KeptDocuments
from services.documentsignature.kept_memory import MemoryKeptDocuments
from services.documentsignature.kept_redis import RedisKeptDocuments

BOTH = ["memory", pytest.param("redis", marks=pytest.mark.stack)]


@pytest.fixture(params=BOTH)
def kept(request: pytest.FixtureRequest) -> KeptDocuments:
    if request.param == "memory":
        return MemoryKeptDocuments()
    return RedisKeptDocuments(request.getfixturevalue("redis_client"))


@pytest.fixture(params=BOTH)
def uploads(request: pytest.FixtureRequest) -> Uploads:
    return MemoryUploads() if request.param == "memory" else RedisUploads(request.getfixturevalue("redis_client"))


async def test_what_is_kept_is_found_under_its_request_alone(kept: KeptDocuments) -> None:
    await kept.keep("r1", Kept("d1", "a/b.pdf"))
    await kept.keep("r1", Kept("d1", "a/b.pdf"))
    await kept.keep("r:2", Kept("d2", "c"))

    assert await kept.find("r1") == Kept("d1", "a/b.pdf")
    assert await kept.find("r:2") == Kept("d2", "c")
    assert await kept.find("r") is None


async def test_an_upload_is_found_under_its_document_and_path_and_the_newer_one_counts(uploads: Uploads) -> None:
    await uploads.note("d1", "a", "1" * 64)
    await uploads.note("d1", "a", "2" * 64)
    await uploads.note("d1", "b", "3" * 64)

    assert await uploads.find("d1", "a") == "2" * 64
    assert await uploads.find("d1", "b") == "3" * 64
    assert await uploads.find("d2", "a") is None


@pytest.mark.stack
async def test_what_is_kept_in_redis_is_forgotten_one_day(redis_client: Redis) -> None:
    await RedisKeptDocuments(redis_client).keep("r1", Kept("d1", "a"))
    await RedisUploads(redis_client).note("d1", "a", "1" * 64)

    for key in await redis_client.keys("document-*"):
        assert (KEPT_DAYS - 1) * 86_400 < await redis_client.ttl(key) <= KEPT_DAYS * 86_400
