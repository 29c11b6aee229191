"""What `counterpoint recover` says is held against what the harness sees: each untruth is found, and no truth is."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from contracts.ids import partition_of
from contracts.topics import SHARDS
from deploy.chaos.inbox_look import Look
from deploy.chaos.promises import lost_inputs, not_kept, untold_losses, wrong_facts

A = next(f"order-fulfilment:{n}" for n in range(1_000) if partition_of(f"order-fulfilment:{n}", SHARDS) == 1)
B = next(f"order-fulfilment:{n}" for n in range(1_000) if partition_of(f"order-fulfilment:{n}", SHARDS) == 2)
LOOK = Look(bounds={1: (5, 9), 2: (0, 4)}, committed={1: 9, 2: 4}, stored={1: 3, 2: 4})
PLAN: dict[str, Any] = {
    "shard": 1,
    "code": "behind-log-start",
    "stored": 3,
    "committed": 9,
    "log_start": 5,
    "log_end": 9,
    "next": 5,
    "keeps": "every process, as it was",
    "loses": "the inputs 3 to 4: starts among them are forgotten",
}


def test_what_is_true_is_no_untruth() -> None:
    grown = replace(LOOK, bounds={1: (5, 12), 2: (0, 4)})
    assert wrong_facts([PLAN], LOOK, LOOK) == []
    assert wrong_facts([PLAN | {"log_end": 11}], LOOK, grown) == [], "the router goes on"


@pytest.mark.parametrize("change", [{"stored": 4}, {"committed": None}, {"log_start": 0}, {"log_end": 10}])
def test_a_fact_that_is_not_so_is_found(change: dict[str, Any]) -> None:
    assert len(wrong_facts([PLAN | change], LOOK, LOOK)) == 1


@pytest.mark.parametrize(
    ("bounds", "committed", "stored"), [((0, 4), 5, 4), ((0, 4), 4, 5), ((1, 4), 4, 0), ((0, 4), None, None)]
)
def test_a_damaged_shard_that_is_not_named_is_found(
    bounds: tuple[int, int], committed: int | None, stored: int | None
) -> None:
    look = Look({1: (5, 9), 2: bounds}, {1: 9, 2: committed}, {1: 3, 2: stored})
    assert wrong_facts([PLAN], look, look) == ["recover does not name shard 2, which cannot go on"]


def test_processes_that_were_to_be_kept_and_are_gone_are_found() -> None:
    both = frozenset((A, B))
    assert not_kept([PLAN], both, both) == []
    assert "1 are gone" in not_kept([PLAN], both, frozenset((B,)))[0]
    lossy = PLAN | {"keeps": "processes that began at offset 5 or later"}
    assert not_kept([lossy], both, frozenset((B,))) == []
    assert "1 are gone" in not_kept([lossy], both, frozenset((A,)))[0], "of a shard that was not touched"
    from_the_start = lossy | {"log_start": 0, "next": 0}
    assert "1 are gone" in not_kept([from_the_start], both, frozenset((B,)))[0]


def test_losses_are_read_from_what_was_said() -> None:
    cut = PLAN | {"shard": 7, "code": "beyond-log-end", "loses": "nothing of the states; up to 2 inputs"}
    whole = PLAN | {"shard": 8, "code": "nothing-stored", "loses": "nothing; how far effects"}
    rebuilt = PLAN | {"shard": 9, "loses": "nothing"}
    bare = PLAN | {"shard": 10, "code": "history-gone", "stored": None, "loses": "processes that began before offset 5"}
    assert lost_inputs([PLAN, cut, whole, rebuilt, bare]) == {1: 2, 7: None, 10: 5}


def test_a_loss_that_was_not_told_is_found() -> None:
    assert untold_losses([A], {1: 2}) == []
    assert untold_losses([A, B], {1: None}) == [
        "1 orders of shard 2 are forgotten, though recover said nothing of a loss there"
    ]
    assert len(untold_losses([A, A, A], {1: 2})) == 1
