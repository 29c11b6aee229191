"""The table of faults, and the order in which a seed injects them."""

from __future__ import annotations

import itertools

import pytest

from deploy.chaos.crew import KINDS
from deploy.chaos.schedule import for_ever, once_each, one_round
from deploy.chaos.table import FAULTS, UnknownFault, named


def test_names_are_unique_and_every_fault_says_what_it_does() -> None:
    names = [fault.name for fault in FAULTS]
    assert len(names) == len(set(names))
    assert all(fault.title and fault.family for fault in FAULTS)


def test_every_program_is_killed_alone_and_with_every_other() -> None:
    names = {fault.name for fault in FAULTS}
    assert {f"kill-{kind}" for kind in KINDS} <= names
    assert {f"terminate-{kind}" for kind in KINDS} <= names
    assert {f"kill-{one}-and-{other}" for one, other in itertools.combinations(KINDS, 2)} <= names


def test_a_fault_is_found_by_its_name_and_all_of_a_family_by_its() -> None:
    assert [fault.name for fault in named(("redis-full", "kill-engine"))] == ["redis-full", "kill-engine"]
    assert {fault.family for fault in named(("Kafka",))} == {"Kafka"}
    assert len(named(("Kafka", "kafka-killed"))) == len(named(("Kafka",)))
    with pytest.raises(UnknownFault, match="no fault named 'kill-nobody'"):
        named(("kill-nobody",))


def test_a_schedule_holds_every_fault_once_in_the_seeds_order_and_spoilers_last() -> None:
    one = once_each(FAULTS, 7)
    assert sorted(fault.name for fault in one) == sorted(fault.name for fault in FAULTS)
    assert one == once_each(FAULTS, 7) != once_each(FAULTS, 8)
    spoilers = [fault.spoils for fault in one]
    assert spoilers == sorted(spoilers)
    assert any(spoilers)


def test_a_schedule_without_end_goes_round_with_a_seed_for_each_round() -> None:
    drawn = list(itertools.islice(for_ever(FAULTS, 7), 2 * len(FAULTS)))
    first, second = drawn[: len(FAULTS)], drawn[len(FAULTS) :]
    assert [(turn.round, turn.seed) for turn in drawn] == [(1, 7)] * len(FAULTS) + [(2, 8)] * len(FAULTS)
    assert first == list(one_round(FAULTS, 7))
    assert tuple(turn.fault for turn in second) == once_each(FAULTS, 8) != once_each(FAULTS, 7)


def test_a_fault_that_cannot_be_run_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    (fault,) = named(("skewed-engine",))
    monkeypatch.setattr("shutil.which", lambda program: None)
    assert fault.missing() == "there is no `faketime` on the PATH: install it with `apt-get install faketime`"
    monkeypatch.setattr("shutil.which", lambda program: f"/usr/bin/{program}")
    assert fault.missing() is None
