"""What goes wrong in the middle of the load: parts of the stack die and come back."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import random
from collections.abc import Callable, Sequence
from enum import StrEnum

from deploy.demo.board import Board
from deploy.local.stack import Stack

DOWN_SECONDS = 1.0
"""How long a killed part stays dead."""
ROUND_SECONDS = 20.0
"""Between two restarts of a run with restarts."""
PATIENCE_SECONDS = 90.0
"""How much longer than without it everything may take: what a dead part had fetched is lost for a session time-out."""
Tell = Callable[[str], None]
ORCHESTRATOR = "orchestrator"


class Chaos(StrEnum):
    """`restarts`: one part after the other, killed or stopped by turns, for as long as anything is published."""

    KILL_ORCHESTRATOR = "kill-orchestrator"
    KILL_AUTOMATIONS = "kill-automations"
    RESTARTS = "restarts"


async def disturb(chaos: Chaos, stack: Stack, parts: Sequence[str], seed: int, board: Board, tell: Tell) -> None:
    """Begins when the flows are midway. `parts`: their automations. `restarts` goes on until all is published; no part
    is left stopped. Flows that gave up before they were midway are not disturbed."""
    await board.midway.wait()
    if board.is_over:
        return
    if chaos is Chaos.KILL_ORCHESTRATOR:
        await _restart(stack, ORCHESTRATOR, True, tell)
    elif chaos is Chaos.KILL_AUTOMATIONS:
        for part in parts:
            await _restart(stack, part, True, tell)
    else:
        await _restarts(stack, [ORCHESTRATOR, *parts], random.Random(seed), board, tell)


async def _restarts(stack: Stack, parts: list[str], dice: random.Random, board: Board, tell: Tell) -> None:
    dice.shuffle(parts)
    for number, part in enumerate(itertools.cycle(parts)):
        await _restart(stack, part, number % 2 == 0, tell)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(board.published.wait(), ROUND_SECONDS)
        if board.published.is_set():
            return


async def _restart(stack: Stack, part: str, killed: bool, tell: Tell) -> None:
    tell(f"kill -9 of {part}" if killed else f"restart of {part}")
    await asyncio.to_thread(_stop(stack, killed), part)
    await asyncio.sleep(DOWN_SECONDS)
    await asyncio.to_thread(stack.start, part)


def _stop(stack: Stack, killed: bool) -> Callable[[str], None]:
    return stack.kill if killed else stack.stop
