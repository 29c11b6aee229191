"""Files what is signed: notes the content of every upload, and moves that content, and no other, when it is signed."""

from __future__ import annotations

import asyncio
from typing import Final

from contracts.documents import DocumentFiled, DocumentSigned, DocumentUploaded
from services.documentfiling.folders import Folders
from services.documentfiling.resources import connect
from services.documentfiling.uploads import Uploads
from services.sdk import Retry, Service

PATIENCE: Final = Retry(attempts=16, first=1.0, factor=2.0, ceiling=60.0)
"""Some ten minutes, since nobody else tries an event again; then a dead letter, which a replay executes."""
SECONDS_MAX: Final = 900.0
"""Of one execution: a large file, or a store that is away."""

service = Service("document-filing", resources=connect)


@service.handles(DocumentUploaded, retry=PATIENCE, unfinished="repeat", timeout_s=SECONDS_MAX)
async def note(uploaded: DocumentUploaded, uploads: Uploads) -> None:
    await uploads.note(uploaded.document_id, uploaded.path, uploaded.sha256)


@service.handles(DocumentSigned, retry=PATIENCE, unfinished="repeat", timeout_s=SECONDS_MAX)
async def file(signed: DocumentSigned, uploads: Uploads, folders: Folders) -> DocumentFiled:
    """An upload that nobody told of is filed as it is: both events have the same key, so ours came before."""
    wanted = await uploads.find(signed.document_id, signed.path)
    sha256 = await asyncio.to_thread(folders.move, signed.path, wanted)
    return DocumentFiled(document_id=signed.document_id, path=signed.path, sha256=sha256)
