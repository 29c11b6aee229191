"""The proof of the net: which seed finds which planted fault, and the page that shows it.

`python -m tests.simulation --find-plants` finds the seeds anew after a change of what seeds stand for.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from functools import partial
from multiprocessing import get_context
from pathlib import Path

from tests.simulation.plants import PLANTS
from tests.simulation.run import run_seed

PAGE = Path(__file__).parents[2] / "docs" / "simulation.md"
BEGINS, ENDS = "<!-- planted faults: begin -->", "<!-- planted faults: end -->"
DEFAULT_SEEDS = 2_000
"""Of `make simulate`: each planted fault must be found within them."""
PLANTED: dict[str, int] = {
    "random_effect_ids": 0,
    "random_effect_bytes": 0,
    "silence_taken_for_failure": 27,
    "unknown_effect_taken_for_none": 13,
    "perhaps_done_not_undone": 13,
    "stale_outcome_accepted": 60,
    "late_success_dropped": 13,
    "new_try_without_new_key": 0,
    "undo_order_reversed": 26,
    "undone_before_it_has_settled": 0,
    "ends_with_an_open_debt": 89,
    "a_repeated_success_is_applied": 5,
    "a_failed_undo_counts_as_done": 14,
    "early_event_dropped": 12,
    "early_event_applied_twice": 30,
    "limit_taken_though_the_event_came": 2,
    "repeated_event_applied_again": 30,
    "approval_by_wrong_role_accepted": 54,
    "event_for_another_process_taken": 63,
    "early_event_never_given_up": 13,
    "called_off_before_it_began_and_goes_on": 130,
    "a_step_to_be_held_is_undone": 142,
    "a_place_too_many_is_given": 16,
    "nothing_is_ahead": 15,
    "cut_over_a_lost_store": 10,
    "a_child_says_that_it_is_undone_and_is_not": 89,
    "children_are_never_let_go": 0,
    "no_compare_and_set": 7,
    "checkpoint_before_publish": 0,
    "group_offset_committed_before_acks": 0,
    "effects_suppressed_too_far": 0,
    "a_failed_append_taken_for_done": 8,
    "store_position_not_checked_on_load": 87,
    "a_mismatch_taken_for_written": 0,
    "timer_popped_before_its_commit": 236,
    "router_commits_before_it_appends": 29,
    "a_replay_starts_at_the_group_offset": 0,
    "an_offset_commit_is_ahead_of_the_fold": 0,
    "awaited_event_not_routed": 0,
    "started_mark_ignored": 197,
    "offsets_committed_on_receipt": 46,
    "an_uncertain_failure_called_certain": 13,
    "an_uncertain_execution_repeated": 133,
    "polled_records_dropped_by_a_new_tenure": 185,
    "service_starts_at_the_store_alone": 214,
    "a_broker_lets_anybody_commit": 0,
}
"""A seed that finds the planted fault (nearly always the first one)."""


def found_by(name: str, seeds: range) -> tuple[str, int, str | None]:
    """The planted fault, the first of the seeds that finds it, and what it sees (None: none does). The fault is planted
    in this OS process for good."""
    PLANTS[name]()
    for seed in seeds:
        violation = run_seed(seed).violation
        if violation is not None:
            return name, seed, violation
    return name, seeds.start, None


def check_plants(processes: int) -> Iterator[tuple[str, int, str | None]]:
    """Each fault of the table with its seed, in a forked process of its own."""
    with get_context("fork").Pool(processes, maxtasksperchild=1) as pool:
        yield from pool.imap(_check, PLANTED, chunksize=1)


def _check(name: str) -> tuple[str, int, str | None]:
    return found_by(name, range(PLANTED[name], PLANTED[name] + 1))


def find_plants(names: list[str], seeds: range, processes: int) -> Iterator[tuple[str, int, str | None]]:
    """These faults (none named: all there are) with the first seed that finds each, in the order in which they do."""
    with get_context("fork").Pool(processes, maxtasksperchild=1) as pool:
        yield from pool.imap_unordered(partial(found_by, seeds=seeds), names or list(PLANTS), chunksize=1)


def page_with_table(page: str) -> str:
    """The page with the table of today."""
    head, _, rest = page.partition(BEGINS)
    _, _, tail = rest.partition(ENDS)
    return f"{head}{BEGINS}\n{table()}\n{ENDS}{tail}"


def table() -> str:
    """In Markdown, one row a fault."""
    rows = ["| planted fault | what it spoils | found by seed |", "|---|---|---|"]
    for name, seed in PLANTED.items():
        plant = PLANTS[name]
        where = "engine" if plant.__module__.endswith("plants_engine") else "runtime or SDK"
        about = " ".join((inspect.getdoc(plant) or "").split())
        rows.append(f"| {name.replace('_', ' ')} | {where}{f': {about}' if about else ''} | {seed} |")
    return "\n".join(rows)
