"""Identity: whether people are who they say."""

from __future__ import annotations

from typing import Annotated, TypeAlias

from pydantic import Field

from contracts.accounts import CountryCode
from contracts.message import Command, Event, Identifier, Text

REASONS_MAX = 20
Score: TypeAlias = Annotated[int, Field(ge=0, le=100, strict=True)]
"""How sure the identity check is, in per cent."""


class IdentityVerified(Event, type="identity.verified.v1"):
    account_id: Identifier
    score: Score


class IdentityAmbiguous(Event, type="identity.ambiguous.v1"):
    """The check was made, and a person must look."""

    account_id: Identifier
    score: Score
    reasons: Annotated[tuple[Text, ...], Field(min_length=1, max_length=REASONS_MAX)]


class IdentityFailed(Event, type="identity.failed.v1"):
    account_id: Identifier
    score: Score
    reason: Text


class VerifyIdentity(
    Command,
    type="identity.verify.v1",
    succeeds=(IdentityVerified, IdentityAmbiguous),
    refuses=IdentityFailed,
):
    account_id: Identifier
    name: Text
    country: CountryCode
