"""When the disturbances of a demo begin and end."""

from __future__ import annotations

import asyncio
import io
from typing import cast

import pytest
from rich.console import Console

from deploy.demo import disturbance
from deploy.demo.board import Board
from deploy.demo.disturbance import Chaos, disturb
from deploy.demo.flow import Flow, Outcome, Scene, Standing
from deploy.demo.flows import FLOWS, chosen
from deploy.local.stack import Stack


async def _never(scene: Scene) -> Outcome:
    raise AssertionError(scene)


def board_of(*names: str) -> tuple[Board, io.StringIO]:
    written = io.StringIO()
    flows = [Flow(name, "cases", (), 10, 1.0, _never) for name in names]
    return Board(Console(file=written, width=200), flows), written


class Parts:
    """A stack that notes what is done to it."""

    def __init__(self) -> None:
        self.done: list[tuple[str, str]] = []
        self.loop = asyncio.get_running_loop()
        self.restarted: asyncio.Queue[str] = asyncio.Queue()

    def kill(self, name: str) -> None:
        self.done.append(("kill", name))

    def stop(self, name: str) -> None:
        self.done.append(("stop", name))

    def start(self, name: str) -> None:
        self.done.append(("start", name))
        self.loop.call_soon_threadsafe(self.restarted.put_nowait, name)


def test_it_is_midway_when_four_tenths_of_all_flows_are_published() -> None:
    board, written = board_of("one", "two")
    board.teller("one")(Standing(10, 10, 3, 10, "3 completed"))
    assert not board.midway.is_set(), "the other flow has not said anything yet"
    board.teller("two")(Standing(1, 30, 0, 30))
    assert not board.midway.is_set()
    board.teller("two")(Standing(6, 30, 0, 30))
    assert board.midway.is_set()
    assert not board.published.is_set()
    board.teller("two")(Standing(30, 30, 0, 30))
    assert board.published.is_set()
    assert "one: 10 of 10 published, 3 of 10 ended (3 completed)" in written.getvalue()


@pytest.mark.parametrize(
    ("chaos", "hit"), [(Chaos.KILL_ORCHESTRATOR, ["orchestrator"]), (Chaos.KILL_AUTOMATIONS, ["payment", "shipping"])]
)
async def test_each_part_that_was_killed_is_started_again(
    chaos: Chaos, hit: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(disturbance, "DOWN_SECONDS", 0.0)
    board, _ = board_of("one")
    board.midway.set()
    parts, told = Parts(), list[str]()
    await disturb(chaos, cast(Stack, parts), ("payment", "shipping"), 1, board, told.append)
    assert parts.done == [step for name in hit for step in (("kill", name), ("start", name))]
    assert told == [f"kill -9 of {name}" for name in hit]


async def test_restarts_go_on_until_all_is_published_and_leave_nothing_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(disturbance, "DOWN_SECONDS", 0.0)
    monkeypatch.setattr(disturbance, "ROUND_SECONDS", 0.001)
    board, _ = board_of("one")
    board.midway.set()
    parts = Parts()
    run = asyncio.create_task(disturb(Chaos.RESTARTS, cast(Stack, parts), ("payment",), 1, board, lambda _: None))
    for _ in range(6):
        await parts.restarted.get()
    board.published.set()
    await run
    assert {name for _, name in parts.done} == {"orchestrator", "payment"}
    assert {how for how, _ in parts.done} == {"kill", "stop", "start"}
    assert parts.done[1::2] == [("start", name) for _, name in parts.done[::2]]


@pytest.mark.parametrize("chaos", list(Chaos))
async def test_flows_that_gave_up_are_not_waited_for(chaos: Chaos) -> None:
    """Their time was over before anything was published: nothing is killed, and the run ends."""
    board, _ = board_of("one")
    board.teller("one")(Standing(0, 10, 0, 10))
    parts = Parts()
    disturbing = asyncio.create_task(disturb(chaos, cast(Stack, parts), ("payment",), 1, board, lambda _: None))
    await asyncio.sleep(0)
    board.over()
    await disturbing
    assert parts.done == []


async def test_restarts_end_with_flows_that_gave_up_midway(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(disturbance, "DOWN_SECONDS", 0.0)
    board, _ = board_of("one")
    board.teller("one")(Standing(5, 10, 0, 10))
    parts = Parts()
    run = asyncio.create_task(disturb(Chaos.RESTARTS, cast(Stack, parts), ("payment",), 1, board, lambda _: None))
    name = await parts.restarted.get()
    board.over()
    await run
    assert parts.done[-1] == ("start", name)


def test_all_are_all() -> None:
    assert chosen("all") == FLOWS
    assert [flow.name for flow in chosen("orders")] == ["orders"]
