"""From a sender's JSON to the fields of an event: paths, constants, conversions, conditions. Pure, and bounded by the
size of the JSON and of the declaration.

The same words serve webhooks and foreign topics (docs/gateway.md).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from types import MappingProxyType
from typing import Any, Final

from contracts.envelope import format_time
from contracts.message import Event

Path = tuple[str, ...]
EVENT_ID_LENGTH_MAX = 512
TIME_MAX_MS = 253_402_300_799_000
"""The end of the year 9999, in milliseconds since the epoch."""
_WHOLE = re.compile(r"[+-]?[0-9]{1,18}", re.ASCII)


class _Absent:
    """What is not there; `None` is JSON's null, which is."""

    def __repr__(self) -> str:
        return "absent"


ABSENT: Final = _Absent()


@dataclass(frozen=True, slots=True)
class FieldError:
    """`place`: where in the event, as keys and numbers from its top. `detail`: one sentence."""

    place: tuple[str | int, ...]
    detail: str


class MappingError(Exception):
    """The sender's JSON does not hold what the declaration says. All that is wrong is in `errors`."""

    def __init__(self, errors: Sequence[FieldError]) -> None:
        super().__init__("; ".join(f"{'.'.join(map(str, one.place))}: {one.detail}" for one in errors))
        self.errors = tuple(errors)


@dataclass(frozen=True, slots=True)
class Pick:
    """The value at `path`. What is absent, or null, is `default`; with `optional` the field is left out instead."""

    path: Path
    convert: str | None = None
    optional: bool = False
    default: Any = ABSENT


@dataclass(frozen=True, slots=True)
class Constant:
    value: Any


@dataclass(frozen=True, slots=True)
class Nest:
    """An object; the paths inside are from where the object itself was asked for."""

    fields: Mapping[str, Spec]


@dataclass(frozen=True, slots=True)
class Each:
    """A list: `item` of every element of the list at `path`; the paths inside are from the element."""

    path: Path
    item: Spec
    optional: bool = False


Spec = Pick | Constant | Nest | Each


@dataclass(frozen=True, slots=True)
class Condition:
    """True if the value at `path` is one of `values`; without `values`, if its presence is `exists`."""

    path: Path
    values: tuple[Any, ...] = ()
    exists: bool = True

    def holds(self, payload: Any) -> bool:
        found = find(payload, self.path)
        if not self.values:
            return (found is not ABSENT) == self.exists
        # In Python True == 1; in JSON they differ.
        return any(type(found) is type(value) and found == value for value in self.values)


@dataclass(frozen=True, slots=True)
class Rule:
    """Which event a payload becomes if all of `when` hold, and how."""

    message: type[Event]
    when: tuple[Condition, ...]
    fields: Mapping[str, Spec]

    def fits(self, payload: Any) -> bool:
        return all(condition.holds(payload) for condition in self.when)


def find(payload: Any, path: Path) -> Any:
    """The value at `path`, ABSENT if there is none. A number picks an element of a list."""
    found = payload
    for step in path:
        if isinstance(found, Mapping):
            found = found.get(step, ABSENT)
        elif (
            isinstance(found, list) and step.isascii() and step.isdigit() and len(step) <= 6 and int(step) < len(found)
        ):
            found = found[int(step)]
        else:
            return ABSENT
    return found


def rule_for(rules: Sequence[Rule], payload: Any) -> Rule | None:
    """The first that fits."""
    return next((rule for rule in rules if rule.fits(payload)), None)


def fields_of(rule: Rule, payload: Any) -> dict[str, Any]:
    """The event's fields; whether they are what its contract says is not looked at. Raises MappingError."""
    errors: list[FieldError] = []
    made = _object(rule.fields, payload, (), errors)
    if errors:
        raise MappingError(errors)
    return made


def text_at(payload: Any, path: Path) -> str | None:
    """The id at `path`, which must be a text or a whole number; None if it is not."""
    found = find(payload, path)
    if isinstance(found, bool) or not isinstance(found, str | int):
        return None
    text = str(found)
    return text if 0 < len(text) <= EVENT_ID_LENGTH_MAX else None


def _object(
    fields: Mapping[str, Spec], payload: Any, place: tuple[str | int, ...], errors: list[FieldError]
) -> dict[str, Any]:
    made = {name: _made(spec, payload, (*place, name), errors) for name, spec in fields.items()}
    return {name: value for name, value in made.items() if value is not ABSENT}


def _made(spec: Spec, payload: Any, place: tuple[str | int, ...], errors: list[FieldError]) -> Any:
    match spec:
        case Constant(value):
            return value
        case Nest(fields):
            return _object(fields, payload, place, errors)
        case Pick():
            return _picked(spec, payload, place, errors)
        case Each(path, item, optional):
            found = find(payload, path)
            if isinstance(found, list):
                made = [_made(item, element, (*place, number), errors) for number, element in enumerate(found)]
                return [value for value in made if value is not ABSENT]
            if not (optional and (found is ABSENT or found is None)):
                errors.append(FieldError(place, f"there is no list at {_shown(path)}"))
            return ABSENT


def _picked(spec: Pick, payload: Any, place: tuple[str | int, ...], errors: list[FieldError]) -> Any:
    found = find(payload, spec.path)
    if found is ABSENT or found is None:
        if spec.default is ABSENT and not spec.optional:
            errors.append(FieldError(place, f"there is nothing at {_shown(spec.path)}"))
        return spec.default
    if spec.convert is None:
        return found
    try:
        return CONVERSIONS[spec.convert](found)
    except (ValueError, InvalidOperation, OverflowError) as error:
        errors.append(FieldError(place, f"what is at {_shown(spec.path)} is no {spec.convert}: {error}"))
        return ABSENT


def _shown(path: Path) -> str:
    return repr(".".join(path))


def _as_text(value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise ValueError("not a text or a whole number")
    return str(value)


def _as_integer(value: Any) -> int:
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, str) and _WHOLE.fullmatch(value.strip()):
        return int(value)
    raise ValueError("not a whole number")


def _as_cents(value: Any) -> int:
    """`"12.34"` or 12.34 is 1234. A number goes by its shortest text, so that 0.29 is 29."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise ValueError("not an amount")
    amount = Decimal(str(value).strip())
    if not amount.is_finite() or abs(amount) > 10**15:
        raise ValueError("not an amount")
    cents = amount * 100
    if cents != cents.to_integral_value():
        raise ValueError("more than two decimals")
    return int(cents)


def _as_time(factor: int) -> Callable[[Any], str]:
    def convert(value: Any) -> str:
        at_ms = _as_integer(value) * factor
        if not 0 <= at_ms <= TIME_MAX_MS:
            raise ValueError("not a time between 1970 and 9999")
        return format_time(at_ms)

    return convert


CONVERSIONS: Final[Mapping[str, Callable[[Any], Any]]] = MappingProxyType(
    {
        "text": _as_text,
        "integer": _as_integer,
        "cents": _as_cents,
        "upper": lambda value: _as_text(value).upper(),
        "lower": lambda value: _as_text(value).lower(),
        "time-of-seconds": _as_time(1000),
        "time-of-milliseconds": _as_time(1),
    }
)
"""By the word after `as`."""
