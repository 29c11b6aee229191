"""`counterpoint recover`: it says first what it will do, and does nothing without a yes."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from orchestrator.runtime.claim import Facts, Refusal, judge
from orchestrator.runtime.recovery import Damage, Order
from orchestrator.runtime.snapshots import Cut
from orchestrator.runtime.store import ShardPosition


class Keeper:
    """Shards 3 (behind the log's start, with a cut) and 7 (of a newer build). Engines take orders for 3."""

    def __init__(self) -> None:
        behind = Facts(3, ShardPosition(5, "r", "c", 2), 6, 9, 20, 2)
        newer = Facts(7, ShardPosition(5, "r", "c", 9), 6, 0, 20, 2)
        self.found = [_damage(behind, Cut(12, "r12", 2, 0)), _damage(newer, None)]
        self.ordered: list[Order] = []
        self.idle = False

    async def damages(self, shards: Sequence[int]) -> Sequence[Damage]:
        return [damage for damage in self.found if damage.facts.shard in shards]

    async def order(self, orders: Sequence[Order]) -> None:
        self.ordered.extend(orders)

    async def unfinished(self, shards: Sequence[int]) -> Mapping[int, str]:
        return dict.fromkeys(shards, "no engine has taken the order yet") if self.idle else {}


def _damage(facts: Facts, cut: Cut | None) -> Damage:
    refusal = judge(facts)
    assert isinstance(refusal, Refusal)
    return Damage(facts, refusal, cut)


@pytest.fixture
def keeper(world: Any) -> Keeper:
    world.connections.keeper = Keeper()
    found: Keeper = world.connections.keeper
    return found


def test_it_says_why_a_shard_refuses_what_is_kept_and_what_is_lost(counterpoint: Any, keeper: Keeper) -> None:
    result = counterpoint("recover", "3", "--dry-run")
    assert result.exit_code == 0 and not keeper.ordered
    assert "shard 3: Redis is at offset 5, but the inbox starts at 9" in result.stdout
    for line in ("does  drop what Redis has, restore the shard from its snapshots, cut at 12", "keeps every process"):
        assert line in result.stdout
    assert "loses nothing" in result.stdout


def test_it_does_nothing_without_a_yes(counterpoint: Any, keeper: Keeper) -> None:
    result = counterpoint("recover", "3")
    assert (result.exit_code, keeper.ordered) == (1, [])
    assert "--yes" in result.stderr


def test_it_orders_and_waits(counterpoint: Any, keeper: Keeper) -> None:
    result = counterpoint("recover", "3", "--yes", "--operator", "ann")
    assert result.exit_code == 0, result.stderr
    (order,) = keeper.ordered
    assert (order.shard, order.code, order.action, order.published, order.by) == (
        3, "behind-log-start", "rebuild", 12, "ann",
    )  # fmt: skip
    assert "1 shards are recovered" in result.stderr


def test_what_no_engine_has_taken_is_said(counterpoint: Any, keeper: Keeper) -> None:
    keeper.idle = True
    result = counterpoint("recover", "3", "--yes", "--wait", "0")
    assert result.exit_code == 1
    assert "shard 3: no engine has taken the order yet" in result.stderr


def test_what_it_cannot_repair_is_said_and_is_no_success(counterpoint: Any, keeper: Keeper) -> None:
    result = counterpoint("recover", "--all", "--yes")
    assert result.exit_code == 1
    assert "shard 7: nothing: run a build that is at least as new" in result.stderr
    assert [order.shard for order in keeper.ordered] == [3]


def test_json_has_the_numbers(counterpoint: Any, keeper: Keeper) -> None:
    result = counterpoint("recover", "3", "--yes", "--json")
    (shard,) = json.loads(result.stdout)["shards"]
    assert (shard["shard"], shard["code"], shard["action"], shard["recovered"]) == (
        3,
        "behind-log-start",
        "rebuild",
        True,
    )
    assert (shard["stored"], shard["log_start"], shard["log_end"], shard["cut"]) == (5, 9, 20, 12)


def test_a_sound_cluster_needs_nothing(counterpoint: Any, keeper: Keeper) -> None:
    keeper.found = []
    result = counterpoint("recover", "--all")
    assert result.exit_code == 0 and "no shard refuses to work" in result.stderr
    assert json.loads(counterpoint("recover", "--all", "--json").stdout) == {"shards": []}


@pytest.mark.parametrize("words", [(), ("3", "--all"), ("64",), ("x",)])
def test_which_shards_must_be_said(counterpoint: Any, keeper: Keeper, words: tuple[str, ...]) -> None:
    assert counterpoint("recover", *words, "--yes").exit_code == 2
    assert not keeper.ordered
