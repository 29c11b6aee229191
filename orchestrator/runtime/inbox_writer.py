"""The only way by which a person's decision reaches a process: appended to the inbox, like every other input."""

from __future__ import annotations

from contracts.envelope import Envelope, encode_headers
from contracts.ids import partition_of
from contracts.process import OperatorAction
from contracts.record import OutgoingRecord
from contracts.topics import INBOX, SHARDS
from orchestrator.runtime.log import Ack, Appender

OPERATOR_SOURCE = "/counterpoint/operator"


def action_record(action: OperatorAction, message_id: str) -> OutgoingRecord:
    """The inbox record of an action; `message_id` tells it apart from every other."""
    envelope = Envelope(id=message_id, source=OPERATOR_SOURCE, type=action.type)
    shard = partition_of(action.process_id, SHARDS)
    return OutgoingRecord(INBOX, action.process_id.encode(), action.to_json(), encode_headers(envelope), shard)


async def append_action(appender: Appender, action: OperatorAction, message_id: str) -> Ack:
    """Returns once the log has it. Raises AppendFailed or AppendRefused."""
    (ack,) = await appender.append((action_record(action, message_id),))
    return ack
