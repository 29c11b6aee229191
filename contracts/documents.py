"""Documents: files that wait for a signature, and are filed when they have it."""

from __future__ import annotations

from typing import Annotated, TypeAlias

from pydantic import StringConstraints

from contracts.accounts import EmailAddress
from contracts.message import Event, Identifier, Text, UtcTime

DocumentPath: TypeAlias = Annotated[
    str,
    StringConstraints(pattern=r"^[A-Za-z0-9._-]{1,128}(/[A-Za-z0-9._-]{1,128}){0,15}$"),
]
"""Relative to the documents' folder, with forward slashes. (`..` is refused by the automations that open it.)"""
Sha256: TypeAlias = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
"""Lower-case hexadecimal digits."""


class DocumentUploaded(Event, type="documents.uploaded.v1"):
    document_id: Identifier
    owner_email: EmailAddress
    path: DocumentPath
    sha256: Sha256


class SignatureRequested(Event, type="documents.signature-requested.v1"):
    document_id: Identifier
    path: DocumentPath
    request_id: Text


class SignatureCompleted(Event, type="documents.signature-completed.v1"):
    """What the provider's webhook says: it knows its own request, and nothing of our documents."""

    request_id: Text
    signed_at: UtcTime


class DocumentSigned(Event, type="documents.signed.v1"):
    """The provider's webhook, completed with what was kept under its request."""

    document_id: Identifier
    request_id: Text
    path: DocumentPath
    signed_at: UtcTime


class DocumentFiled(Event, type="documents.filed.v1"):
    document_id: Identifier
    path: DocumentPath
    sha256: Sha256
