"""The HTTP application: routes, and what surrounds all of them."""

from __future__ import annotations

import structlog
from fastapi import FastAPI, Request, Response
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send

from services.gateway.gateway import Gateway
from services.gateway.page import STYLE, sentence_page
from services.gateway.problems import RETRY_S, Problem
from services.gateway.requests import wants_page
from services.gateway.routes_forms import form_routes
from services.gateway.routes_resume import resume_routes
from services.gateway.routes_webhooks import webhook_routes

CORS_SECONDS = 600
FORMS = "/forms/"

log = structlog.get_logger("services.gateway")


def build_app(gateway: Gateway) -> ASGIApp:
    """Complete; knows nothing of sockets."""
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    app.include_router(form_routes(gateway))
    app.include_router(webhook_routes(gateway))
    app.include_router(resume_routes(gateway))
    app.add_api_route("/page.css", _style, methods=["GET"])
    app.add_exception_handler(Problem, _problem)
    app.add_exception_handler(HTTPException, _http_problem)
    app.add_exception_handler(Exception, _failure)
    return Crowd(_FormsFromElsewhere(app, gateway.allowed_origins), gateway.limits.requests_max)


async def _style() -> Response:
    return Response(STYLE, media_type="text/css", headers={"Cache-Control": "max-age=3600"})


async def _problem(request: Request, error: Exception) -> Response:
    assert isinstance(error, Problem), "registered for it"
    if wants_page(request):
        return sentence_page(error.title, error.detail, error.status, error.headers)
    return error.response()


async def _http_problem(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException), "registered for it"
    code = {404: "not-found", 405: "method-not-allowed"}.get(error.status_code, "refused")
    problem = Problem(error.status_code, code, str(error.detail), f"{request.method} here", headers=error.headers)
    return await _problem(request, problem)


async def _failure(request: Request, error: Exception) -> Response:
    """A fault of ours. Starlette reports it to the log after this."""
    detail = "a fault of the gateway; whether anything was accepted is not known, so repeat it with the same key"
    return await _problem(request, Problem(500, "fault", "That went wrong", detail))


class _FormsFromElsewhere:
    """CORS for forms alone: a webhook is sent by no page, and a link is opened on the gateway's own."""

    def __init__(self, app: ASGIApp, origins: frozenset[str]) -> None:
        self._app = app
        self._forms = CORSMiddleware(
            app,
            allow_origins=sorted(origins),
            allow_methods=["GET", "POST"],
            allow_headers=["content-type", "idempotency-key", "traceparent"],
            expose_headers=["retry-after", "idempotency-replayed"],
            max_age=CORS_SECONDS,
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        forms = scope["type"] == "http" and str(scope["path"]).startswith(FORMS)
        await (self._forms if forms else self._app)(scope, receive, send)


class Crowd:
    """Bounds the requests under way: the one that is too many is told to come back, and costs nothing."""

    def __init__(self, app: ASGIApp, requests_max: int) -> None:
        self._app = app
        self._requests_max = requests_max
        self._inside = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        if self._inside >= self._requests_max:
            detail = f"{self._requests_max} requests are under way"
            headers = {"Retry-After": str(RETRY_S)}
            await Problem(503, "crowded", "Too busy", detail, headers=headers).response()(scope, receive, send)
            return
        self._inside += 1
        try:
            await self._app(scope, receive, send)
        finally:
            self._inside -= 1
