"""The settings of services that call outside systems, from the host's options (`--option name=value`)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from services.sdk import StartRefused
from services.sdk.outside.judgement import CallLimits

PROVIDERS: Final = "providers"
INSTANT: Final = "instant"
"""Value of `providers` that replaces outside systems by the in-process fakes, which answer at once (benchmarks)."""
ANSWER_SECONDS: Final = "provider_answer_seconds"
TOTAL_SECONDS: Final = "provider_total_seconds"
CALL_OPTIONS: Final = (PROVIDERS, ANSWER_SECONDS, TOTAL_SECONDS)


def is_instant(options: Mapping[str, str]) -> bool:
    """Raises StartRefused for a value of `providers` that means nothing."""
    value = options.get(PROVIDERS, "http")
    if value not in ("http", INSTANT):
        raise StartRefused(f"option {PROVIDERS} is {value!r}, not 'http' or '{INSTANT}'")
    return value == INSTANT


def provider_url(options: Mapping[str, str], name: str) -> str:
    """Raises StartRefused if the option is not set."""
    url = options.get(name)
    if not url:
        environment = f"COUNTERPOINT_{name.upper()}"
        raise StartRefused(f"no address of the provider: set {environment} or --option {name}=URL")
    return url.rstrip("/") + "/"


def call_limits(options: Mapping[str, str]) -> CallLimits:
    """Raises StartRefused for a number that is none, or not above zero."""
    standard = CallLimits()
    return CallLimits(
        answer_s=_seconds(options, ANSWER_SECONDS, standard.answer_s),
        total_s=_seconds(options, TOTAL_SECONDS, standard.total_s),
    )


def _seconds(options: Mapping[str, str], name: str, standard: float) -> float:
    text = options.get(name)
    if text is None:
        return standard
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise StartRefused(f"option {name} is {text!r}, not a number of seconds above zero")
    return value
