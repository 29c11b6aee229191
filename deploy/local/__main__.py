"""`python -m deploy.local`: runs a stack on this machine. The composition root, and the only reader of the
environment.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from deploy.local.errors import StackError
from deploy.local.ports import WantedPorts
from deploy.local.progress import Progress
from deploy.local.site import COMPANIONS, NAMES, SERVICES
from deploy.local.stack import Stack

DEFAULT_DATA = ".local"
PORT_VARIABLES = {
    "kafka": "KAFKA_PORT",
    "redis": "REDIS_PORT",
    "services_redis": "SERVICES_REDIS_PORT",
    "sandbox": "SANDBOX_PORT",
    "gateway": "GATEWAY_PORT",
    "metrics_base": "METRICS_PORT_BASE",
}

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Runs Kafka, Redis, the sandbox, the orchestrator and the services on this machine, without containers.",
    epilog=f"Parts: {', '.join(NAMES)}. Ports: {', '.join(PORT_VARIABLES.values())}; unset = a free one.",
)
Data = Annotated[
    Path,
    typer.Option("--data", envvar="COUNTERPOINT_DATA", help="The stack's folder; relative = from the project's root."),
]
Name = Annotated[str, typer.Argument(metavar="NAME", help=f"One of: {', '.join(NAMES)}.")]

_STYLES = {
    "starting": "dim",
    "note": "dim",
    "stopping": "dim",
    "ready": "green",
    "already-running": "cyan",
    "not-running": "cyan",
    "stopped": "green",
    "killed": "yellow",
}
_QUIET_ON_TERMINALS = ("starting", "stopping")


@app.command()
def up(
    data: Data = Path(DEFAULT_DATA),
    services: Annotated[
        str, typer.Option("--services", help="Which services to start, separated by blanks; others are left out.")
    ] = " ".join((*SERVICES, *COMPANIONS)),
    only: Annotated[
        str | None, typer.Option("--only", help="Start these parts and nothing else, e.g. 'kafka redis-orchestrator'.")
    ] = None,
) -> None:
    """Start what is not running, wait until all of it is ready, and write endpoints.json."""

    def work(stack: Stack) -> None:
        stack.up(only=_words(only) if only is not None else None)
        _console().print(f"[bold]ready[/bold]: {stack.site.endpoints}", soft_wrap=True)

    _run(work, data, services=_words(services))


@app.command()
def down(data: Data = Path(DEFAULT_DATA)) -> None:
    """Stop everything that runs; data and logs stay."""
    _run(Stack.down, data)


@app.command()
def start(name: Name, data: Data = Path(DEFAULT_DATA)) -> None:
    """Start one part where it was, and wait until it is ready."""
    _run(lambda stack: stack.start(name), data)


@app.command()
def stop(
    name: Name,
    data: Data = Path(DEFAULT_DATA),
    kill: Annotated[bool, typer.Option("--kill", help="End it at once (SIGKILL), as a crash would.")] = False,
) -> None:
    """Stop one part: SIGTERM, and SIGKILL if it does not end in time. Nothing starts it again by itself."""
    _run(lambda stack: stack.stop(name, kill=kill), data)


@app.command()
def status(
    data: Data = Path(DEFAULT_DATA),
    as_json: Annotated[
        bool, typer.Option("--json", help="A JSON array of {name, state, ready, pid, address}.")
    ] = False,
) -> None:
    """Show every part: running, dead (it ended and nobody stopped it) or stopped."""
    _run(lambda stack: _show_status(stack, as_json), data)


def _show_status(stack: Stack, as_json: bool) -> None:
    parts = stack.status()
    if as_json:
        typer.echo(json.dumps([asdict(part) for part in parts], indent=2))
        return
    table = Table("part", "state", "pid", "address", box=None, pad_edge=False)
    for part in parts:
        state = part.state if part.ready or part.state != "running" else "running, not ready"
        style = "red" if part.state == "dead" else "green" if part.ready else "dim"
        table.add_row(part.name, f"[{style}]{state}[/]", str(part.pid or ""), part.address or "")
    _console().print(table)


def _run(work: Callable[[Stack], None], data: Path, services: list[str] | None = None) -> None:
    try:
        work(Stack(data, ports=_wanted_ports(), services=services or (), report=_show))
    except StackError as error:
        console = Console(stderr=True, highlight=False)
        console.print(f"[red]{error.sentence}[/red]", soft_wrap=True)
        if error.tail:
            console.print(error.tail, style="dim", markup=False, soft_wrap=True)
        raise typer.Exit(1) from None


def _show(progress: Progress) -> None:
    console = _console()
    if console.is_terminal and progress.event in _QUIET_ON_TERMINALS:
        return
    seconds = f"{progress.seconds:5.1f} s" if progress.seconds else " " * 7
    event = progress.event.replace("-", " ")
    console.print(
        f"{progress.name:<19} [{_STYLES[progress.event]}]{event:<15}[/] {seconds}  {progress.detail}", soft_wrap=True
    )


def _console() -> Console:
    return Console(highlight=False)


def _wanted_ports() -> WantedPorts:
    return WantedPorts(**{field: _port(variable) for field, variable in PORT_VARIABLES.items()})


def _port(variable: str) -> int | None:
    text = os.environ.get(variable, "").strip()
    if not text:
        return None
    if not text.isdecimal():
        raise StackError(f"{variable} must be a port number, not {text!r}.")
    return int(text)


def _words(text: str) -> list[str]:
    return text.replace(",", " ").split()


def main() -> None:
    """Run the command line."""
    app()


if __name__ == "__main__":
    main()
