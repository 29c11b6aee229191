"""Whether what `counterpoint recover` says before it acts is true: against what the harness sees by itself. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from contracts.ids import partition_of
from contracts.topics import SHARDS
from deploy.chaos.inbox_look import Look

KEEPS_ALL = "every process"
LOSES_NOTHING = "nothing"
LOG_CUT = ("beyond-log-end", "group-beyond-log-end", "other-record")
"""Refusals after which nobody knows how many inputs were in the inbox that are gone."""
LOG_EXPIRED = ("behind-log-start", "history-gone", "nothing-stored")
"""Refusals after which the inputs below the inbox' start may be gone, from the stored position on."""
SHOWN_MAX = 5


def wrong_facts(plans: Sequence[Mapping[str, Any]], before: Look, after: Look) -> list[str]:
    """What it says about each shard that is not so, and the shards it does not name though they cannot go on.

    `before` and `after` enclose the time of its answer: the inbox may have grown between them.
    """
    wrong = []
    for plan in plans:
        shard = plan["shard"]
        for name, seen in (("stored", before.stored), ("committed", before.committed)):
            if plan[name] != seen[shard]:
                wrong.append(f"recover says shard {shard} has {name} {plan[name]}, but it is {seen[shard]}")
        start, end = before.bounds[shard]
        if plan["log_start"] != start or not end <= plan["log_end"] <= after.bounds[shard][1]:
            wrong.append(
                f"recover says the inbox of shard {shard} is {plan['log_start']} to {plan['log_end']}, but it is"
                f" {start} to {end}"
            )
    missing = sorted(damaged(before) - {plan["shard"] for plan in plans})
    return [*wrong, *(f"recover does not name shard {shard}, which cannot go on" for shard in missing)]


def damaged(look: Look) -> set[int]:
    """Shards that offsets alone show to be damaged."""
    found = set()
    for shard, (start, end) in look.bounds.items():
        stored, committed = look.stored[shard], look.committed[shard]
        if stored is None and committed is None and end > 0:
            found.add(shard)
        if stored is not None and not start <= stored <= end:
            found.add(shard)
        if committed is not None and committed > end:
            found.add(shard)
    return found


def not_kept(plans: Sequence[Mapping[str, Any]], had: frozenset[str], have: frozenset[str]) -> list[str]:
    """Processes that are gone although every process of their shard was to be kept."""
    whole = {plan["shard"] for plan in plans if plan["keeps"].startswith(KEEPS_ALL)}
    whole |= {shard for shard in range(SHARDS) if shard not in {plan["shard"] for plan in plans}}
    # A shard that is folded again from its first input keeps all as well.
    whole |= {plan["shard"] for plan in plans if plan["next"] == 0 and plan["log_start"] == 0}
    gone = sorted(process for process in had - have if partition_of(process, SHARDS) in whole)
    return [f"recover kept every process, but {len(gone)} are gone, such as {', '.join(gone[:SHOWN_MAX])}"] * bool(gone)


def lost_inputs(plans: Sequence[Mapping[str, Any]]) -> dict[int, int | None]:
    """By shard that lost inputs, by its own words: how many at most; None: it cannot know."""
    lost: dict[int, int | None] = {}
    for plan in plans:
        if plan["code"] in LOG_CUT:
            lost[plan["shard"]] = None
        elif plan["code"] in LOG_EXPIRED and not plan["loses"].startswith(LOSES_NOTHING):
            lost[plan["shard"]] = plan["log_start"] - (plan["stored"] or 0)
    return lost


def untold_losses(forgotten: Iterable[str], lost: Mapping[int, int | None]) -> list[str]:
    """Orders without a process in shards that were to lose nothing, and shards that lost more than was said."""
    by_shard = Counter(partition_of(process, SHARDS) for process in forgotten)
    wrong = [
        f"{count} orders of shard {shard} are forgotten, though recover said nothing of a loss there"
        for shard, count in by_shard.items()
        if shard not in lost
    ]
    for shard, most in lost.items():
        if most is not None and by_shard[shard] > most:
            wrong.append(f"{by_shard[shard]} orders of shard {shard} are forgotten, though it lost {most} inputs")
    return wrong
