"""What is encoded is decoded again: any state and history entry that the types allow, and all that random runs come
to."""

from __future__ import annotations

import functools
import types
import typing
from collections.abc import Iterator
from random import Random
from typing import Any, Literal

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.envelope import Envelope
from contracts.record import OutgoingRecord
from orchestrator.engine import process as states
from orchestrator.engine.effects import Effect
from orchestrator.engine.history import HistoryEffect, HistoryEntry, decode_entry, encode_entry, entry_json
from orchestrator.engine.inputs import Input
from orchestrator.engine.process import Early, Process, StepState, Struct, UndoJob, decode_process, encode_process
from orchestrator.testkit import explore as exploring
from orchestrator.testkit.fold import Fed, Fold

SEEDS = 40
NUMBERS = st.integers(-(2**63), 2**64 - 1)
"""What msgpack can say; nobody's offsets and times are larger."""
ALWAYS_WRITTEN: dict[type[Struct], set[str]] = {
    Process: {"id", "saga", "version", "phase", "started_at_ms", "updated_at_ms"},
    UndoJob: {"numbers", "covers", "status"},
    Early: {"type", "data"},
    HistoryEntry: {"offset", "at_ms", "id", "source", "type", "data", "result", "phase", "revision"},
}
TEXTS = st.text(max_size=12)
BYTES = st.binary(max_size=12)
PLAIN: dict[object, st.SearchStrategy[Any]] = {
    int: NUMBERS,
    str: TEXTS,
    bytes: BYTES,
    bool: st.booleans(),
    type(None): st.none(),
    msgspec.Raw: st.lists(st.tuples(TEXTS, BYTES), max_size=2).map(
        lambda pairs: msgspec.Raw(msgspec.msgpack.encode(pairs))
    ),
}


def values(annotation: Any) -> st.SearchStrategy[Any]:
    """Everything that a field of this type may hold."""
    if annotation in PLAIN:
        return PLAIN[annotation]
    origin, inside = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is Literal:
        return st.sampled_from([word for part in inside for word in _words(part)])
    if origin in (typing.Union, types.UnionType):
        return st.one_of([values(part) for part in inside])
    if origin is dict:
        return st.dictionaries(values(inside[0]), values(inside[1]), max_size=2)
    if origin is tuple and inside[-1] is ...:
        return st.lists(values(inside[0]), max_size=2).map(tuple)
    if origin is tuple:
        return st.tuples(*map(values, inside))
    assert issubclass(annotation, msgspec.Struct), f"{annotation} is new here: say what it may hold"
    return structs_of(annotation)


def _words(part: Any) -> tuple[Any, ...]:
    return typing.get_args(part) if typing.get_origin(part) is Literal else (part,)


@functools.cache
def structs_of(struct: type[Struct]) -> st.SearchStrategy[Any]:
    """Optional fields are left to their defaults as often as not: those are left out on the wire."""
    hints = typing.get_type_hints(struct)
    fields = msgspec.structs.fields(struct)
    return st.fixed_dictionaries(
        {field.name: values(hints[field.name]) for field in fields if field.required},
        optional={field.name: values(hints[field.name]) for field in fields if not field.required},
    ).map(lambda given: struct(**given))


def fields_told(value: object) -> Iterator[tuple[str, str]]:
    """Those that are not as by default, of all structs in it."""
    if isinstance(value, Struct):
        for field in msgspec.structs.fields(type(value)):
            inner = getattr(value, field.name)
            if field.required or inner not in (field.default, {}):
                yield type(value).__name__, field.name
            yield from fields_told(inner)
    elif isinstance(value, dict | tuple):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from fields_told(inner)


STRUCTS = tuple(
    one for one in vars(states).values() if isinstance(one, type) and issubclass(one, Struct) and one is not Struct
)


@pytest.mark.parametrize("struct", STRUCTS, ids=lambda struct: struct.__name__)
def test_any_value_of_a_state_is_decoded_as_it_was_and_every_field_is_tried(struct: type[Struct]) -> None:
    tried: set[tuple[str, str]] = set()
    decoder = msgspec.msgpack.Decoder(struct)

    @settings(derandomize=True, max_examples=80, deadline=None, database=None)
    @given(structs_of(struct))
    def check(value: Struct) -> None:
        tried.update(fields_told(value))
        assert decoder.decode(msgspec.msgpack.encode(value)) == value

    check()
    assert {(struct.__name__, field.name) for field in msgspec.structs.fields(struct)} - tried == set()


def test_these_are_all_values_of_a_state() -> None:
    assert {Process, UndoJob, Early, StepState} < set(STRUCTS) and len(STRUCTS) > 8


@settings(derandomize=True, max_examples=80, deadline=None, database=None)
@given(structs_of(Process))
def test_any_state_is_decoded_as_it_was(process: Process) -> None:
    again = decode_process(encode_process(process))
    assert again == process and encode_process(again) == encode_process(process)


@settings(derandomize=True, max_examples=60, deadline=None, database=None)
@given(structs_of(Process), TEXTS, st.integers() | BYTES | st.lists(TEXTS))
def test_a_state_of_newer_code_is_read_without_what_is_not_known_here(process: Process, name: str, more: Any) -> None:
    """A rollback within one engine semantics; the other way round, missing fields have their defaults."""
    fields = msgspec.msgpack.decode(encode_process(process))
    if isinstance(more, int) and not -(2**63) <= more < 2**64:
        more = 0
    fields["later-" + name] = more
    assert decode_process(msgspec.msgpack.encode(fields)) == process


@pytest.mark.parametrize("struct", [Process, UndoJob, Early, HistoryEntry])
def test_what_was_stored_before_a_field_was_there_has_its_default(struct: type[Struct]) -> None:
    """A field beyond those of the first release that were always written may be missing in a stored value."""
    required = {field.name for field in msgspec.structs.fields(struct) if field.required}
    assert required == ALWAYS_WRITTEN[struct], "give the new field a default: older stored values do not have it"


# History.


ENVELOPES = st.builds(
    Envelope,
    id=st.text(min_size=1, max_size=20),
    source=st.text(min_size=1, max_size=20),
    type=st.just("lab.done.v1"),
    causation_id=st.none() | st.text(min_size=1, max_size=20),
)
INPUTS = st.builds(
    Input, offset=st.integers(0, 2**62), at_ms=st.integers(0, 2**45), process_id=TEXTS, envelope=ENVELOPES, data=BYTES
)
EFFECTS = st.builds(
    Effect,
    record=st.builds(OutgoingRecord, topic=TEXTS, key=st.none() | BYTES, value=BYTES, headers=st.just(())),
    id=TEXTS,
    type=TEXTS,
    undoes=st.lists(TEXTS, max_size=2).map(tuple),
)


@settings(derandomize=True, max_examples=120, deadline=None, database=None)
@given(
    INPUTS,
    st.integers(0, 2**45),
    TEXTS,
    st.none() | TEXTS,
    TEXTS,
    st.integers(0, 2**40),
    st.lists(TEXTS, max_size=3).map(tuple),
    st.lists(EFFECTS, max_size=3).map(tuple),
)
def test_a_history_entry_keeps_the_input_and_its_effects_whole(
    item: Input,
    now_ms: int,
    result: str,
    reason: str | None,
    phase: str,
    revision: int,
    notes: tuple[str, ...],
    effects: tuple[Effect, ...],
) -> None:
    entry = decode_entry(encode_entry(item, now_ms, result, reason, phase, revision, notes, effects))
    envelope = item.envelope
    said = (entry.offset, entry.id, entry.source, entry.type, entry.causation_id, entry.data)
    assert said == (item.offset, envelope.id, envelope.source, envelope.type, envelope.causation_id, item.data)
    made = (entry.at_ms, entry.result, entry.reason, entry.phase, entry.revision, entry.notes)
    assert made == (now_ms, result, reason, phase, revision, notes)
    assert entry.effects == tuple(
        HistoryEffect(topic=one.record.topic, id=one.id, type=one.type, data=one.record.value, undoes=one.undoes)
        for one in effects
    )
    assert msgspec.json.encode(entry_json(entry))  # whatever the bodies are, `show --json` prints them


# What really happens.


def test_states_and_entries_of_random_runs_are_decoded_as_they_were(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every state of every run. (That a stored and loaded one decides alike, `Fold` checks with each input.)"""
    seen = {"states": 0, "entries": 0}
    feed = Fold.feed

    def checked(fold: Fold, item: Input) -> Fed:
        fed = feed(fold, item)
        if fed.after is not None:
            assert decode_process(encode_process(fed.after)) == fed.after
            seen["states"] += 1
        if fed.decision.history is not None:
            entry = decode_entry(fed.decision.history)
            assert (entry.id, entry.data, entry.result) == (item.envelope.id, item.data, fed.decision.result)
            assert [one.data for one in entry.effects] == [record.value for record in fed.decision.effects]
            seen["entries"] += 1
        return fed

    monkeypatch.setattr(Fold, "feed", checked)
    for seed in range(SEEDS):
        exploring.explore(Random(seed))
    assert seen["states"] > 20 * SEEDS / 3 and seen["entries"] > 20 * SEEDS / 3
