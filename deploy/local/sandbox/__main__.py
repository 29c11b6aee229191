"""`python -m deploy.local.sandbox --port P --data DIR`: serves the outside world on the loopback interface."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
import uvicorn

from deploy.local.errors import StackError
from deploy.local.locking import held
from deploy.local.ports import HOST
from deploy.local.sandbox.app import make_app
from deploy.local.sandbox.delivery import CuttableProtocol
from deploy.local.sandbox.providers import PROVIDERS
from deploy.local.sandbox.webhooks import read_addresses

# As real providers do; shorter than a client pool's patience would break idle connections under the client's hands.
KEEP_ALIVE_SECONDS = 75
# Requests that are held silent end with the server.
SHUTDOWN_SECONDS = 2
# Held ones included; more are answered 503, as a provider under load does.
CONNECTIONS_MAX = 4_096

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def serve(
    port: Annotated[int, typer.Option(help="The port to listen on, on 127.0.0.1.")],
    data: Annotated[Path, typer.Option(help="The folder of the books; the ledger there survives restarts.")],
    webhooks: Annotated[
        Path | None, typer.Option(help="A JSON file {provider: {url, secret}}: where their webhooks go.")
    ] = None,
) -> None:
    """Play the payment provider, the carrier and the rest of the outside world, and keep a ledger of every effect."""
    try:
        addresses = {} if webhooks is None else read_addresses(webhooks)
    except StackError as error:
        typer.echo(error.sentence, err=True)
        raise typer.Exit(1) from None
    config = uvicorn.Config(
        make_app(data, PROVIDERS, addresses),
        host=HOST,
        port=port,
        http=CuttableProtocol,
        log_level="warning",
        access_log=False,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=SHUTDOWN_SECONDS,
        limit_concurrency=CONNECTIONS_MAX,
    )
    try:
        with held(data / "sandbox.lock", 2, "another sandbox uses these books"):
            uvicorn.Server(config).run()
    except StackError as error:
        typer.echo(error.sentence, err=True)
        raise typer.Exit(1) from None


if __name__ == "__main__":
    app()
