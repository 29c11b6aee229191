"""How a submission is answered, and counted: the same for forms, webhooks and links."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import orjson
from starlette.responses import Response

from contracts.envelope import format_time
from contracts.ids import service_source
from contracts.message import Message
from services.gateway.failures import KeyConflict, Unavailable
from services.gateway.gateway import Gateway
from services.gateway.intake import SERVICE, Receipt, Submission, TooLarge
from services.gateway.metrics import Kind
from services.gateway.problems import Problem, conflict, unavailable

REPLAYED = "Idempotency-Replayed"
Counted = tuple[str, Response]
"""The word for the metrics, and the answer."""


async def counted(gateway: Gateway, kind: Kind, name: str, work: Callable[[], Awaitable[Counted]]) -> Response:
    """The answer of `work`; `name` must be from a closed set. Raises Problem as `work` does."""
    began_s = gateway.around.monotonic_s()
    result = "failed"
    try:
        result, response = await work()
        return response
    except Problem as problem:
        result = problem.code
        raise
    finally:
        gateway.metrics.ended(kind, name, result, gateway.around.monotonic_s() - began_s)


async def accept(gateway: Gateway, submission: Submission, told_key: str | None) -> Receipt:
    """`told_key`: the key that a repeat needs, if the sender should hear of it. Raises Problem."""
    try:
        return await gateway.intake.accept(submission)
    except Unavailable as error:
        raise unavailable(error.detail, told_key) from error
    except KeyConflict as error:
        detail = "the same key came before with another content; a new submission needs a new key"
        raise conflict(422, detail, error.event_id) from error
    except TooLarge as error:
        raise Problem(413, "too-large", "The event is too large", str(error)) from error


def word_of(receipt: Receipt) -> str:
    return "repeated" if receipt.repeated else "accepted"


def accepted(receipt: Receipt, message: Message, key: str | None) -> Response:
    """202: Kafka has it. Equal for every repeat, but for a header that says so."""
    content = {
        "event_id": receipt.event_id,
        "source": service_source(SERVICE),
        "type": receipt.type,
        "key": message.key,
        "time": format_time(receipt.received_ms),
    }
    if key is not None:
        content["idempotency_key"] = key
    headers = {REPLAYED: "true"} if receipt.repeated else {}
    return Response(orjson.dumps(content), 202, headers=headers, media_type="application/json")
