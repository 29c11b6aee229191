"""Ports: what the user fixed wins, what runs stays, the rest is free and no other stack's."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Iterator

import pytest

from deploy.local.errors import StackError
from deploy.local.ports import FREE_RANGE, LISTENERS, WantedPorts, assigned, is_free


@pytest.fixture
def taken() -> Iterator[int]:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield listener.getsockname()[1]


def test_every_listener_gets_a_port_of_its_own_outside_the_ephemeral_range() -> None:
    with assigned({}, {}, {}) as ports:
        assert set(ports) == set(LISTENERS)
        assert len(set(ports.values())) == len(LISTENERS)
        assert all(port in FREE_RANGE for port in ports.values())


def test_fixed_ports_win_over_remembered_ones(free_port: object) -> None:
    with assigned({}, {}, {}) as other:
        fixed, remembered = other["kafka"], other["sandbox"]
    with assigned({"kafka": fixed}, {"kafka": remembered}, {}) as ports:
        assert ports["kafka"] == fixed


def test_remembered_ports_are_used_again_unless_somebody_took_them(taken: int) -> None:
    with assigned({}, {}, {}) as first:
        remembered = dict(first)
    with assigned({}, {**remembered, "sandbox": taken}, {}) as again:
        assert again["kafka"] == remembered["kafka"]
        assert again["sandbox"] != taken


def test_a_taken_fixed_port_is_one_clear_sentence(taken: int) -> None:
    with pytest.raises(StackError, match=f"Port {taken} for kafka is taken"), assigned({"kafka": taken}, {}, {}):
        pass


def test_a_running_listener_cannot_be_moved() -> None:
    with pytest.raises(StackError, match="already runs on port 4000"), assigned({"kafka": 4001}, {}, {"kafka": 4000}):
        pass


def test_a_port_that_is_none_is_refused() -> None:
    with pytest.raises(StackError, match="70000 is no port"), assigned({"kafka": 70_000}, {}, {}):
        pass


def test_metrics_ports_follow_their_base() -> None:
    fixed = WantedPorts(metrics_base=9100).by_listener()
    names = ("orchestrator", "inventory", "payment", "shipping", "scheduler", "stock-report", "gateway", "automations")
    assert fixed == {name: 9100 + number for number, name in enumerate(names)}


def test_two_listeners_on_one_port_are_refused() -> None:
    with pytest.raises(StackError, match="given to both"):
        WantedPorts(kafka=9092, metrics_base=9090).by_listener()


def test_two_stacks_that_start_at_the_same_moment_get_different_ports() -> None:
    program = "from deploy.local.ports import assigned\nwith assigned({}, %r, {}) as p: print(*p.values())"
    with assigned({}, {}, {}) as mine:
        # The other one even remembers the very ports that this one has claimed and not yet opened.
        other = subprocess.run([sys.executable, "-c", program % dict(mine)], capture_output=True, text=True, check=True)
        theirs = {int(port) for port in other.stdout.split()}
        assert len(theirs) == len(LISTENERS)
        assert not theirs & set(mine.values())


def test_is_free_sees_a_listener(taken: int) -> None:
    assert not is_free(taken)
