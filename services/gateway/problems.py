"""What goes wrong, as RFC 9457 problem details: one place for all of them, so that a client can rely on the shape.

`type` is `urn:counterpoint:problem:<code>`; `errors` (its section 3) has `{pointer, detail, code}` for each field.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson
from pydantic import ValidationError
from starlette.responses import Response

from services.gateway.mapping import FieldError

MEDIA_TYPE = "application/problem+json"
ERRORS_MAX = 100
RETRY_S = 5


@dataclass(frozen=True, slots=True)
class FieldProblem:
    """`pointer`: a JSON pointer as a fragment, `#/lines/0/quantity`. `place`: the same, as a form's field is named."""

    place: str
    pointer: str
    detail: str
    code: str

    @property
    def as_json(self) -> dict[str, str]:
        return {"pointer": self.pointer, "detail": self.detail, "code": self.code}


class Problem(Exception):
    """An answer that is not a success."""

    def __init__(
        self,
        status: int,
        code: str,
        title: str,
        detail: str,
        *,
        headers: Mapping[str, str] | None = None,
        errors: Sequence[FieldProblem] = (),
        more: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(f"{code}: {detail}")
        self.status = status
        self.code = code
        self.title = title
        self.detail = detail
        self.headers = dict(headers or {})
        self.errors = tuple(errors)
        self.more = dict(more or {})

    def response(self) -> Response:
        content: dict[str, Any] = {
            "type": f"urn:counterpoint:problem:{self.code}",
            "title": self.title,
            "status": self.status,
            "detail": self.detail,
            **self.more,
        }
        if self.errors:
            content["errors"] = [one.as_json for one in self.errors]
        return Response(orjson.dumps(content), self.status, headers=self.headers, media_type=MEDIA_TYPE)


def not_found(detail: str) -> Problem:
    return Problem(404, "not-found", "There is nothing here", detail)


def bad_request(code: str, detail: str) -> Problem:
    return Problem(400, code, "The request cannot be read", detail)


def too_large(bytes_max: int) -> Problem:
    return Problem(413, "too-large", "The request is too large", f"at most {bytes_max} bytes are taken")


def too_many(wait_s: float, whose: str) -> Problem:
    seconds = max(1, math.ceil(wait_s))
    headers = {"Retry-After": str(seconds)}
    detail = f"the limit of {whose} is reached; try again in {seconds} s"
    return Problem(429, "too-many-requests", "Too many requests", detail, headers=headers)


def unavailable(detail: str, key: str | None) -> Problem:
    """`key`: what a repeat needs so that it is the same event."""
    said = f"Nothing is known to be accepted: {detail}. Repeat it with the same key: the event has the same id then."
    more = {} if key is None else {"idempotency_key": key}
    return Problem(
        503, "unavailable", "It cannot be accepted now", said, headers={"Retry-After": str(RETRY_S)}, more=more
    )


def conflict(status: int, detail: str, event_id: str) -> Problem:
    return Problem(status, "key-reused", "The key was used before", detail, more={"event_id": event_id})


def invalid(errors: Sequence[FieldProblem], title: str = "Fields are not as the contract says") -> Problem:
    shown = errors[:ERRORS_MAX]
    detail = "; ".join(f"{one.place or 'as a whole'}: {one.detail}" for one in shown[:3])
    more = f"; and {len(errors) - 3} more" if len(errors) > 3 else ""
    return Problem(422, "invalid-fields", title, f"{detail}{more}", errors=shown)


def field_problems(error: ValidationError) -> list[FieldProblem]:
    """What a contract says of a payload; without the values, which may be nobody else's business."""
    found = error.errors(include_url=False, include_context=False, include_input=False)
    # pydantic counts only the elements that are valid: a list of one wrong element is "too short" to it.
    inner = {one["loc"][:length] for one in found for length in range(len(one["loc"]))}
    kept = [one for one in found if not (one["type"] == "too_short" and one["loc"] in inner)]
    return [field_problem(one["loc"], one["msg"].removeprefix("Value error, "), one["type"]) for one in kept]


def mapping_problems(errors: Sequence[FieldError]) -> list[FieldProblem]:
    return [field_problem(one.place, one.detail, "mapping") for one in errors]


def field_problem(place: Sequence[str | int], detail: str, code: str) -> FieldProblem:
    steps = [str(step) for step in place]
    escaped = [step.replace("~", "~0").replace("/", "~1") for step in steps]
    return FieldProblem(".".join(steps), "#" + "".join(f"/{step}" for step in escaped), detail, code)
