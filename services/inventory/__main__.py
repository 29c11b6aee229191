"""`python -m services.inventory --endpoints FILE [--json]`: what is on hand, reserved and dispatched."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated

import orjson
import typer

from operations.endpoints import EndpointsError, find_endpoints
from services.inventory.report import StockReport, read_report

REDIS_SECONDS_MAX = 10.0

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def report(
    endpoints: Annotated[Path | None, typer.Option(help="The stack's endpoints file; else .local's.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Everything, per sku and warehouse, as JSON.")] = False,
) -> None:
    """Print the totals of all stock."""
    try:
        stack = find_endpoints(endpoints, {}, Path.cwd())
        found = asyncio.run(asyncio.wait_for(read_report(stack.redis.services), REDIS_SECONDS_MAX))
    except EndpointsError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(1) from None
    except TimeoutError:
        typer.echo(f"the services' Redis did not answer within {REDIS_SECONDS_MAX:g} s", err=True)
        raise typer.Exit(1) from None
    typer.echo(orjson.dumps(found.as_json()).decode() if as_json else as_text(found))


def as_text(found: StockReport) -> str:
    """One line a sku, then the totals."""
    row = "{:<40} {:>12} {:>12} {:>12}".format
    lines = [row("sku", "on hand", "reserved", "dispatched")]
    lines += [row(one.sku, one.on_hand, one.reserved, one.dispatched) for one in found.skus]
    lines.append(row("total", found.on_hand_units, found.reserved_units, found.dispatched_units))
    return "\n".join(lines)


if __name__ == "__main__":
    app()
