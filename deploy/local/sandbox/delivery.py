"""Not answering: a connection that breaks after the work is done, and one on which nothing ever comes.

ASGI has no word for the first, so the HTTP protocol class puts a way to cut the connection into the scope.
"""

from __future__ import annotations

import asyncio
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from uvicorn.protocols.http.h11_impl import H11Protocol

SCOPE_KEY = "counterpoint.cut"
SILENCE_SECONDS = 120


class CuttableProtocol(H11Protocol):
    """HTTP/1.1 whose applications can cut their client's connection."""

    def __init__(self, *args: Any, **options: Any) -> None:
        """Take what uvicorn gives and wrap its application."""
        super().__init__(*args, **options)
        application = self.app

        async def with_cut(scope: Any, receive: Any, send: Any) -> None:
            await application({**scope, SCOPE_KEY: self._cut}, receive, send)

        self.app = with_cut

    def _cut(self) -> None:
        self.transport.abort()


async def cut(request: Request) -> Response:
    """Break the client's connection without an answer; the response returned here reaches nobody."""
    request.scope[SCOPE_KEY]()
    await _disconnected(request)
    return Response(status_code=503)


async def stay_silent(request: Request) -> Response:
    """Hold the request until the client hangs up, at most `SILENCE_SECONDS`, then break the connection."""
    try:
        await asyncio.wait_for(_disconnected(request), SILENCE_SECONDS)
    except (TimeoutError, asyncio.CancelledError):
        # Cancelled by a server that stops: raised on, it would become a 500, and silence would have answered after all.
        return await cut(request)
    return Response(status_code=503)


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
