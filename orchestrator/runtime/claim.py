"""Whether a shard may be claimed: every guard of DESIGN section 2, as one pure function over what was found.

A refusal is not retried into a success by waiting: it names what was found and asks for a person. The engine looks
again from time to time only to notice that a person has acted.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from orchestrator.runtime.store import ShardPosition

RefusalCode = Literal[
    "nothing-stored",
    "history-gone",
    "behind-log-start",
    "beyond-log-end",
    "group-beyond-log-end",
    "other-record",
    "newer-engine",
    "older-engine",
    "snapshots-damaged",
]
ANOTHER_LOG = frozenset(("group-beyond-log-end", "beyond-log-end", "other-record"))
"""The inbox was cut or replaced; which of them it is depends on how far it has grown since."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What was found when shard `shard` was to be claimed."""

    shard: int
    stored: ShardPosition | None
    committed: int | None
    """The group's offset: how far effects are published."""
    log_start: int
    log_end: int
    semantics: int
    """Of this engine."""
    snapshots: Literal["none", "unknown"] = "none"
    """Of a shard without a position: whether its snapshots are yet to be looked for."""
    can_cut: bool = False
    """Whether this engine can take a full snapshot cut."""


@dataclass(frozen=True, slots=True)
class Claim:
    """Where to start. `verify` is the id that the record before `next` must have; None: there is none to check."""

    next: int
    stored_next: int | None
    watermark: int
    """Effects of inputs below it are published already, and are not sent again."""
    verify: str | None


@dataclass(frozen=True, slots=True)
class Restore:
    """The store has nothing of the shard: look for its snapshots, and judge again."""


@dataclass(frozen=True, slots=True)
class Upgrade:
    """An older engine has folded the states: take a full snapshot cut at `stored`, and judge again."""

    stored: ShardPosition


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a shard must not be worked on, in words for the person who has to decide."""

    code: RefusalCode
    text: str


Verdict = Claim | Refusal | Restore | Upgrade


def judge(facts: Facts) -> Verdict:
    """Apply the guards, in the order of how fundamental they are."""
    if facts.committed is not None and facts.committed > facts.log_end:
        return _refuse(
            facts,
            "group-beyond-log-end",
            f"the group's offset is {facts.committed}, but the inbox ends at {facts.log_end}: the log was cut or"
            " replaced, and effects of new inputs would be held for published",
        )
    if facts.stored is None:
        return _without_state(facts)
    return _with_state(facts, facts.stored)


def _without_state(facts: Facts) -> Verdict:
    if facts.snapshots == "unknown" and (facts.committed is not None or facts.log_end == 0):
        return Restore()
    if facts.log_end == 0:
        return Claim(0, None, 0, None)
    if facts.committed is None:
        return _refuse(
            facts,
            "nothing-stored",
            "Redis has no position and the group has no offset, but the inbox has had records (it ends at"
            f" {facts.log_end}): starting over would do everything again",
        )
    if facts.log_start > 0:
        return _refuse(
            facts,
            "history-gone",
            f"Redis has no position, there are no snapshots, and the inbox starts at {facts.log_start}, not 0: the"
            " states cannot be folded from it",
        )
    return Claim(0, None, facts.committed, None)


def _with_state(facts: Facts, stored: ShardPosition) -> Verdict:
    if stored.semantics > facts.semantics:
        return _refuse(
            facts,
            "newer-engine",
            f"the states were folded by engine semantics {stored.semantics}, this build has {facts.semantics}: run a"
            " build that is at least as new",
        )
    if stored.next < facts.log_start:
        return _refuse(
            facts,
            "behind-log-start",
            f"Redis is at offset {stored.next}, but the inbox starts at {facts.log_start}: inputs between"
            " them are gone",
        )
    if stored.next > facts.log_end:
        return _refuse(
            facts,
            "beyond-log-end",
            f"Redis is at offset {stored.next}, but the inbox ends at {facts.log_end}: the log was cut or replaced",
        )
    if stored.semantics < facts.semantics:
        if facts.can_cut and (facts.committed or 0) <= stored.next:
            return Upgrade(stored)
        return _refuse(
            facts,
            "older-engine",
            f"the states were folded by engine semantics {stored.semantics} up to {stored.next}, effects are published"
            f" up to {facts.committed}, and this build has semantics {facts.semantics}: what lies between would be"
            " decided otherwise; run the older build until it has stopped by itself",
        )
    verify = stored.record_id if stored.record_id and stored.next > facts.log_start else None
    return Claim(stored.next, stored.next, max(stored.next, facts.committed or 0), verify)


def other_record(shard: int, offset: int, expected: str, found: str) -> Refusal:
    """The record before the stored offset is not the one that was folded."""
    return Refusal(
        "other-record",
        f"shard {shard}: the inbox record at offset {offset} has id {found}, but the one that was folded had"
        f" {expected}: this is another log than the one that Redis was folded from."
        " A person must decide (counterpoint recover)",
    )


def refused_with(verdict: Verdict, code: str) -> Refusal | None:
    """The refusal that a shard with this verdict may come to: some are found out only later. None: not this one."""
    if isinstance(verdict, Refusal):
        return verdict
    if isinstance(verdict, Claim) and verdict.verify is not None and code in ANOTHER_LOG:
        return Refusal("other-record", "the record before the stored offset is another one")
    if isinstance(verdict, Restore) and code == "snapshots-damaged":
        return Refusal("snapshots-damaged", "the snapshots do not fit together")
    if isinstance(verdict, Restore) and code == "history-gone":
        return Refusal("history-gone", "there are no snapshots")
    return None


def _refuse(facts: Facts, code: RefusalCode, found: str) -> Refusal:
    return Refusal(code, f"shard {facts.shard}: {found}. A person must decide (counterpoint recover)")
