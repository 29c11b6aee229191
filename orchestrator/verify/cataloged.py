"""`message-not-cataloged`: every message that a saga reads or sends is in the catalog of contracts.

The catalog is what topics are created from and what the router and `publish` know types by: a message outside of it
would never reach its saga. It is the build's, not the saga's, so this is no rule in `verify/rules/`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from contracts.catalog import Catalog
from contracts.message import Command, Event, Message
from orchestrator.language.saga import Saga
from orchestrator.language.waiting import WaitFor
from orchestrator.verify.finding import Finding
from orchestrator.verify.subject import Subject

RULE = "message-not-cataloged"


def check_catalog(sagas: Iterable[Saga], catalog: Catalog) -> tuple[Finding, ...]:
    """One finding per saga and module of contracts, ordered by file and line. Empty: all are known."""
    return tuple(sorted(finding for saga in sagas for finding in _findings(saga, catalog)))


def _findings(saga: Saga, catalog: Catalog) -> Iterator[Finding]:
    missing: dict[str, set[str]] = {}
    for message in _messages(saga):
        if catalog.get(message.type) is not message:
            missing.setdefault(message.__module__, set()).add(message.type)
    for module, types in missing.items():
        yield Finding(
            file=saga.location.file,
            line=saga.location.line,
            saga=saga.name,
            rule=RULE,
            message=f"{module} is not in the catalog of contracts, so nobody knows {', '.join(sorted(types))}",
            fix="name the module in CONTEXTS of contracts/catalog.py, then `python -m contracts.schemas --write`",
            path=saga.name,
        )


def _messages(saga: Saga) -> Iterator[type[Message]]:
    """Also outcomes, which nobody sends here."""
    yield saga.starts_on
    if saga.cancelled_by is not None:
        yield saga.cancelled_by[0]
    for block in saga.blocks():
        if isinstance(block, WaitFor) and issubclass(block.wants, Event):
            yield block.wants
    subject = Subject(saga)
    for call in subject.calls:
        made = subject.makes(call.builder)
        if made is not None and issubclass(made, Message):
            yield made
            if issubclass(made, Command):
                yield from made.succeeds + made.refuses
