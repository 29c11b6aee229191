"""A link by which a person without an account says one thing to one waiting process, once, until a time.

    link = mint(secret, Invitation("onboarding:a17", Approval("review", by="ann@example.org"), expires_s=...), nonce)
    url = f"{gateway}/resume/{link}"

The link is the permission: whoever has it may use it. The gateway checks the signature, the time and that it was not
used, and appends what it says to the process's inbox. Pure: time and chance are arguments.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from contracts.ids import KEY_LENGTH_MAX, KEY_PATTERN
from contracts.message import Text

SECRET_LENGTH_MIN = 32
"""Characters. A link can be tried out at leisure by anybody who has one."""
LINK_LENGTH_MAX = 6_000
"""Characters: browsers, proxies and mail programs carry at least 8,000 in an address."""
NONCE_LENGTH_MIN = 16
_DOMAIN = b"counterpoint-resume-link-v1\x00"
"""A secret that is used for something else as well signs no link by accident."""
_PROCESS = re.compile(rf"[a-z][a-z0-9]*(?:-[a-z0-9]+)*:(?:{KEY_PATTERN.pattern})")

Decision = Literal["approve", "reject"]
FieldKind = Literal["text", "integer", "boolean"]


class LinkRefused(Exception):
    """This is no link that may be used: `reason`. The message is for the person who has it."""

    def __init__(self, reason: Literal["invalid", "expired"], detail: str) -> None:
        super().__init__(detail)
        self.reason: Literal["invalid", "expired"] = reason


@dataclass(frozen=True, slots=True)
class Signal:
    """Sends the signal `name` with `payload`, in the name of `sender`."""

    name: str
    payload: Mapping[str, Any] = field(default_factory=dict)
    sender: str | None = None


@dataclass(frozen=True, slots=True)
class Approval:
    """Decides the approval `step` in the name of `by`, who is vouched for to have `roles`. `form`: what is filled in
    already; `asks`: what the person fills in, by the form's field names."""

    step: str
    by: str
    roles: tuple[str, ...] | None = None
    decisions: tuple[Decision, ...] = ("approve", "reject")
    form: Mapping[str, Any] = field(default_factory=dict)
    asks: Mapping[str, FieldKind] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Invitation:
    """`expires_s`: seconds since the epoch. `text`: what the page says to the person."""

    process_id: str
    says: Signal | Approval
    expires_s: int
    text: str = ""


@dataclass(frozen=True, slots=True)
class Opened:
    """A link whose signature is right and whose time has not come. `nonce` is its own, for single use."""

    invitation: Invitation
    nonce: str


class _Short(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    p: Annotated[str, Field(max_length=KEY_LENGTH_MAX * 2)]
    x: int
    n: Annotated[str, Field(min_length=NONCE_LENGTH_MIN, max_length=64)]
    t: Annotated[str, Field(max_length=500)] = ""
    s: Text | None = None
    d: dict[str, Any] = {}
    a: Text | None = None
    b: Text | None = None
    r: tuple[Text, ...] | None = None
    c: tuple[Decision, ...] = ("approve", "reject")
    f: dict[str, FieldKind] = {}


def mint(secret: str, invitation: Invitation, nonce: str) -> str:
    """The link's token. `nonce`: at least 16 characters that no other link has.

    Raises:
        ValueError: the secret is too short, or the invitation is not one.
    """
    if len(secret) < SECRET_LENGTH_MIN:
        raise ValueError(f"the secret of links has {len(secret)} characters; it needs {SECRET_LENGTH_MIN}")
    if not _is_process_id(invitation.process_id):
        raise ValueError(f"{invitation.process_id!r} is no process id (<saga>:<business key>)")
    body = _short(invitation, nonce).model_dump_json(exclude_none=True, exclude_defaults=True).encode()
    token = f"{_text(body)}.{_text(_signature(secret, body))}"
    if len(token) > LINK_LENGTH_MAX:
        raise ValueError(f"the link would have {len(token)} characters, at most {LINK_LENGTH_MAX} fit into an address")
    return token


def open_link(secrets: Sequence[str], token: str, now_s: int) -> Opened:
    """`secrets`: any of them may have signed it. Raises LinkRefused."""
    body_text, _, signature_text = token.partition(".")
    if len(token) > LINK_LENGTH_MAX:
        raise LinkRefused("invalid", "this link is not valid")
    try:
        body, signature = _bytes(body_text), _bytes(signature_text)
    except (binascii.Error, ValueError):
        raise LinkRefused("invalid", "this link is not valid") from None
    if not any(hmac.compare_digest(_signature(secret, body), signature) for secret in secrets):
        raise LinkRefused("invalid", "this link is not valid")
    try:
        short = _Short.model_validate_json(body)
    except ValidationError:
        raise LinkRefused("invalid", "this link was made for another version of this program") from None
    if now_s >= short.x:
        raise LinkRefused("expired", "this link has expired")
    return Opened(_invitation(short), short.n)


def _short(invitation: Invitation, nonce: str) -> _Short:
    says = invitation.says
    common: dict[str, Any] = {
        "p": invitation.process_id,
        "x": invitation.expires_s,
        "n": nonce,
        "t": invitation.text,
    }
    if isinstance(says, Signal):
        return _Short(**common, s=says.name, d=dict(says.payload), b=says.sender)
    if not says.decisions or not says.by:
        raise ValueError("an approval's link needs a person in whose name it decides, and a decision to take")
    return _Short(
        **common, a=says.step, b=says.by, r=says.roles, c=says.decisions, d=dict(says.form), f=dict(says.asks)
    )


def _invitation(short: _Short) -> Invitation:
    """Raises LinkRefused: signed, and yet neither the one nor the other."""
    payload = MappingProxyType(short.d)
    if short.s is not None:
        return Invitation(short.p, Signal(short.s, payload, short.b), short.x, short.t)
    if short.a is None or short.b is None:
        raise LinkRefused("invalid", "this link was made for another version of this program")
    approval = Approval(short.a, short.b, short.r, short.c, payload, MappingProxyType(short.f))
    return Invitation(short.p, approval, short.x, short.t)


def _is_process_id(text: str) -> bool:
    return len(text) <= KEY_LENGTH_MAX + 128 and _PROCESS.fullmatch(text) is not None


def _signature(secret: str, body: bytes) -> bytes:
    return hmac.new(secret.encode(), _DOMAIN + body, hashlib.sha256).digest()


def _text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _bytes(text: str) -> bytes:
    return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
