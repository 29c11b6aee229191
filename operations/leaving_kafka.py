"""A static member that does not come back says so to its group, which then shares out its partitions at once.

aiokafka 0.14 never leaves as a static member: the group waits for the session to end. The broker takes the same request
from a static member as from any other, by its member id; only the client's own check stands before it.
"""

from __future__ import annotations

from aiokafka import AIOKafkaConsumer


def leave_at_stop(consumer: AIOKafkaConsumer) -> None:
    """Let the `stop` that follows leave the group. Its static name is free from then on. Without a group, or before it
    was joined, nothing happens."""
    coordinator = consumer._coordinator
    if getattr(coordinator, "_group_instance_id", None) is not None:
        coordinator._group_instance_id = None
