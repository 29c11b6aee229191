"""The message base: frozen pydantic models with a type name, and commands that name their outcomes."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Annotated, Any, ClassVar, TypeAlias

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    WithJsonSchema,
)

TYPE_PATTERN = re.compile(r"^[a-z][a-z0-9-]*\.[a-z][a-z0-9-]*\.v[1-9][0-9]*$")


UTC_TIME_PATTERN = r"^\d{4}-\d{2}-\d{2}[Tt]\d{2}:\d{2}:\d{2}(\.\d+)?([Zz]|[+-]00:00)$"
"""RFC 3339 with offset zero. Part of the public schema: pydantic by itself would also take a number for a time."""


def _must_be_rfc3339(value: object) -> object:
    if isinstance(value, datetime) or (isinstance(value, str) and re.fullmatch(UTC_TIME_PATTERN, value, re.ASCII)):
        return value
    raise ValueError("must be a UTC time (RFC 3339 with 'Z' or '+00:00')")


def _must_be_utc(value: datetime) -> datetime:
    if value.tzinfo is UTC:
        return value
    offset = value.utcoffset()
    if offset is None or offset.total_seconds() != 0:
        raise ValueError("must be a UTC time (RFC 3339 with 'Z' or '+00:00')")
    return value


Identifier: TypeAlias = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._-]{1,128}$")]
"""Ids are 1-128 of `[A-Za-z0-9._-]`: no colon, since process ids are joined with it."""

Text: TypeAlias = Annotated[str, StringConstraints(min_length=1, max_length=1_000)]
Cents: TypeAlias = Annotated[int, Field(ge=0, le=10**15, strict=True)]
"""An amount in integer minor units."""
Currency: TypeAlias = Annotated[str, StringConstraints(pattern=r"^[A-Z]{3}$")]
"""ISO 4217 code."""
Quantity: TypeAlias = Annotated[int, Field(ge=1, le=10**9, strict=True)]
Units: TypeAlias = Annotated[int, Field(ge=0, le=10**12, strict=True)]
"""A count of stock units; never below zero."""
UtcTime: TypeAlias = Annotated[
    AwareDatetime,
    BeforeValidator(_must_be_rfc3339),
    AfterValidator(_must_be_utc),
    WithJsonSchema({"type": "string", "format": "date-time", "pattern": UTC_TIME_PATTERN}),
]


class Message(BaseModel):
    """One message's payload. Unknown fields are ignored on reading (tolerant reader) and never written.

    A concrete message is declared with its type name: `class OrderPlaced(Event, type="orders.placed.v1")`.
    Its first field is the Kafka key.
    """

    model_config = ConfigDict(frozen=True, extra="ignore", ser_json_timedelta="iso8601")

    type: ClassVar[str] = ""
    topic: ClassVar[str] = ""
    _key_field: ClassVar[str] = ""

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        super().__pydantic_init_subclass__(**kwargs)
        cls._key_field = next(iter(cls.model_fields), "")

    def __init_subclass__(cls, *, type: str | None = None, topic_suffix: str = "events", **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if type is None:
            return
        if not TYPE_PATTERN.fullmatch(type):
            raise TypeError(f"{cls.__name__}: type {type!r} is not <context>.<name>.v<N>")
        cls.type = type
        cls.topic = f"{type.split('.', 1)[0]}.{topic_suffix}"

    @property
    def key(self) -> str:
        """The Kafka key: the value of the first field."""
        return str(getattr(self, self._key_field))

    def to_json(self) -> bytes:
        """The payload as JSON; absent optional fields are left out."""
        # As `model_dump_json` does, without the way over a text.
        return self.__pydantic_serializer__.to_json(self, exclude_none=True)


class Event(Message):
    """Says what happened. Lives on `<context>.events`."""


class Command(Message):
    """Asks one service to do something, and names the outcomes by which it is answered.

    `succeeds` and `refuses` are event classes (or tuples of them). A refusal is a final business answer with
    nothing to undo. Technical failures need no declaration: `counterpoint.command-failed.v1` answers any command.
    Lives on `<context>.commands`.
    """

    succeeds: ClassVar[tuple[type[Event], ...]] = ()
    refuses: ClassVar[tuple[type[Event], ...]] = ()

    def __init_subclass__(
        cls,
        *,
        type: str | None = None,
        succeeds: type[Event] | tuple[type[Event], ...] = (),
        refuses: type[Event] | tuple[type[Event], ...] = (),
        **kwargs: Any,
    ) -> None:
        super().__init_subclass__(type=type, topic_suffix="commands", **kwargs)
        cls.succeeds = succeeds if isinstance(succeeds, tuple) else (succeeds,)
        cls.refuses = refuses if isinstance(refuses, tuple) else (refuses,)
        if type is not None and not cls.succeeds:
            raise TypeError(f"{cls.__name__}: a command names the event that says it succeeded (succeeds=...)")
