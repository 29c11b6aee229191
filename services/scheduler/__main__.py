"""`python -m services.scheduler`: runs a replica; with a command, asks or tells the scheduler that runs. The
composition root of the scheduler, and the only part of it that reads the environment."""

from __future__ import annotations

import getpass
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated

import typer
import uvloop
from pydantic import ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from contracts.catalog import standard_catalog
from operations.collector import settle_collector
from operations.endpoints import Endpoints, EndpointsError, find_endpoints
from operations.logs import configure_logs
from services.scheduler.commands import Session, add_commands
from services.scheduler.declarations import DeclarationsError, read_declarations
from services.scheduler.program import LEASE_S_MIN, ProgramSettings, run_program
from services.scheduler.scheduler import LEASE_S
from services.scheduler.store import ScheduleStore
from services.scheduler.store_redis import RedisStore
from services.sdk.inbox_redis import open_redis
from services.sdk.surroundings import system_surroundings

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


class Environment(BaseSettings):
    """`COUNTERPOINT_<NAME>`. An option on the command line comes first."""

    model_config = SettingsConfigDict(env_prefix="COUNTERPOINT_", env_ignore_empty=True, extra="ignore")

    endpoints: Path | None = None
    metrics_port: int = 0
    instance: str | None = None
    schedules: Path | None = None


@app.callback(invoke_without_command=True)
def main(
    context: typer.Context,
    file: Annotated[Path | None, typer.Option(help="The file of schedules; else COUNTERPOINT_SCHEDULES.")] = None,
    endpoints: Annotated[Path | None, typer.Option(help="The stack's endpoints file.")] = None,
    metrics_port: Annotated[int | None, typer.Option(min=0, max=65_535, help="0: a free one.")] = None,
    instance: Annotated[str | None, typer.Option(help="Name of this replica; stable over restarts.")] = None,
    lease_seconds: Annotated[
        float, typer.Option(min=LEASE_S_MIN, max=300, help="How long a killed leader is waited for.")
    ] = LEASE_S,
) -> None:
    """Announce what is due, until SIGTERM or SIGINT; any number of replicas, of which one announces."""
    environment = _environment()
    if context.invoked_subcommand is not None:
        configure_logs("scheduler")
        context.obj = _session(environment, endpoints)
        return
    chosen = file or environment.schedules
    if chosen is None:
        raise _failure("there is no file of schedules: name one with --file or COUNTERPOINT_SCHEDULES")
    try:
        schedules = read_declarations(chosen, standard_catalog())
        stack = _stack(environment, endpoints)
    except DeclarationsError as error:
        raise _failure("\n".join(error.mistakes)) from None
    except EndpointsError as error:
        raise _failure(str(error)) from None
    configure_logs("scheduler")
    settle_collector()
    settings = ProgramSettings(
        kafka=stack.kafka,
        redis_url=stack.redis.services,
        metrics_port=environment.metrics_port if metrics_port is None else metrics_port,
        instance=instance or environment.instance or "scheduler-1",
        lease_s=lease_seconds,
    )
    raise typer.Exit(uvloop.run(run_program(schedules, settings)))


add_commands(app)


def _session(environment: Environment, general: Path | None) -> Session:
    @asynccontextmanager
    async def open_store(endpoints: Path | None) -> AsyncIterator[ScheduleStore]:
        client = open_redis(_stack(environment, endpoints or general).redis.services)
        try:
            yield RedisStore(client)
        finally:
            await client.aclose()

    around = system_surroundings()
    return Session(open_store, around.now_ms, around.token, _user())


def _stack(environment: Environment, endpoints: Path | None) -> Endpoints:
    return find_endpoints(endpoints or environment.endpoints, {}, Path.cwd())


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "unknown"


def _environment() -> Environment:
    try:
        return Environment()
    except ValidationError as error:
        raise _failure(f"the environment is wrong: {error}") from None


def _failure(sentence: str) -> typer.Exit:
    typer.echo(sentence, err=True)
    return typer.Exit(1)


if __name__ == "__main__":
    app()
