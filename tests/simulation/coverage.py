"""Which faults have really happened in a set of runs: `python -m tests.simulation --coverage`.

The world counts what happens by name (`World.seen`), where it happens and not where it is planned: a fault that strikes
nobody is not counted. A row is what was asked of the simulation; its names are prefixes of what is counted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Row:
    sentence: str
    names: tuple[str, ...]


ROWS: tuple[Row, ...] = (
    Row("a message is published twice", ("strike duplicate", "repeated later")),
    Row("a message is delayed while other partitions go on", ("network held back",)),
    Row("a batch arrives in pieces", ("network in pieces",)),
    Row("an append arrives in parts", ("network append in parts",)),
    Row("an ack is lost", ("append stored, ack lost",)),
    Row("an append is cut", ("append cut",)),
    Row("the log is away", ("strike log-away",)),
    Row("the orchestrator dies between two awaits", ("orchestrator killed at",)),
    Row("a service dies between two awaits", ("service killed at",)),
    Row("a program is stopped in good order", ("strike stop",)),
    Row("a service is away until deadlines pass", ("strike service-back", "strike service-long-gone")),
    Row("two owners of one shard: a zombie goes on", ("strike zombie",)),
    Row("two owners of one shard: the store refuses one", ("checkpoint mismatch", "checkpoint conflict")),
    Row("another orchestrator or replica joins", ("strike second",)),
    Row("a rebalance in the middle of a batch", ("revoked at",)),
    Row("Redis runs a script twice", ("store ran twice",)),
    Row("Redis does not answer, and has done it", ("store answer lost",)),
    Row("Redis is away", ("store away",)),
    Row("Redis goes back in time", ("strike store-back",)),
    Row("Redis vanishes: rebuilt from the log", ("strike store-gone",)),
    Row("a service's store is away", ("strike inbox-away",)),
    Row("a service's store does not answer, and has done it", ("inbox answer lost",)),
    Row("a service's store goes back in time", ("strike inbox-back",)),
    Row("a participant refuses", ("fate refuses",)),
    Row("a participant fails, without effect", ("fate none", "fate final", "fate unavailable")),
    Row("a participant fails, effect unknown", ("fate unknown", "fate bug", "fate lost")),
    Row("a participant stays silent", ("fate hangs", "fate silent")),
    Row("a participant answers late", ("fate slow", "fate late")),
    Row("a participant answers twice", ("answered twice", "fate torn")),
    Row("strangers write junk", ("strike junk",)),
    Row("an event or signal comes before its process", ("input buffered before its process",)),
    Row("an event or signal comes before its block", ("input buffered",)),
    Row("more comes early than is kept", ("input ignored: early-full",)),
    Row("what is early is never started", ("never started",)),
    Row("what a block waits for comes in time", ("call in time",)),
    Row("what a block waits for comes twice", ("call again",)),
    Row("what a block waits for comes after the limit", ("call late",)),
    Row("what a block waits for never comes", ("call never",)),
    Row("an event comes for another process than it names", ("call misdirected",)),
    Row("an approval by the wrong role", ("person approval ignored: wrong-role",)),
    Row("an approval with a wrong form", ("person approval ignored: form-invalid",)),
    Row("an approval after escalation", ("call escalated",)),
    Row("a process is called off by an event", ("call halt",)),
    Row("an operator cancels", ("person cancel applied",)),
    Row("an operator retries", ("operator retry applied",)),
    Row("an operator retries with a correction", ("operator retry with correction applied",)),
    Row("an operator skips", ("operator skip applied",)),
    Row("an operator skips with an outcome", ("operator skip with outcome applied",)),
    Row("an operator compensates", ("operator compensate applied",)),
    Row("an operator acts on what he saw long ago", tuple(f"operator {what} ignored: stale" for what in
        ("retry", "skip", "compensate", "retry with correction", "skip with outcome"))),
    Row("a person signals", ("person signal applied", "person signal buffered")),
    Row("a person approves or rejects", ("person approval applied",)),
    Row("a child is started", ("child start-child applied",)),
    Row("a child completes", ("child ended completed",)),
    Row("a child fails, or is called off", ("child ended compensated", "child ended cancelled")),
    Row("a child is called off by its parent", ("child cancel-child applied",)),
    Row("a child is undone with its parent", ("child undo-child applied",)),
    Row("a child is let go", ("child release-child applied",)),
    Row("there is such a process already", ("child ended not-started",)),
    Row("what processes say to each other comes twice", ("child start-child ignored: dup",
        "child undo-child ignored: dup", "child release-child ignored: dup", "permit released ignored: stale")),
    Row("a permit is given", ("permit granted",)),
    Row("a permit is waited for", ("permit waited for",)),
    Row("a permit is never given back: its lease ends", ("lease ended",)),
    Row("an alert of a stuck process", ("alert",)),
    Row("an ended process is forgotten", ("forgotten",)),
    Row("a snapshot is taken", ("snapshot record",)),
    Row("a shard is restored from snapshots", ("restored",)),
)  # fmt: skip


def times(row: Row, seen: Counter[str]) -> int:
    return sum(count for name, count in seen.items() if name.startswith(row.names))


def missing(seen: Counter[str]) -> list[str]:
    """Sentences of the rows that never happened."""
    return [row.sentence for row in ROWS if not times(row, seen)]


def table(runs: list[Counter[str]]) -> Iterator[str]:
    """A line for each row: how often, and in how many runs."""
    whole: Counter[str] = sum(runs, Counter())
    yield f"{'times':>8} {'runs':>6}  what happened"
    for row in ROWS:
        happened = sum(1 for seen in runs if times(row, seen))
        yield f"{times(row, whole):8} {happened:6}  {row.sentence}"
    for who in ("orchestrator", "service"):
        places = {name.partition(" killed at ")[2] for name in whole if name.startswith(f"{who} killed at ")}
        yield f"places at which {who}s died: {', '.join(sorted(places))}"
