"""The person at the keyboard: what the harness repairs, it repairs with the command line that a person has."""

from __future__ import annotations

import asyncio
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

LANES = 2
"""Commands at once."""
COMMAND_SECONDS = 90.0
STUCK_MAX = 10_000


@dataclass(frozen=True, slots=True)
class Said:
    """What a command answered."""

    code: int
    out: str
    error: str


class Operator:
    """Runs `counterpoint` against one stack, each command an OS process."""

    def __init__(self, endpoints: Path, python: str = sys.executable) -> None:
        self._endpoints = endpoints
        self._python = python
        self._lanes = asyncio.Semaphore(LANES)

    async def run(self, *words: str, seconds: float = COMMAND_SECONDS) -> Said:
        """Raises TimeoutError."""
        command = (self._python, "-m", "orchestrator.cli", *words, "--endpoints", str(self._endpoints))
        return await self._execute(command, seconds)

    async def stuck(self) -> list[dict[str, Any]]:
        """What waits for a person."""
        said = await self.run("list", "--phase", "stuck", "--limit", str(STUCK_MAX), "--json")
        if said.code != 0:
            raise RuntimeError(f"`counterpoint list` failed: {said.error.strip()}")
        found: list[dict[str, Any]] = json.loads(said.out)
        return found

    async def retry_all(self) -> list[str]:
        """Retry every stuck process at the step where it is stuck; their ids."""
        found = await self.stuck()
        await asyncio.gather(*(self._retry(one) for one in found))
        return [one["process_id"] for one in found]

    async def audit(self) -> list[str]:
        """What `counterpoint audit --deep` finds, a sentence each."""
        said = await self.run("audit", "--deep", "--json")
        if said.code not in (0, 1) or not said.out:
            return [f"`counterpoint audit` failed: {said.error.strip()}"]
        found = json.loads(said.out)["findings"]
        return [f"{one['process_id'] or one['shard']}: {one['code']}: {one['why']}" for one in found]

    async def _retry(self, one: dict[str, Any]) -> None:
        step = ("--step", one["step"]) if one["step"] else ()
        await self.run("retry", one["process_id"], *step, "--yes", "--note", "chaos: the fault is over")

    async def _execute(self, command: tuple[str, ...], seconds: float) -> Said:
        async with self._lanes:
            child = await asyncio.create_subprocess_exec(
                *command,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
            )
            try:
                out, error = await asyncio.wait_for(child.communicate(), seconds)
            except TimeoutError:
                child.kill()
                await child.wait()
                raise
            return Said(child.returncode or 0, out.decode(), error.decode())
