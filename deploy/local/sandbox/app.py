"""The HTTP side of the sandbox: routes for every provider, the ledger, the faults, and health."""

from __future__ import annotations

import asyncio
import queue
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import orjson
from fastapi import FastAPI, Request
from pydantic import ValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from deploy.local.sandbox.books import LEDGER_MAX, ProviderBooks, read_ledger
from deploy.local.sandbox.delivery import cut, stay_silent
from deploy.local.sandbox.faults import Fault, Faults, Verdict
from deploy.local.sandbox.perform import Outcome, fingerprint, perform
from deploy.local.sandbox.provider import Call, Delivery, Lookup, Operation, Provider, Reply, RequestBody, refusal
from deploy.local.sandbox.under_way import UnderWay
from deploy.local.sandbox.webhooks import Address, Teller
from deploy.local.sandbox.writer import Writer

KEY_LIMIT = 255
BODY_BYTES_MAX = 1024 * 1024
"""Of a request; no message of the product is larger."""
BOOKS_FILE = "books.sqlite"
LEDGER_FILTERS = ("provider", "kind", "reference")

Endpoint = Callable[[Request], Awaitable[Response]]


class Sandbox:
    """The parts that all routes share, and the way of every request through them."""

    def __init__(self, data: Path, providers: Sequence[Provider]) -> None:
        """Keep the books in folder `data`."""
        self.path = data / BOOKS_FILE
        self.writer = Writer(self.path)
        self.faults = Faults()
        self.under_way = UnderWay()
        self.names = [provider.name for provider in providers]

    async def operate(self, provider: str, operation: Operation, request: Request) -> Response:
        """Take one request that may change the world: validate, misbehave as asked, do it once, answer (or not)."""
        raw = await _body(request)
        if raw is None:
            return _answer(refusal(413, "too_large", f"A body has at most {BODY_BYTES_MAX} bytes."))
        verdict = self.faults.judge(provider)
        if verdict.silent or verdict.refused:
            await asyncio.sleep(verdict.wait_ms / 1000)
            return await _misbehaved(request, verdict)
        key = request.headers.get("idempotency-key", "") if operation.keyed else ""
        if operation.keyed and not 1 <= len(key) <= KEY_LIMIT:
            return _answer(
                refusal(400, "idempotency_key_missing", f"Send Idempotency-Key, 1 to {KEY_LIMIT} characters.")
            )
        try:
            given = orjson.loads(raw)
            body = operation.body.model_validate(given)
        except orjson.JSONDecodeError:
            return _answer(refusal(400, "invalid_request", "The body is not JSON."))
        except ValidationError as error:
            return _invalid(error)
        mark = fingerprint(operation.path, given)
        outcome = await self._do(provider, operation, body, key, mark, verdict.wait_ms)
        return await _deliver(request, outcome, lose_answer=verdict.lose_answer)

    async def _do(
        self, provider: str, operation: Operation, body: RequestBody, key: str, mark: bytes, wait_ms: int
    ) -> Outcome:
        """Do it, as late as a fault wants. An undo is not done while something that it covers is under way: it would
        find nothing, and what it covers would be there after it."""
        if operation.covers is None:
            reference = None if operation.reference is None else operation.reference(body)
            with self.under_way.request(provider, key, reference):
                await asyncio.sleep(wait_ms / 1000)
                return await self._perform(provider, operation, body, key, mark)
        await asyncio.sleep(wait_ms / 1000)
        if self.under_way.any_of(provider, operation.covers(body)):
            return _in_progress()
        return await self._perform(provider, operation, body, key, mark)

    async def _perform(self, provider: str, operation: Operation, body: RequestBody, key: str, mark: bytes) -> Outcome:
        call = Call(key, _now())
        return await self.writer.do(lambda books: perform(books, provider, operation, body, mark, call))

    async def look_up(self, provider: str, lookup: Lookup, request: Request) -> Response:
        """Take one request that changes nothing; the provider's faults hit it too, but it has no answer to lose."""
        verdict = self.faults.judge(provider)
        await asyncio.sleep(verdict.wait_ms / 1000)
        if verdict.silent or verdict.refused:
            return await _misbehaved(request, verdict)
        parameters = {**request.query_params, **request.path_params}
        reply = await self.writer.do(lambda books: lookup.reader(ProviderBooks(books, provider), parameters))
        return _answer(reply)

    async def ledger(self, request: Request) -> Response:
        """`GET /ledger`."""
        query = request.query_params
        since = query.get("since")
        try:
            start = None if since is None else _time(datetime.fromisoformat(since))
        except ValueError:
            return _answer(refusal(400, "invalid_request", "since is an RFC 3339 time."))
        filters = {name: query.get(name) for name in LEDGER_FILTERS}
        found = await asyncio.to_thread(read_ledger, self.path, filters, start)
        if found is None:
            text = f"More than {LEDGER_MAX} effects; ask for those of a provider, kind or reference, or since a time."
            return _answer(refusal(413, "too_many", text))
        return _json(200, found)

    async def put_fault(self, request: Request) -> Response:
        """`POST /faults`."""
        try:
            fault = Fault.model_validate_json(await request.body())
        except ValidationError as error:
            return _invalid(error)
        if fault.provider not in self.names:
            return _answer(refusal(400, "invalid_request", f"The providers here are: {', '.join(self.names)}."))
        self.faults.put(fault)
        return self._listed()

    async def list_faults(self, request: Request) -> Response:
        """`GET /faults`."""
        return self._listed()

    async def clear_faults(self, request: Request) -> Response:
        """`DELETE /faults`."""
        self.faults.clear(request.query_params.get("provider"))
        return self._listed()

    async def health(self, request: Request) -> Response:
        """`GET /healthz` and `/readyz`: the books can be written."""
        await self.writer.do(lambda books: None)
        return _answer(Reply(200, {"status": "ok"}))

    def _listed(self) -> Response:
        return _answer(Reply(200, {"faults": [fault.model_dump() for fault in self.faults.listed()]}))


def make_app(data: Path, providers: Sequence[Provider], webhooks: Mapping[str, Address] | None = None) -> FastAPI:
    """Return the application that plays `providers` and keeps its books in folder `data`. `webhooks`: where those of
    each provider go."""
    sandbox = Sandbox(data, providers)
    teller = Teller(sandbox.writer, webhooks or {})

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        sandbox.writer.start()
        telling = asyncio.create_task(teller.run())
        yield
        telling.cancel()
        await asyncio.wait((telling,))
        await asyncio.to_thread(sandbox.writer.close)

    app = FastAPI(title="Counterpoint sandbox", lifespan=lifespan, openapi_url=None)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(queue.Full, _busy)
    _route(app, "GET", "/ledger", sandbox.ledger)
    _route(app, "GET", "/faults", sandbox.list_faults)
    _route(app, "POST", "/faults", sandbox.put_fault)
    _route(app, "DELETE", "/faults", sandbox.clear_faults)
    _route(app, "GET", "/healthz", sandbox.health)
    _route(app, "GET", "/readyz", sandbox.health)
    for provider in providers:
        for operation in provider.operations:
            _route(app, "POST", operation.path, partial(sandbox.operate, provider.name, operation))
        for lookup in provider.lookups:
            _route(app, "GET", lookup.path, partial(sandbox.look_up, provider.name, lookup))
    return app


def _route(app: FastAPI, method: str, path: str, endpoint: Endpoint) -> None:
    app.router.add_route(path, endpoint, methods=[method])


async def _misbehaved(request: Request, verdict: Verdict) -> Response:
    if verdict.silent:
        return await stay_silent(request)
    return _answer(refusal(503, "unavailable", "A fault was asked for; try again."))


def _in_progress() -> Outcome:
    reply = refusal(409, "request_in_progress", "A request that this covers is under way; ask again.", stored=False)
    return Outcome(reply.status, orjson.dumps(reply.body))


async def _deliver(request: Request, outcome: Outcome, *, lose_answer: bool) -> Response:
    if outcome.delivery is Delivery.SILENT:
        return await stay_silent(request)
    if outcome.delivery is Delivery.LOST or (lose_answer and not outcome.replayed):
        return await cut(request)
    response = Response(outcome.body, status_code=outcome.status, media_type=outcome.media_type)
    if outcome.replayed:
        response.headers["Idempotency-Replayed"] = "true"
    return response


async def _body(request: Request) -> bytes | None:
    """None: it is too large; the rest is not read."""
    parts, size = [], 0
    async for part in request.stream():
        size += len(part)
        if size > BODY_BYTES_MAX:
            return None
        parts.append(part)
    return b"".join(parts)


async def _busy(request: Request, error: Exception) -> Response:
    return _answer(refusal(503, "unavailable", "Too many requests wait for the books."))


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return _answer(refusal(error.status_code, "invalid_request", str(error.detail)))


def _invalid(error: ValidationError) -> Response:
    first = error.errors(include_url=False, include_context=False)[0]
    where = ".".join(str(part) for part in first["loc"]) or "body"
    return _answer(refusal(400, "invalid_request", f"{where}: {first['msg']}"))


def _answer(reply: Reply) -> Response:
    return _json(reply.status, orjson.dumps(reply.body))


def _json(status: int, content: bytes) -> Response:
    return Response(content, status_code=status, media_type="application/json")


def _now() -> str:
    return _time(datetime.now(UTC))


def _time(moment: datetime) -> str:
    # Always of the same length, so that times compare as texts.
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
