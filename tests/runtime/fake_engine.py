"""A small engine for the shell's tests: every input leaves its mark in the state, and most have an effect.

Its types: `fake.start.v1` and `fake.step.v1` (one effect, awaited until the next step; its body
is the revision that it was decided on), `fake.timer.v1` (data: due ms),
`fake.done.v1` (nothing awaited any more), `fake.bug.v1` (raises), `fake.newer.v1` (a saga version that is not here).
"""

from __future__ import annotations

import msgspec

from contracts.envelope import Envelope, encode_headers
from contracts.ids import partition_of
from contracts.record import OutgoingRecord
from contracts.topics import INBOX, SHARDS
from orchestrator.engine.book import UnknownVersion
from orchestrator.engine.decision import Decision
from orchestrator.engine.inputs import Input, read_input
from orchestrator.engine.process import Process, Start, StepState, StoredRecord, decode_process, encode_process
from orchestrator.runtime.rules import Rules

EFFECTS = "fake.commands"
START = Start(source="/test", id="start", type="fake.start.v1", data=b"{}", fingerprint="-", traceparent="-")


def fake_decide(process: Process | None, item: Input) -> Decision:
    kind = item.envelope.type
    if kind == "fake.bug.v1":
        raise ZeroDivisionError("a bug")
    if kind == "fake.newer.v1":
        raise UnknownVersion("fake", 9)
    if process is None:
        if kind != "fake.start.v1":
            return Decision(None, "ignored", "no-process")
        process = Process(
            id=item.process_id, saga="fake", version=1, start=START, phase="running",
            started_at_ms=item.at_ms, updated_at_ms=item.at_ms,
        )  # fmt: skip
    record, effects = None, ()
    if kind in ("fake.start.v1", "fake.step.v1"):
        effect = OutgoingRecord(
            EFFECTS,
            process.id.encode(),
            b"%d" % process.revision,
            (("ce_id", f"{process.id}/{item.envelope.id}".encode()), ("ce_type", kind.encode())),
        )
        record, effects = StoredRecord.of(effect), (effect,)
    after = msgspec.structs.replace(
        process,
        phase="completed" if kind == "fake.done.v1" else "running",
        revision=process.revision + 1,
        updated_at_ms=max(item.at_ms, process.updated_at_ms),
        timers={"nudge": int(item.data)} if kind == "fake.timer.v1" else {},
        steps={
            "trace": StepState(status="awaiting" if record else "idle", record=record, detail=_trace(process, item)),
        },
        history_length=process.history_length + 1,
    )
    return Decision(after, "applied", None, effects, f"{item.offset}:{item.envelope.id}".encode())


def _trace(process: Process, item: Input) -> str:
    before = process.steps.get("trace")
    return f"{before.detail if before else ''} {item.offset}:{item.envelope.id}"


def fake_rules(semantics: int = 1) -> Rules:
    return Rules(read_input, fake_decide, encode_process, decode_process, semantics)


def trace_of(blob: bytes | None) -> str | None:
    return None if blob is None else decode_process(blob).steps["trace"].detail


def fake_input(process_id: str, identity: str, kind: str = "fake.step.v1", data: bytes = b"{}") -> OutgoingRecord:
    envelope = Envelope(id=identity, source="/test", type=kind, process_id=process_id)
    shard = partition_of(process_id, SHARDS)
    return OutgoingRecord(INBOX, process_id.encode(), data, encode_headers(envelope), shard)
