"""The only way by which a person's decision reaches a process: appended to the inbox, like every other input."""

from __future__ import annotations

from contracts.envelope import Envelope, encode_headers
from contracts.ids import partition_of
from contracts.process import ApprovalGiven, CancelRequested, MigrationRequested, OperatorAction, SignalSent
from contracts.record import OutgoingRecord
from contracts.topics import INBOX, SHARDS
from orchestrator.engine.inputs import SAGA_HEADER, VERSION_HEADER
from orchestrator.runtime.log import Ack, Appender

OPERATOR_SOURCE = "/counterpoint/operator"


PersonsMessage = OperatorAction | CancelRequested | SignalSent | ApprovalGiven | MigrationRequested
Stamp = tuple[str, int]
"""Saga and version whose definition knows a signal: so that it may come before its process (decision 0072)."""


def input_record(message: PersonsMessage, message_id: str, stamp: Stamp | None = None) -> OutgoingRecord:
    """The inbox record of what a person says; `message_id` tells it apart from every other."""
    envelope = Envelope(id=message_id, source=OPERATOR_SOURCE, type=message.type)
    headers = encode_headers(envelope)
    if stamp is not None:
        headers += ((SAGA_HEADER, stamp[0].encode()), (VERSION_HEADER, b"%d" % stamp[1]))
    shard = partition_of(message.process_id, SHARDS)
    return OutgoingRecord(INBOX, message.process_id.encode(), message.to_json(), headers, shard)


async def append_input(appender: Appender, message: PersonsMessage, message_id: str, stamp: Stamp | None = None) -> Ack:
    """Returns once the log has it. Raises AppendFailed or AppendRefused."""
    (ack,) = await appender.append((input_record(message, message_id, stamp),))
    return ack
