"""One outside system over HTTP: `httpx`, several attempts under one idempotency key, one time limit over all. A system
without keys is asked again only while it is certain that it did nothing.

The loop owns all retries of a call (the handlers have none of their own), so that ten seconds are ten seconds.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final, TypeVar

import httpx
import orjson
from pydantic import BaseModel, ValidationError

from services.sdk import Unknown
from services.sdk.outside.judgement import Answer, CallLimits, Verdict, code_of, exhausted, judge, provider_key
from services.sdk.surroundings import Surroundings, system_surroundings

CREATED: Final = 201
CONFLICT: Final = 409
CONNECTIONS_MAX: Final = 300
"""To one provider from one service: more than `CallLimits.concurrent`, so that no call waits for a connection."""
KEEPALIVE_SECONDS: Final = 15.0

Model = TypeVar("Model", bound=BaseModel)


class ProviderHttp:
    """Posts to one provider. The client is the caller's to close; it has the provider's base URL."""

    def __init__(
        self, name: str, client: httpx.AsyncClient, limits: CallLimits, around: Surroundings | None = None
    ) -> None:
        self.name = name
        self._client = client
        self._limits = limits
        self._around = around or system_surroundings()
        self._slots = asyncio.Semaphore(limits.concurrent)

    async def post(self, path: str, body: dict[str, Any], *, key: str | None) -> Answer:
        """The provider's final answer (see Verdict), whatever its status. The time limits begin when a slot is free.
        `key` None: the provider has none, so that a repeat of what may have been done would do it twice.

        Raises:
            NotDone: no attempt got through, and none can have done anything.
            Unknown: no final answer, and at least one attempt may have had its effect.
        """
        async with self._slots:
            return await self._post(path, body, key)

    async def _post(self, path: str, body: dict[str, Any], key: str | None) -> Answer:
        certain, give_up_at = True, self._around.monotonic_s() + self._limits.total_s
        for attempt in range(1, self._limits.pauses.attempts + 1):
            verdict, met, response = await self._attempt(path, body, key, give_up_at - self._around.monotonic_s())
            if verdict is Verdict.FINAL and response is not None:
                return Answer(response.status_code, _json(response), certain)
            certain = certain and verdict is Verdict.NOT_DONE
            if key is None and not certain:
                raise exhausted(self.name, f"{met} (it has no idempotency keys)", certain=False)
            left_s = give_up_at - self._around.monotonic_s()
            pause_s = self._limits.pauses.pause_s(attempt, self._around.random(), left_s)
            if pause_s is None:
                raise exhausted(self.name, f"{met} ({attempt} attempts)", certain=certain)
            await self._around.sleep(pause_s)
        raise AssertionError("pause_s ends the loop at the last attempt")

    def read_created(self, model: type[Model], answer: Answer) -> Model:
        """The body of a 201.

        Raises:
            NotDone, Unknown: any other status, as `Answer.unexpected`.
            Unknown: a 201 that cannot be read.
        """
        if answer.status != CREATED:
            raise answer.unexpected(self.name)
        try:
            return model.model_validate(answer.body)
        except ValidationError as error:
            raise Unknown("unreadable-answer", f"{self.name} answered 201 without what was asked for") from error

    async def _attempt(
        self, path: str, body: dict[str, Any], key: str | None, left_s: float
    ) -> tuple[Verdict, str, httpx.Response | None]:
        headers = {"Content-Type": "application/json"}
        if key is not None:
            headers["Idempotency-Key"] = provider_key(key)
        try:
            async with asyncio.timeout(min(self._limits.answer_s, left_s)):
                response = await self._client.post(path, content=orjson.dumps(body), headers=headers)
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout) as error:
            # The request never left: no connection carried it.
            return Verdict.NOT_DONE, _named(error), None
        except (httpx.TransportError, TimeoutError) as error:
            return Verdict.OPEN, _named(error), None
        code = code_of(_json(response)) if response.status_code == CONFLICT else None
        met = f"status {response.status_code} {code or ''}".rstrip()
        return judge(response.status_code, code), met, response


def open_client(base_url: str, limits: CallLimits) -> httpx.AsyncClient:
    """A client of one provider; `base_url` without the paths that an adapter adds. Ignores proxy variables of the
    environment, which only composition roots read."""
    return httpx.AsyncClient(
        base_url=base_url,
        timeout=httpx.Timeout(limits.answer_s, connect=limits.connect_s, pool=limits.connect_s),
        limits=httpx.Limits(
            max_connections=CONNECTIONS_MAX,
            max_keepalive_connections=CONNECTIONS_MAX,
            keepalive_expiry=KEEPALIVE_SECONDS,
        ),
        trust_env=False,
    )


def _json(response: httpx.Response) -> Any:
    """None for a body that is not JSON: the caller then does not find what it needs."""
    try:
        return orjson.loads(response.content)
    except orjson.JSONDecodeError:
        return None


def _named(error: Exception) -> str:
    return f"{type(error).__name__} {error}".strip()
