"""One run of the command line: which stack, in which form to answer, and what becomes of errors."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import typer
from typer.core import TyperGroup

from operations.endpoints import Endpoints, EndpointsError, find_endpoints
from orchestrator.cli.failures import CommandFailure, StackAway
from orchestrator.cli.output import say
from orchestrator.cli.surroundings import Surroundings

REACH_SECONDS = 2.0
"""A server that does not accept a connection within this time is away."""
COMMAND_SECONDS = 15.0
"""No command waits longer for the stack, its own waiting for an outcome aside."""
T = TypeVar("T")


class Session:
    """Made by the top level, completed by a command's own `--endpoints` and `--json`."""

    def __init__(self, around: Surroundings, endpoints_file: Path | None, as_json: bool) -> None:
        self.around = around
        self.endpoints_file = endpoints_file
        self.as_json = as_json

    def endpoints(self) -> Endpoints:
        """Raises StackAway: no endpoints are known."""
        try:
            return find_endpoints(self.endpoints_file, self.around.environment, self.around.folder)
        except EndpointsError as error:
            raise StackAway(str(error)) from None

    def kafka(self) -> Endpoints:
        """The endpoints, after Kafka has accepted a connection. Raises StackAway."""
        endpoints = self.endpoints()
        addresses = [address.strip() for address in endpoints.kafka.split(",")]
        if not any(_accepts(*_split(address)) for address in addresses):
            raise StackAway(f"Kafka is away: nothing answers at {endpoints.kafka}")
        return endpoints

    def redis(self) -> Endpoints:
        """The endpoints, after the orchestrator's Redis has accepted a connection. Raises StackAway."""
        endpoints = self.endpoints()
        where = urlsplit(endpoints.redis.orchestrator)
        if where.hostname is not None and not _accepts(where.hostname, where.port or 6379):
            raise StackAway(f"Redis is away: nothing answers at {where.hostname}:{where.port or 6379}")
        return endpoints

    def run(self, work: Callable[[], Awaitable[T]], seconds: float = COMMAND_SECONDS) -> T:
        """Run a command's work, at most so long. Raises StackAway where a driver fails."""

        async def bounded() -> T:
            async with asyncio.timeout(seconds):
                return await work()

        try:
            return asyncio.run(bounded())
        except CommandFailure:
            raise
        except TimeoutError:
            raise StackAway(f"the stack did not answer within {seconds:g} s") from None
        except Exception as error:
            if self.around.connections.means_away(error):
                raise StackAway(f"the stack is away: {error}") from error
            raise


def _split(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    return (host or address).strip("[]"), int(port) if port.isdigit() else 9092


def _accepts(host: str, port: int) -> bool:
    try:
        with socket.create_connection((host, port), timeout=REACH_SECONDS):
            return True
    except OSError:
        return False


def session_of(context: typer.Context, endpoints_file: Path | None = None, as_json: bool = False) -> Session:
    """The session of the whole command line, with the command's own options where they are given."""
    whole: Session = context.find_root().obj
    return Session(whole.around, endpoints_file or whole.endpoints_file, as_json or whole.as_json)


class FailingGroup(TyperGroup):
    """Turns a CommandFailure into one sentence on standard error and its exit code."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except CommandFailure as failure:
            say(failure.sentence, style="red")
            for detail in failure.details:
                say(f"  {detail}")
            raise typer.Exit(failure.exit_code) from None
