"""What is read from a request, each with its limit."""

from __future__ import annotations

import asyncio
import re
from urllib.parse import urlsplit

import orjson
from starlette.requests import ClientDisconnect, Request

from services.gateway.gateway import GatewayLimits
from services.gateway.problems import Problem, bad_request, too_large

FORM_TYPE = "application/x-www-form-urlencoded"
JSON_TYPE = "application/json"
IDEMPOTENCY_KEY = "idempotency-key"
_KEY = re.compile(r"[\x21-\x7e]([\x20-\x7e]{0,253}[\x21-\x7e])?", re.ASCII)
_TRACE = re.compile(r"00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}", re.ASCII)


def media_type(request: Request) -> str:
    return request.headers.get("content-type", "").split(";", 1)[0].strip().lower()


def wants_page(request: Request) -> bool:
    """A browser's navigation: everybody else gets JSON."""
    return "text/html" in request.headers.get("accept", "")


def client_address(request: Request) -> str:
    return request.client.host if request.client is not None else "unknown"


def traceparent(request: Request) -> str | None:
    """W3C trace context; one that is not well formed is none."""
    found = request.headers.get("traceparent", "")
    return found if _TRACE.fullmatch(found) else None


async def read_body(request: Request, limits: GatewayLimits) -> bytes:
    """Raises Problem: too large, too slow, or broken off."""
    declared = request.headers.get("content-length", "")
    if declared.isascii() and declared.isdigit() and int(declared[:20]) > limits.body_bytes_max:
        raise too_large(limits.body_bytes_max)
    parts: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(limits.body_wait_s):
            async for part in request.stream():
                size += len(part)
                if size > limits.body_bytes_max:
                    raise too_large(limits.body_bytes_max)
                parts.append(part)
    except TimeoutError:
        detail = f"the body was not whole within {limits.body_wait_s:g} s"
        raise Problem(408, "too-slow", "The request is too slow", detail, headers={"Connection": "close"}) from None
    except ClientDisconnect:
        raise bad_request("broken-off", "the connection ended within the body") from None
    return b"".join(parts)


def idempotency_key(request: Request) -> str | None:
    """As the client sent it, without the quotes of a structured field (draft-ietf-httpapi-idempotency-key-header).

    Raises:
        Problem: there are two, or it is not 1-255 printable characters.
    """
    given = request.headers.getlist(IDEMPOTENCY_KEY)
    if not given:
        return None
    key = given[0].strip()
    if len(key) >= 2 and key[0] == key[-1] == '"':
        key = key[1:-1]
    return checked_key(key) if len(given) == 1 else checked_key("")


def checked_key(key: str) -> str:
    if not _KEY.fullmatch(key):
        raise bad_request("bad-key", "Idempotency-Key is one value of 1-255 printable ASCII characters")
    return key


def read_json(body: bytes) -> object:
    """Raises Problem."""
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise bad_request("invalid-json", f"the body is not JSON: {error}") from None


def check_origin(request: Request, allowed: frozenset[str]) -> None:
    """A form sent from a foreign page. A browser says whose page it is; what is no browser says nothing, and may.

    Raises:
        Problem: a page that is neither the gateway's own nor allowed.
    """
    origin = request.headers.get("origin")
    if origin is None or origin in allowed or "*" in allowed:
        return
    # The scheme is not compared: a proxy in front of the gateway may have taken the TLS off.
    if origin != "null" and urlsplit(origin).netloc == request.headers.get("host"):
        return
    raise Problem(403, "foreign-origin", "This page may not send forms here", f"origin {origin[:200]} is not allowed")
