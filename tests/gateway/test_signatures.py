"""Signatures: what the senders' own documents give as examples, and that nothing changed by a bit is taken."""

from __future__ import annotations

import base64
import hashlib
import hmac
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.gateway.signatures import PRESETS, TOLERANCE_MS, Scheme, SignatureRefused, check, key_of, sign

NOW_S = 1_800_000_000
BASE64_SECRET = "whsec_" + base64.b64encode(b"a secret of 24 bytes....").decode()
schemes = pytest.mark.parametrize("name", PRESETS)


def secret_of(scheme: Scheme) -> str:
    return BASE64_SECRET if scheme.secret_encoding == "base64" else "a secret"


def refusal(scheme: Scheme, keys: list[bytes], headers: dict[str, str], body: bytes, now_s: int = NOW_S) -> str | None:
    try:
        check(scheme, keys, headers, body, now_s * 1000)
    except SignatureRefused as refused:
        return refused.reason
    return None


def test_the_example_of_github() -> None:
    """docs.github.com, "Validating webhook deliveries", section "Testing the webhook payload validation"."""
    digest = "757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"
    headers = {"x-hub-signature-256": f"sha256={digest}"}
    assert refusal(PRESETS["github"], [b"It's a Secret to Everybody"], headers, b"Hello, World!") is None


def test_the_example_of_slack() -> None:
    """api.slack.com, "Verifying requests from Slack"."""
    body = (
        b"token=xyzz0WbapA4vBCDEFasx0q6G&team_id=T1DC2JH3J&team_domain=testteamnow&channel_id=G8PSS9T3V"
        b"&channel_name=foobar&user_id=U2CERLKJA&user_name=roadrunner&command=%2Fwebhook-collect&text="
        b"&response_url=https%3A%2F%2Fhooks.slack.com%2Fcommands%2FT1DC2JH3J%2F397700885554%2F96rGlfmibIGlgcZRskXaIFfN"
        b"&trigger_id=398738663015.47445629121.803a0bc887a14d10d2c447fce8b6703c"
    )
    headers = {
        "x-slack-signature": "v0=a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b503",
        "x-slack-request-timestamp": "1531420618",
    }
    assert refusal(PRESETS["slack"], [b"8f742231b10e8888abcd99yyyzzz85a5"], headers, body, 1_531_420_618) is None


def test_the_example_of_standard_webhooks() -> None:
    """The test vector of the specification's own libraries."""
    headers = {
        "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "webhook-timestamp": "1614265330",
        "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    }
    scheme = PRESETS["standard-webhooks"]
    key = key_of(scheme, "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    assert refusal(scheme, [key], headers, b'{"test": 2432232314}', 1_614_265_330) is None


def test_stripes_way_as_its_documents_describe_it() -> None:
    """docs.stripe.com/webhooks, "Verify webhook signatures manually": HMAC-SHA256 over `<t>.<body>`, hexadecimal."""
    digest = hmac.new(b"whsec_x", f"{NOW_S}.".encode() + b"{}", hashlib.sha256).hexdigest()
    headers = {"stripe-signature": f"t={NOW_S},v1={'0' * 64},v1={digest},v0=abc"}
    assert refusal(PRESETS["stripe"], [b"whsec_x"], headers, b"{}") is None


@schemes
@given(body=st.binary(max_size=200), place=st.integers(0), bit=st.integers(0, 7))
def test_what_was_signed_is_taken_and_no_bit_of_it_may_change(name: str, body: bytes, place: int, bit: int) -> None:
    scheme = PRESETS[name]
    key = key_of(scheme, secret_of(scheme))
    headers = sign(scheme, key, body, NOW_S, "msg_1")
    assert refusal(scheme, [b"an older key", key], headers, body) is None
    assert refusal(scheme, [key + b"x"], headers, body) == "wrong-signature"
    changed = bytearray(body or b"\x00")
    if body:
        changed[place % len(body)] ^= 1 << bit
    assert refusal(scheme, [key], headers, bytes(changed)) == "wrong-signature"


@schemes
@given(junk=st.text(max_size=80), which=st.integers(0))
def test_no_header_makes_it_fail_otherwise_than_by_refusing(name: str, junk: str, which: int) -> None:
    scheme = PRESETS[name]
    key = key_of(scheme, secret_of(scheme))
    headers = sign(scheme, key, b"{}", NOW_S, "msg_1")
    chosen = sorted(headers)[which % len(headers)]
    if headers[chosen].strip() != junk.strip():
        assert refusal(scheme, [key], {**headers, chosen: junk}, b"{}") is not None
    assert refusal(scheme, [key], {one: v for one, v in headers.items() if one != chosen}, b"{}") is not None


@pytest.mark.parametrize("name", [name for name, scheme in PRESETS.items() if scheme.tolerance_ms is not None])
def test_the_replay_window_is_on_both_sides_of_now(name: str) -> None:
    scheme = PRESETS[name]
    key = key_of(scheme, secret_of(scheme))
    headers = sign(scheme, key, b"{}", NOW_S, "msg_1")
    seconds = TOLERANCE_MS // 1000
    assert [refusal(scheme, [key], headers, b"{}", NOW_S + by) for by in (-seconds, seconds)] == [None, None]
    assert [refusal(scheme, [key], headers, b"{}", NOW_S + by) for by in (-seconds - 1, seconds + 1)] == ["stale"] * 2


def test_the_time_is_signed() -> None:
    scheme = PRESETS["slack"]
    headers = sign(scheme, b"key", b"{}", NOW_S - 900, "")
    assert refusal(scheme, [b"key"], {**headers, "x-slack-request-timestamp": str(NOW_S)}, b"{}") == "wrong-signature"


def test_a_signed_id_cannot_take_a_part_of_the_rest() -> None:
    scheme = PRESETS["standard-webhooks"]
    headers = sign(scheme, b"key", b"1.{}", NOW_S, "a.b")
    assert refusal(scheme, [b"key"], headers, b"1.{}") == "bad-id"


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"signed": "{timestamp}"}, "{body} once"),
        ({"signed": "{body}{body}"}, "{body} once"),
        ({"timestamp_header": None}, "name the timestamp_header"),
        ({"tolerance_ms": None}, "unsigned time"),
        ({"signed": "{body}"}, "unsigned time"),
        ({"id_header": "x-id"}, "unsigned id"),
    ],
)
def test_a_scheme_that_proves_nothing_is_found(change: dict[str, object], complaint: str) -> None:
    assert PRESETS["slack"].problem() is None
    problem = replace(PRESETS["slack"], **change).problem()  # type: ignore[arg-type]
    assert problem is not None and complaint in problem


def test_an_empty_secret_is_none() -> None:
    with pytest.raises(ValueError, match="empty"):
        key_of(PRESETS["github"], "")
    with pytest.raises(ValueError, match="base64"):
        key_of(PRESETS["standard-webhooks"], "whsec_?")
