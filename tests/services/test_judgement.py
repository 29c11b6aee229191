"""What an attempt proves, and how a call over HTTP adds that up. No network: the transport is a list of answers."""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable

import httpx
import pytest

from services.sdk import NotDone, Retry, Unknown
from services.sdk.outside.judgement import Answer, CallLimits, Verdict, judge, provider_key
from services.sdk.outside.provider_http import ProviderHttp
from services.sdk.surroundings import Surroundings

LIMITS = CallLimits(total_s=10.0, pauses=Retry(attempts=4, first=1.0, factor=2.0, jitter=0.0))


@pytest.mark.parametrize(
    ("status", "verdict"),
    [
        (200, Verdict.FINAL),
        (201, Verdict.FINAL),
        (302, Verdict.FINAL),
        (400, Verdict.FINAL),
        (402, Verdict.FINAL),
        (404, Verdict.FINAL),
        (409, Verdict.FINAL),
        (422, Verdict.FINAL),
        (429, Verdict.NOT_DONE),
        (503, Verdict.NOT_DONE),
        (408, Verdict.OPEN),
        (500, Verdict.OPEN),
        (502, Verdict.OPEN),
        (504, Verdict.OPEN),
    ],
)
def test_judge(status: int, verdict: Verdict) -> None:
    assert judge(status) is verdict


def test_an_undo_that_must_wait_for_what_it_covers_did_nothing() -> None:
    assert judge(409, "request_in_progress") is Verdict.NOT_DONE
    assert judge(409, "idempotency_key_reused") is Verdict.FINAL
    assert judge(402, "request_in_progress") is Verdict.FINAL


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (Answer(400, {"code": "invalid_request"}, certain=True), NotDone),
        (Answer(404, {"code": "unknown_payment"}, certain=True), NotDone),
        (Answer(404, None, certain=True), NotDone),
        (Answer(404, {"code": "unknown_payment"}, certain=False), Unknown),
        (Answer(409, {"code": "idempotency_key_reused"}, certain=True), Unknown),
        (Answer(302, None, certain=True), Unknown),
        (Answer(204, None, certain=True), Unknown),
    ],
)
def test_what_an_unexpected_answer_proves(answer: Answer, kind: type[Exception]) -> None:
    failure = answer.unexpected("the provider")

    assert type(failure) is kind
    assert not isinstance(failure, NotDone) or not failure.retryable


@pytest.mark.parametrize("key", ["order-fulfilment:o1/charge/1", "a", "x" * 255, "two words"])
def test_a_plain_key_is_sent_as_it_is(key: str) -> None:
    assert provider_key(key) == key


@pytest.mark.parametrize("key", ["", "x" * 256, " edge", "edge ", "zahlung-ü", "line\nbreak"])
def test_any_other_key_is_hashed(key: str) -> None:
    assert len(provider_key(key)) == 64
    assert provider_key(key) != provider_key(f"{key}.")


class Script(httpx.AsyncBaseTransport):
    """Plays the given answers: a status, or an exception; and keeps the keys it saw."""

    def __init__(self, *answers: int | Exception) -> None:
        self.answers = deque(answers)
        self.keys: list[str | None] = []

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.keys.append(request.headers.get("Idempotency-Key"))
        answer = self.answers.popleft()
        if isinstance(answer, Exception):
            raise answer
        return httpx.Response(answer, json={"code": f"code-{answer}"})


class FakeTime:
    def __init__(self) -> None:
        self.now_s = 0.0
        self.slept: list[float] = []

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now_s += seconds


def call(
    script: Script, time: FakeTime, limits: CallLimits = LIMITS, key: str | None = "k1"
) -> Callable[[], Awaitable[Answer]]:
    around = Surroundings(
        now_ms=lambda: 0, monotonic_s=lambda: time.now_s, sleep=time.sleep, random=lambda: 0.5, token=lambda: "0" * 8
    )
    client = httpx.AsyncClient(transport=script, base_url="http://provider/payment/")
    provider = ProviderHttp("the provider", client, limits, around)
    return lambda: provider.post("charges", {"a": 1}, key=key)


async def test_refusals_before_any_work_are_repeated_with_growing_pauses_and_the_same_key() -> None:
    script, time = Script(503, httpx.ConnectError("refused"), 429, 201), FakeTime()

    assert await call(script, time)() == Answer(201, {"code": "code-201"}, certain=True)
    assert time.slept == [1.0, 2.0, 4.0]
    assert script.keys == ["k1"] * 4


async def test_refused_every_time_is_not_done_and_worth_a_new_try() -> None:
    script = Script(503, httpx.ConnectError("refused"), httpx.ConnectTimeout("slow"), 503)

    with pytest.raises(NotDone) as raised:
        await call(script, FakeTime())()

    assert (raised.value.code, raised.value.retryable) == ("provider-unavailable", True)


@pytest.mark.parametrize(
    "doubt", [httpx.ReadTimeout("slow"), httpx.ReadError("broken"), httpx.RemoteProtocolError("cut"), 500, 504]
)
async def test_one_attempt_that_may_have_worked_makes_the_end_unknown(doubt: int | Exception) -> None:
    with pytest.raises(Unknown) as raised:
        await call(Script(503, doubt, 503, 503), FakeTime())()

    assert raised.value.code == "provider-silent"


async def test_a_final_answer_after_doubt_is_not_certain() -> None:
    script = Script(httpx.ReadError("broken"), 404)

    assert await call(script, FakeTime())() == Answer(404, {"code": "code-404"}, certain=False)


async def test_no_attempt_begins_after_the_time_limit() -> None:
    limits = CallLimits(total_s=3.5, pauses=Retry(attempts=9, first=1.0, factor=2.0, jitter=0.0))
    script, time = Script(*[503] * 9), FakeTime()

    with pytest.raises(NotDone, match="3 attempts"):
        await call(script, time, limits)()

    assert time.now_s == 3.0


async def test_without_a_key_a_certain_refusal_is_repeated_and_no_key_is_sent() -> None:
    script = Script(503, httpx.ConnectError("refused"), 200)

    assert (await call(script, FakeTime(), key=None)()).status == 200
    assert script.keys == [None] * 3


@pytest.mark.parametrize("doubt", [httpx.ReadTimeout("slow"), httpx.ReadError("broken"), 500])
async def test_without_a_key_what_may_have_been_done_is_never_asked_for_again(doubt: int | Exception) -> None:
    script = Script(503, doubt, 200)

    with pytest.raises(Unknown):
        await call(script, FakeTime(), key=None)()

    assert len(script.keys) == 2
