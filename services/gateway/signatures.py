"""How a webhook's sender proves itself: an HMAC with SHA-256 over the body, and over its time where the scheme has one.

Pure: time is an argument. What the presets say is what the senders document; another sender is declared by the same
few words (docs/gateway.md).
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, Literal

CANDIDATES_MAX = 8
"""Signatures of one request that are looked at: a sender that rotates its secret sends two."""
HEADER_LENGTH_MAX = 4_096
TOLERANCE_MS = 300_000
"""The replay window of the presets that have a time: five minutes, as Stripe, Slack and Standard Webhooks advise."""

Layout = Literal["plain", "pairs", "list"]
Encoding = Literal["hex", "base64"]
Reason = Literal["no-signature", "no-timestamp", "bad-id", "stale", "wrong-signature"]

_PIECE = re.compile(r"(\{(?:body|timestamp|id)\})")
_SECONDS = re.compile(r"[0-9]{1,12}", re.ASCII)
_SIGNED_ID = re.compile(r"[A-Za-z0-9_-]{1,255}", re.ASCII)
"""No separator of a template is among these: else parts of id, time and body could be exchanged for one another."""
_HEX = re.compile(r"[0-9a-fA-F]{64}", re.ASCII)


class SignatureRefused(Exception):
    """The request is not proven to be from its source; `reason` says why, in one word for logs and metrics."""

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(detail)
        self.reason: Reason = reason
        self.detail = detail


@dataclass(frozen=True, slots=True)
class Scheme:
    """Where the signature stands, and what is signed. Header names are in lower case.

    `layout` of the header's value: `plain` = `<marker><signature>`; `pairs` = `t=<seconds>,<marker>=<signature>,...`;
    `list` = `<marker><signature>`, several separated by blanks. `signed` is made of `{body}`, `{timestamp}`, `{id}`.
    `tolerance_ms` is None for a scheme without a time: nothing tells an old request from a new one then.
    """

    header: str
    layout: Layout
    marker: str
    signed: str = "{body}"
    encoding: Encoding = "hex"
    secret_encoding: Literal["text", "base64"] = "text"
    timestamp_header: str | None = None
    id_header: str | None = None
    tolerance_ms: int | None = None

    def problem(self) -> str | None:
        """What is wrong with it, in one sentence."""
        if self.signed.count("{body}") != 1:
            return "`signed` must contain {body} once"
        timed = "{timestamp}" in self.signed
        if timed and self.layout != "pairs" and self.timestamp_header is None:
            return "`signed` has {timestamp}: name the timestamp_header"
        if timed != (self.tolerance_ms is not None):
            return "tolerance_seconds and {timestamp} in `signed` belong together: an unsigned time proves nothing"
        if ("{id}" in self.signed) != (self.id_header is not None):
            return "id_header and {id} in `signed` belong together: an unsigned id proves nothing"
        return None


PRESETS: Final[Mapping[str, Scheme]] = MappingProxyType(
    {
        "stripe": Scheme("stripe-signature", "pairs", "v1", "{timestamp}.{body}", tolerance_ms=TOLERANCE_MS),
        "github": Scheme("x-hub-signature-256", "plain", "sha256="),
        "slack": Scheme(
            "x-slack-signature",
            "plain",
            "v0=",
            "v0:{timestamp}:{body}",
            timestamp_header="x-slack-request-timestamp",
            tolerance_ms=TOLERANCE_MS,
        ),
        "standard-webhooks": Scheme(
            "webhook-signature",
            "list",
            "v1,",
            "{id}.{timestamp}.{body}",
            encoding="base64",
            secret_encoding="base64",
            timestamp_header="webhook-timestamp",
            id_header="webhook-id",
            tolerance_ms=TOLERANCE_MS,
        ),
    }
)


def key_of(scheme: Scheme, secret: str) -> bytes:
    """The key's bytes. Raises ValueError for a secret that is not what the scheme says."""
    if not secret:
        raise ValueError("the secret is empty")
    if scheme.secret_encoding == "text":
        return secret.encode()
    try:
        return base64.b64decode(secret.removeprefix("whsec_"), validate=True)
    except binascii.Error:
        raise ValueError("the secret is not base64") from None


def check(scheme: Scheme, keys: Sequence[bytes], headers: Mapping[str, str], body: bytes, now_ms: int) -> None:
    """Raises SignatureRefused unless one of `keys` signed this request within the replay window."""
    value = headers.get(scheme.header, "")
    if not value or len(value) > HEADER_LENGTH_MAX:
        raise SignatureRefused("no-signature", f"header {scheme.header} is missing or too long")
    timestamp = _timestamp(scheme, value, headers)
    signed_id = _id(scheme, headers)
    content = _content(scheme, timestamp, signed_id, body)
    expected = [hmac.new(key, content, hashlib.sha256).digest() for key in keys]
    given = list(_candidates(scheme, value))
    if not any(hmac.compare_digest(one, other) for one in expected for other in given):
        raise SignatureRefused("wrong-signature", "no signature fits the body and the secret")
    if scheme.tolerance_ms is not None and abs(now_ms - int(timestamp) * 1000) > scheme.tolerance_ms:
        seconds = scheme.tolerance_ms // 1000
        raise SignatureRefused("stale", f"it was signed more than {seconds} s before or after now")


def sign(scheme: Scheme, key: bytes, body: bytes, now_s: int, message_id: str) -> dict[str, str]:
    """The headers that a sender adds; for tests, and for `python -m services.gateway sign`."""
    digest = hmac.new(key, _content(scheme, str(now_s), message_id, body), hashlib.sha256).digest()
    text = digest.hex() if scheme.encoding == "hex" else base64.b64encode(digest).decode()
    value = f"t={now_s},{scheme.marker}={text}" if scheme.layout == "pairs" else f"{scheme.marker}{text}"
    headers = {scheme.header: value}
    if scheme.timestamp_header is not None:
        headers[scheme.timestamp_header] = str(now_s)
    if scheme.id_header is not None:
        headers[scheme.id_header] = message_id
    return headers


def _timestamp(scheme: Scheme, value: str, headers: Mapping[str, str]) -> str:
    if scheme.tolerance_ms is None:
        return ""
    if scheme.timestamp_header is not None:
        found = headers.get(scheme.timestamp_header, "").strip()
    else:
        found = next((text for name, text in _pairs(value) if name == "t"), "")
    if not _SECONDS.fullmatch(found):
        raise SignatureRefused("no-timestamp", "the signature has no time in seconds since 1970")
    return found


def _id(scheme: Scheme, headers: Mapping[str, str]) -> str:
    if scheme.id_header is None:
        return ""
    found = headers.get(scheme.id_header, "").strip()
    if not _SIGNED_ID.fullmatch(found):
        raise SignatureRefused("bad-id", f"header {scheme.id_header} is missing, or not 1-255 of [A-Za-z0-9_-]")
    return found


def _content(scheme: Scheme, timestamp: str, signed_id: str, body: bytes) -> bytes:
    values = {"{body}": body, "{timestamp}": timestamp.encode(), "{id}": signed_id.encode()}
    return b"".join(values.get(piece, piece.encode()) for piece in _PIECE.split(scheme.signed))


def _candidates(scheme: Scheme, value: str) -> Iterator[bytes]:
    """The signatures in the header's value that can be read."""
    if scheme.layout == "pairs":
        texts = [text for name, text in _pairs(value) if name == scheme.marker]
    else:
        parts = value.split() if scheme.layout == "list" else [value.strip()]
        texts = [part.removeprefix(scheme.marker) for part in parts if part.startswith(scheme.marker)]
    for text in texts[:CANDIDATES_MAX]:
        if scheme.encoding == "hex":
            if _HEX.fullmatch(text):
                yield bytes.fromhex(text)
            continue
        try:
            yield base64.b64decode(text, validate=True)
        except (binascii.Error, ValueError):
            continue


def _pairs(value: str) -> Iterator[tuple[str, str]]:
    for part in value.split(","):
        name, _, text = part.partition("=")
        yield name.strip(), text.strip()
