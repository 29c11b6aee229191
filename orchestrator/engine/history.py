"""The history of a process: one entry an input, with full bodies, so that it can always be explained."""

from __future__ import annotations

from typing import Any

import msgspec

from contracts.envelope import format_time
from orchestrator.engine.effects import Effect
from orchestrator.engine.inputs import Input
from orchestrator.engine.process import Struct

HISTORY_MAX = 20_000
"""Entries a process keeps; beyond it, ignored inputs are counted only (applied ones are always kept)."""


class HistoryEffect(Struct, frozen=True):
    topic: str
    id: str
    type: str
    data: bytes
    undoes: tuple[str, ...] = ()


class HistoryEntry(Struct, frozen=True):
    offset: int
    at_ms: int
    id: str
    source: str
    type: str
    data: bytes
    result: str
    phase: str
    revision: int
    causation_id: str | None = None
    reason: str | None = None
    notes: tuple[str, ...] = ()
    """What the engine made of it, in sentences for people."""
    effects: tuple[HistoryEffect, ...] = ()


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(HistoryEntry)


def encode_entry(
    item: Input,
    now_ms: int,
    result: str,
    reason: str | None,
    phase: str,
    revision: int,
    notes: tuple[str, ...],
    effects: tuple[Effect, ...],
) -> bytes:
    envelope = item.envelope
    return _encoder.encode(
        HistoryEntry(
            offset=item.offset,
            at_ms=now_ms,
            id=envelope.id,
            source=envelope.source,
            type=envelope.type,
            data=item.data,
            result=result,
            phase=phase,
            revision=revision,
            causation_id=envelope.causation_id,
            reason=reason,
            notes=notes,
            effects=tuple(
                HistoryEffect(topic=e.record.topic, id=e.id, type=e.type, data=e.record.value, undoes=e.undoes)
                for e in effects
            ),
        )
    )


def decode_entry(blob: bytes) -> HistoryEntry:
    """Raises msgspec.DecodeError or ValidationError."""
    return _decoder.decode(blob)


def entry_json(entry: HistoryEntry) -> dict[str, Any]:
    """The entry as `counterpoint show --json` prints it."""
    return {
        "offset": entry.offset,
        "at": format_time(entry.at_ms),
        "input": {
            "type": entry.type,
            "id": entry.id,
            "source": entry.source,
            "causation_id": entry.causation_id,
            "data": _body(entry.data),
        },
        "result": entry.result,
        "reason": entry.reason,
        "phase": entry.phase,
        "revision": entry.revision,
        "notes": list(entry.notes),
        "effects": [
            {
                "topic": effect.topic,
                "id": effect.id,
                "type": effect.type,
                "undoes": list(effect.undoes),
                "data": _body(effect.data),
            }
            for effect in entry.effects
        ],
    }


def _body(data: bytes) -> Any:
    try:
        return msgspec.json.decode(data)
    except msgspec.DecodeError:
        return data.decode(errors="replace")
