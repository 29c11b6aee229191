"""All mistakes of a handler are found before the first message."""

from __future__ import annotations

from typing import Protocol

import pytest

from contracts.message import Event, Message
from services.sdk import Delivery, RegistrationError, Retry, Service
from services.sdk.injection import bind, find
from services.sdk.start import needed_topics
from tests.sdk.sample import CATALOG, Heard, Noticed, Ping, Pinged, Refused, Unpinged, make_service


def service() -> Service:
    return Service("sample", contexts=("sample",), catalog=CATALOG)


async def not_async_is_refused_by_its_own_test(command: Ping) -> Pinged:
    return Pinged(name=command.name)


def test_a_service_subscribes_to_its_messages_its_contexts_and_its_replays() -> None:
    made = make_service()
    assert made.topics == ("sample.commands", "sample.events", "sample.replays")
    assert made.commands == ("sample.ping.v1", "sample.unping.v1")
    assert needed_topics(made) == ("sample.commands", "sample.dead-letters", "sample.events", "sample.replays")


def test_one_handler_a_type() -> None:
    made = service()
    made.handles(Ping)(not_async_is_refused_by_its_own_test)
    with pytest.raises(RegistrationError, match="already handles"):
        made.handles(Ping)(not_async_is_refused_by_its_own_test)


def test_a_handler_is_async() -> None:
    def ping(command: Ping) -> Pinged:
        return Pinged(name=command.name)

    with pytest.raises(RegistrationError, match="async def"):
        service().handles(Ping)(ping)


def test_the_first_parameter_is_the_message() -> None:
    async def ping(command: Noticed) -> Pinged:
        return Pinged(name=command.name)

    with pytest.raises(RegistrationError, match="first parameter must be annotated with Ping"):
        service().handles(Ping)(ping)


def test_the_return_annotation_is_required() -> None:
    async def ping(command: Ping):  # type: ignore[no-untyped-def]  # noqa: ANN202, RUF100 - the mistake under test
        return Pinged(name=command.name)

    with pytest.raises(RegistrationError, match="annotate what it returns"):
        service().handles(Ping)(ping)


def test_a_command_handler_may_not_return_nothing() -> None:
    async def ping(command: Ping) -> Pinged | None:
        return None

    with pytest.raises(RegistrationError, match="may return NoneType without an outcome of Ping"):
        service().handles(Ping)(ping)


def test_a_command_handler_may_not_return_another_event_alone() -> None:
    async def ping(command: Ping) -> Pinged | Unpinged:
        return Pinged(name=command.name)

    with pytest.raises(RegistrationError, match="may return Unpinged without an outcome"):
        service().handles(Ping)(ping)


def test_an_outcome_may_be_accompanied() -> None:
    async def ping(command: Ping) -> tuple[Pinged, *tuple[Heard, ...]] | Refused | tuple[Message, ...] | list[Event]:
        return Refused(name=command.name)

    made = service()
    made.handles(Ping)(ping)
    assert Heard in made.handlers["sample.ping.v1"].returns or made.handlers["sample.ping.v1"].returns


def test_unknown_annotations_name_the_fix() -> None:
    async def ping(command: Ping, thing: Nowhere) -> Pinged:  # type: ignore[name-defined]  # noqa: F821 - the mistake
        return Pinged(name=command.name)

    with pytest.raises(RegistrationError, match="not only under TYPE_CHECKING"):
        service().handles(Ping)(ping)


def test_unfinished_is_one_of_two_words() -> None:
    with pytest.raises(RegistrationError, match="not 'repeat' or 'unknown'"):
        service().handles(Ping, unfinished="maybe")(not_async_is_refused_by_its_own_test)  # type: ignore[arg-type]


def test_service_names_are_plain() -> None:
    with pytest.raises(RegistrationError, match="service name"):
        Service("Payment Service")


class Gateway(Protocol):
    async def charge(self, key: str) -> str: ...


class HttpGateway:
    async def charge(self, key: str) -> str:
        return key


class SlowGateway(HttpGateway):
    pass


class Bell:
    pass


def test_resources_are_found_by_class_base_class_and_protocol() -> None:
    gateway, bell = SlowGateway(), Bell()
    assert find("h", SlowGateway, [gateway, bell]) is gateway
    assert find("h", HttpGateway, [gateway, bell]) is gateway
    assert find("h", Gateway, [gateway, bell]) is gateway


def test_the_exact_class_wins_over_a_subclass() -> None:
    plain = HttpGateway()
    assert find("h", HttpGateway, [SlowGateway(), plain]) is plain


def test_an_absent_or_ambiguous_resource_is_an_error() -> None:
    with pytest.raises(RegistrationError, match="h: Gateway is missing among the service's resources \\(Bell\\)"):
        find("h", Gateway, [Bell()])
    with pytest.raises(RegistrationError, match="Gateway is ambiguous"):
        find("h", Gateway, [HttpGateway(), SlowGateway()])


def test_the_delivery_is_injected_at_its_place() -> None:
    handler = make_service().handlers["sample.ping.v1"]
    with pytest.raises(RegistrationError, match="World is missing"):
        bind(handler, [Bell()])


@pytest.mark.parametrize(
    ("attempt", "random", "left_s", "expected"),
    [
        (1, 0.5, None, 0.2),
        (2, 0.5, None, 0.4),
        (3, 0.5, None, 0.8),
        (4, 0.5, None, None),
        (1, 0.0, None, 0.16),
        (1, 1.0, None, 0.24),
        (1, 0.5, 0.2, None),
        (1, 0.5, 0.21, 0.2),
        (1, 0.5, -1.0, None),
    ],
)
def test_pauses(attempt: int, random: float, left_s: float | None, expected: float | None) -> None:
    pause = Retry(attempts=4, first=0.2, factor=2.0, ceiling=10.0, jitter=0.2).pause_s(attempt, random, left_s)
    assert pause == (None if expected is None else pytest.approx(expected))


def test_a_pause_has_a_ceiling() -> None:
    assert Retry(attempts=20, first=1, factor=10, ceiling=3, jitter=0).pause_s(10, 0.5, None) == 3


@pytest.mark.parametrize(
    "wrong", [{"attempts": 0}, {"attempts": 21}, {"first": -1.0}, {"factor": 0.5}, {"jitter": 2.0}]
)
def test_a_policy_outside_its_range_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r"attempts|policy"):
        Retry(**wrong)  # type: ignore[arg-type]


def test_delivery_is_a_value() -> None:
    delivery = Delivery("i", "/s", "t", "i", None, (), None, None, "topic", 0, 0, 1, unfinished=False, received_at_ms=1)
    with pytest.raises(AttributeError):
        delivery.attempt = 2  # type: ignore[misc]
