"""A stack on which the programs run one by one, each an OS process that a benchmark starts, measures and kills.

    async with Stage(data) as stage:
        await stage.fleet.start("router", "router")
        await stage.fleet.start("engine-1", "engine,clock")

Kafka and the two Redis belong to the local stack. All three automations run in one OS process, named `services`, with
providers that answer at once.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from benchmarks.processor_time import seconds_used
from deploy.local.errors import StackError
from deploy.local.ports import FREE_RANGE, HOST, is_free
from deploy.local.probes import http_probe
from deploy.local.process import tail
from deploy.local.stack import Stack
from deploy.local.state import Settings
from operations.endpoints import Endpoints

INFRASTRUCTURE = ("kafka", "redis-orchestrator", "redis-services")
SERVICES = "services"
PRODUCT = ("orchestrator",)
SCALE = ("benchmarks.scale_program",)
"""The module that is run, and what comes before its options."""
READY_SECONDS = 600.0
STOP_SECONDS = 60.0
LOOK_SECONDS = 0.05


@dataclass(frozen=True, slots=True)
class _Program:
    child: subprocess.Popen[bytes]
    probe: Callable[[], str | None]
    log: Path


class Fleet:
    """Starts, kills and ends programs of one stack. Raises StackError where one does not do what it should."""

    def __init__(self, stack: Stack, module: Sequence[str]) -> None:
        self._stack = stack
        self._module = module
        self._programs: dict[str, _Program] = {}
        self._ports: dict[str, int] = {}

    def spawn(self, name: str, roles: str, *options: str) -> None:
        """Start a program of the orchestrator and do not wait."""
        self._spawn(name, (*self._module, "--roles", roles), options)

    async def start(self, name: str, roles: str, *options: str) -> float:
        """Start it; seconds until it was at work, with all its shards."""
        began = asyncio.get_running_loop().time()
        self.spawn(name, roles, *options)
        await self.ready(name)
        return asyncio.get_running_loop().time() - began

    async def start_services(self) -> None:
        options = ("--option", "providers=instant", "--option", "opening_stock=local")
        self._spawn(SERVICES, ("services", "inventory", "payment", "shipping"), options)
        await self.ready(SERVICES)

    def _spawn(self, name: str, words: Sequence[str], options: Sequence[str]) -> None:
        assert name not in self._programs, f"{name} runs already"
        port = self._ports.setdefault(name, _free_port(set(self._ports.values())))
        log = self._stack.site.log(name)
        log.parent.mkdir(parents=True, exist_ok=True)
        where = ("--endpoints", str(self._stack.site.endpoints), "--metrics-port", str(port), "--instance", name)
        with log.open("ab") as output:
            child = subprocess.Popen(
                (sys.executable, "-m", *words, *where, *options),
                stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, start_new_session=True,
            )  # fmt: skip
        self._programs[name] = _Program(child, http_probe(HOST, port), log)

    async def ready(self, *names: str) -> None:
        """Wait until these, or all, answer `/readyz`."""
        give_up = asyncio.get_running_loop().time() + READY_SECONDS
        for name in names or tuple(self._programs):
            program = self._programs[name]
            while (reason := await asyncio.to_thread(program.probe)) is not None:
                if program.child.poll() is not None:
                    raise StackError(f"{name} ended with exit code {program.child.returncode}.", tail(program.log))
                if asyncio.get_running_loop().time() > give_up:
                    raise StackError(f"{name} is not ready ({reason}).", tail(program.log))
                await asyncio.sleep(LOOK_SECONDS)

    def kill(self, name: str) -> None:
        """SIGKILL, and wait until it is gone."""
        child = self._programs.pop(name).child
        child.kill()
        child.wait(STOP_SECONDS)

    async def end(self, *names: str) -> None:
        """SIGTERM to all at once, and wait."""
        programs = {name: self._programs.pop(name) for name in names}
        for program in programs.values():
            _signal(program.child, signal.SIGTERM)
        for name, program in programs.items():
            try:
                await asyncio.to_thread(program.child.wait, STOP_SECONDS)
            except subprocess.TimeoutExpired:
                program.child.kill()
                raise StackError(f"{name} did not end.", tail(program.log)) from None

    async def close(self) -> None:
        """End what runs."""
        await self.end(*self._programs)

    def pid(self, name: str) -> int:
        return self._programs[name].child.pid

    @property
    def pids(self) -> dict[str, int]:
        """Of these programs, Kafka and Redis, as `processor_time.snapshot` takes them."""
        infrastructure = {name: process.pid for name, process in self._stack.endpoints.processes.items()}
        return infrastructure | {name: program.child.pid for name, program in self._programs.items()}

    def seconds_used(self, name: str) -> float:
        """Processor seconds of one program so far."""
        return seconds_used(self.pid(name))


class Stage:
    """A fresh stack with its topics, and a fleet on it. `data` is erased first, and stays when all has ended."""

    def __init__(self, data: Path, module: Sequence[str] = SCALE) -> None:
        self.stack = Stack(data, services=(), settings=Settings())
        self.fleet = Fleet(self.stack, module)

    @property
    def endpoints(self) -> Endpoints:
        return self.stack.endpoints

    async def __aenter__(self) -> Self:
        await asyncio.to_thread(self._build)
        return self

    def _build(self) -> None:
        self.stack.down()
        self.stack.erase()
        self.stack.up(only=INFRASTRUCTURE)
        endpoints = str(self.stack.site.endpoints)
        command = (sys.executable, "-m", "orchestrator.cli", "topics", "apply", "--endpoints", endpoints)
        subprocess.run(command, check=True, capture_output=True)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            await self.fleet.close()
        finally:
            await asyncio.to_thread(self.stack.down)


def _signal(child: subprocess.Popen[bytes], number: signal.Signals) -> None:
    if child.poll() is None:
        os.kill(child.pid, number)


def _free_port(taken: set[int]) -> int:
    return next(port for port in random.sample(FREE_RANGE, 200) if port not in taken and is_free(port))
