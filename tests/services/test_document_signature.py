"""Signatures: one request a document, and the provider's webhook completed with what was kept under its request."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import pytest

from contracts.documents import DocumentSigned, DocumentUploaded, SignatureCompleted, SignatureRequested
from services.documentsignature import handlers as documentsignature
from services.documentsignature.kept import Kept
from services.documentsignature.kept_memory import MemoryKeptDocuments
from services.documentsignature.provider import SignatureProvider, SignatureRequest
from services.documentsignature.provider_http import HttpSignatureProvider
from services.documentsignature.provider_memory import MemorySignatureProvider
from services.sdk import NotDone, Retry
from services.sdk.outside.judgement import CallLimits
from services.sdk.outside.provider_http import ProviderHttp, open_client
from services.sdk.reasons import Reason
from services.sdk.stories import given
from services.sdk.testing import Harness
from tests.services.sandbox_process import Sandbox

PATIENT = CallLimits(answer_s=10.0, total_s=30.0, pauses=Retry(attempts=5, first=0.01))
SHA256 = "a" * 64
REQUEST_ID = f"sig-document-signature/doc1/{SHA256}"
AT = datetime(2026, 1, 2, tzinfo=UTC)
UPLOADED = DocumentUploaded(document_id="doc1", owner_email="ada@example.org", path="a/b.pdf", sha256=SHA256)
REQUESTED = SignatureRequested(document_id="doc1", path="a/b.pdf", request_id=REQUEST_ID)
COMPLETED = SignatureCompleted(request_id=REQUEST_ID, signed_at=AT)
SIGNED = DocumentSigned(document_id="doc1", request_id=REQUEST_ID, path="a/b.pdf", signed_at=AT)


def outside() -> list[object]:
    return [MemorySignatureProvider(), MemoryKeptDocuments()]


async def test_a_signature_is_asked_for_once_wherever_it_dies() -> None:
    story = given(UPLOADED).when(documentsignature.service, outside)
    await story.then(REQUESTED, effects=lambda provider, kept: (dict(provider.requests), dict(kept.documents)))


async def test_the_webhook_is_completed_with_what_was_kept() -> None:
    await given(UPLOADED, COMPLETED).when(documentsignature.service, outside).then(SIGNED)


async def test_a_webhook_that_is_quicker_than_what_we_keep_waits_for_it() -> None:
    kept = MemoryKeptDocuments()
    async with Harness(documentsignature.service, [MemorySignatureProvider(), kept]) as harness:
        sleep = harness.clock.sleep

        async def keep_then_sleep(seconds: float) -> None:
            if len(harness.clock.slept_s) == 3:
                await kept.keep(REQUEST_ID, Kept("doc1", "a/b.pdf"))
            await sleep(seconds)

        object.__setattr__(harness._around, "sleep", keep_then_sleep)
        (signed,) = await harness.deliver(COMPLETED)

    assert signed.message == SIGNED


async def test_a_webhook_about_a_request_that_is_not_ours_is_for_a_person_and_a_replay_tries_again() -> None:
    kept = MemoryKeptDocuments()
    async with Harness(documentsignature.service, [MemorySignatureProvider(), kept]) as harness:
        (letter,) = await harness.deliver(COMPLETED)
        await kept.keep(REQUEST_ID, Kept("doc1", "a/b.pdf"))
        (signed,) = await harness.replay(letter)

    assert dict(letter.record.headers)["dl_reason"] == Reason.HANDLER_FAILED.encode()
    assert signed.message == SIGNED


async def test_a_document_with_a_new_content_is_signed_anew() -> None:
    provider = MemorySignatureProvider()
    async with Harness(documentsignature.service, [provider, MemoryKeptDocuments()]) as harness:
        for sha256 in (SHA256, SHA256, "b" * 64):
            await harness.deliver(UPLOADED.model_copy(update={"sha256": sha256}))

    assert [request.sha256 for request in provider.requests.values()] == [SHA256, "b" * 64]


@pytest.mark.parametrize("fault", ["lost", "silent", "unavailable"])
async def test_a_provider_that_fails_once_is_asked_again_with_the_same_key(fault: str) -> None:
    provider, kept = MemorySignatureProvider(), MemoryKeptDocuments()
    provider.misbehave.append(fault)  # type: ignore[arg-type]
    async with Harness(documentsignature.service, [provider, kept]) as harness:
        (requested,) = await harness.deliver(UPLOADED)

    assert requested.message == REQUESTED
    assert len(provider.requests) == len(kept.documents) == 1


@asynccontextmanager
async def over_http(url: str) -> AsyncIterator[SignatureProvider]:
    async with open_client(f"{url}/signature/", PATIENT) as client:
        yield HttpSignatureProvider(ProviderHttp("the e-signature provider", client, PATIENT))


@pytest.mark.stack
async def test_the_provider_has_one_request_a_key_also_when_its_answer_is_lost(sandbox: Sandbox, order: str) -> None:
    sandbox.misbehave("signature", lose_answer=True)
    async with over_http(sandbox.url) as provider:
        request_id = await provider.ask(SignatureRequest(order, "ada@example.org", "a.pdf", SHA256), key=order)
        sandbox.behave()  # a refusal is no stored answer, and would be lost every time
        with pytest.raises(NotDone, match="idempotency_key_reused"):
            await provider.ask(SignatureRequest(order, "eve@example.org", "a.pdf", SHA256), key=order)

    (effect,) = sandbox.ledger(order)
    assert (effect["kind"], effect["data"]["request_id"]) == ("signature-request", request_id)
