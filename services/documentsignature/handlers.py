"""Asks for a signature, keeps which document the request is about, and tells that it is signed when the provider does
so."""

from __future__ import annotations

from typing import Final

from contracts.documents import DocumentSigned, DocumentUploaded, SignatureCompleted, SignatureRequested
from services.documentsignature.kept import Kept, KeptDocuments
from services.documentsignature.provider import SignatureProvider, SignatureRequest
from services.documentsignature.resources import connect
from services.sdk import NotDone, Retry, Service

PATIENCE: Final = Retry(attempts=16, first=1.0, factor=2.0, ceiling=60.0)
"""Some ten minutes, since nobody else tries an event again; then a dead letter, which a replay executes. For so long, a
webhook that is quicker than what we keep about its request waits for that (decision 0122)."""
OUTAGE_SECONDS_MAX: Final = 900.0
"""How long one execution waits for its store."""

service = Service("document-signature", resources=connect)


@service.handles(DocumentUploaded, retry=PATIENCE, unfinished="repeat", timeout_s=OUTAGE_SECONDS_MAX)
async def ask(uploaded: DocumentUploaded, provider: SignatureProvider, kept: KeptDocuments) -> SignatureRequested:
    wanted = SignatureRequest(uploaded.document_id, uploaded.owner_email, uploaded.path, uploaded.sha256)
    request_id = await provider.ask(wanted, key=request_key(uploaded))
    await kept.keep(request_id, Kept(uploaded.document_id, uploaded.path))
    return SignatureRequested(document_id=uploaded.document_id, path=uploaded.path, request_id=request_id)


@service.handles(SignatureCompleted, retry=PATIENCE, unfinished="repeat", timeout_s=OUTAGE_SECONDS_MAX)
async def complete(completed: SignatureCompleted, kept: KeptDocuments) -> DocumentSigned:
    document = await kept.find(completed.request_id)
    if document is None:
        raise NotDone("unknown-request", f"nothing is kept under request {completed.request_id}", retryable=True)
    return DocumentSigned(
        document_id=document.document_id,
        request_id=completed.request_id,
        path=document.path,
        signed_at=completed.signed_at,
    )


def request_key(uploaded: DocumentUploaded) -> str:
    """One request for a document's content, however many events tell of it."""
    return f"document-signature/{uploaded.document_id}/{uploaded.sha256}"
