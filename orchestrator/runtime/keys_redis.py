"""The orchestrator's keys in Redis, and a checkpoint as the arguments of its script. The hash tag `{p}` keeps a
shard in one slot of a cluster (DESIGN section 7)."""

from __future__ import annotations

from orchestrator.runtime.packing import pack, plain
from orchestrator.runtime.store import Checkpoint, ProcessWrite

REFUSED_KEY = "cp:refused"
"""Hash: shard number -> why it refuses to work. The one key that is no shard's own."""
TIMER_SEPARATOR = "|"
"""Between process id and timer id; neither has it in it."""

Argument = str | int | bytes


def offset_key(shard: int) -> str:
    return f"cp:{{{shard}}}:offset"


def timers_key(shard: int) -> str:
    return f"cp:{{{shard}}}:timers"


def sagas_key(shard: int) -> str:
    """Set of the names of all sagas that ever had a process here: the read model's way to the indexes."""
    return f"cp:{{{shard}}}:sagas"


def uncovered_key(shard: int) -> str:
    """Sorted set: process id -> offset of its first input that no snapshot has in it."""
    return f"cp:{{{shard}}}:uncovered"


def marks_key(shard: int) -> str:
    """Hash: process id -> what the snapshots topic has of it (see `snapshot_store.Mark`)."""
    return f"cp:{{{shard}}}:marks"


def gone_key(shard: int) -> str:
    """Sorted set: process id -> offset at which it was no more; the topic still says so."""
    return f"cp:{{{shard}}}:gone"


def ahead_key(shard: int) -> str:
    """Sorted set: process id -> offset from which on it wants inputs, where that is above the position restored."""
    return f"cp:{{{shard}}}:ahead"


def cut_key(shard: int) -> str:
    """Hash: the last cut, the next one in the making, and a restore under way."""
    return f"cp:{{{shard}}}:cut"


def process_key(shard: int, process_id: str) -> str:
    return f"cp:{{{shard}}}:process:{process_id}"


def history_key(shard: int, process_id: str) -> str:
    return f"cp:{{{shard}}}:history:{process_id}"


def index_key(shard: int, index: str) -> str:
    return f"cp:{{{shard}}}:index:{index}"


class CheckpointCall:
    """KEYS and ARGV of `checkpoint.lua` for one checkpoint."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        shard, position = checkpoint.shard, checkpoint.position
        self._shard = shard
        self.keys: list[str] = [offset_key(shard), timers_key(shard), sagas_key(shard), uncovered_key(shard)]
        self._kinds: list[str] = []
        self._numbers: dict[str, int] = {}
        self._operations: list[Argument] = []
        for saga in checkpoint.sagas:
            self._operations += ("g", saga)
        for write in checkpoint.writes:
            self._add(write)
        self.arguments: list[Argument] = [
            "" if checkpoint.expected_next is None else checkpoint.expected_next,
            position.next,
            position.record_id,
            position.checkpoint_id,
            position.semantics,
            "".join(self._kinds),
            *self._operations,
        ]

    def _add(self, write: ProcessWrite) -> None:
        shard, process_id, add = self._shard, write.process_id, self._operations
        add += ("u", write.first_offset, process_id)
        if write.blob is None or write.forget_history:
            add += ("d", self._number(history_key(shard, process_id), "l"))
        if write.blob is None:
            add += ("d", self._number(process_key(shard, process_id), "s"))
        else:
            blob = pack(write.blob) if write.rests else plain(write.blob)
            add += ("s", self._number(process_key(shard, process_id), "s"), blob)
        if write.history:
            history = self._number(history_key(shard, process_id), "l")
            for entry in write.history:
                add += ("h", history, pack(entry))
        for name, due_ms in write.timers_set:
            add += ("z", 2, due_ms, f"{process_id}{TIMER_SEPARATOR}{name}")
        for name in write.timers_unset:
            add += ("x", 2, f"{process_id}{TIMER_SEPARATOR}{name}")
        for index in write.indexes_left:
            add += ("x", self._number(index_key(shard, index), "z"), process_id)
        for index in write.indexes:
            add += ("z", self._number(index_key(shard, index), "z"), write.updated_at_ms, process_id)

    def _number(self, key: str, kind: str) -> int:
        number = self._numbers.get(key)
        if number is None:
            self.keys.append(key)
            self._kinds.append(kind)
            number = self._numbers[key] = len(self.keys)
        return number
