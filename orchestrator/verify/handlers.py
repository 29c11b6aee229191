"""Which service handles what: `contracts/handlers.json`, generated from the services."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

import contracts

DEFAULT_FILE = Path(contracts.__file__).parent / "handlers.json"


class HandlersError(RuntimeError):
    """The handlers file is absent or not what it should be; the message says what to do."""


class Handler(BaseModel):
    """One service: the types that it handles, and those that it publishes."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    service: str
    handles: tuple[str, ...]
    publishes: tuple[str, ...] = ()


class _File(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")

    handlers: tuple[Handler, ...]


@dataclass(frozen=True, slots=True)
class Handlers:
    """`known=None`: nothing is known about services, and nothing is checked against them."""

    known: tuple[Handler, ...] | None

    @classmethod
    def any(cls) -> Handlers:
        """For tests of sagas whose services do not matter."""
        return cls(None)

    def of(self, type_name: str) -> tuple[Handler, ...]:
        """The services that handle the type."""
        return tuple(handler for handler in self.known or () if type_name in handler.handles)


def read_handlers(file: Path | None = None) -> Handlers:
    """The handlers in `file`, default `contracts/handlers.json`. Raises HandlersError."""
    path = file or DEFAULT_FILE
    advice = "write it with `python -m services --write-handlers`"
    try:
        return Handlers(_File.model_validate_json(path.read_bytes()).handlers)
    except OSError as error:
        raise HandlersError(f"there is no readable {path.name}: {advice} ({error.strerror})") from error
    except ValidationError as error:
        raise HandlersError(f"{path.name} is not a handlers file: {advice} ({error.error_count()} errors)") from error
