"""`python -m services.gateway`: serves forms, webhooks and links; `link`, `check` and `sign` are its tools. The
composition root, and the only reader of the environment."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import Annotated

import typer
import uvloop
from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from contracts.catalog import standard_catalog
from operations.collector import settle_collector
from operations.endpoints import EndpointsError, find_endpoints
from operations.logs import configure_logs
from services.gateway.declaration import Declaration, DeclarationError, default_declaration, read_declaration
from services.gateway.gateway import GatewayLimits, source_keys
from services.gateway.invitations import Asked, invitation_of
from services.gateway.program import ProgramSettings, run
from services.gateway.secrets_file import read_secrets
from services.gateway.signatures import sign as signed_headers
from services.sdk.failures import StartRefused
from services.sdk.resume_link import mint
from services.sdk.surroundings import system_surroundings

app = typer.Typer(
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Turns web forms, signed webhooks and links into events. Without a command it serves.",
)


DEFAULTS = GatewayLimits()


class Environment(BaseSettings):
    """`COUNTERPOINT_<NAME>`, of the gateway's own `COUNTERPOINT_GATEWAY_<NAME>`. An option comes first."""

    model_config = SettingsConfigDict(env_prefix="COUNTERPOINT_", env_ignore_empty=True, extra="ignore")

    endpoints: Path | None = None
    metrics_port: int = 0
    instance: str = "gateway-1"
    gateway_file: Path | None = None
    gateway_secrets_file: Path | None = None
    gateway_host: str = "127.0.0.1"
    gateway_port: int = 8_080
    gateway_url: str | None = None
    """How people reach it; for links."""
    gateway_link_secrets: str = ""
    """Separated by blanks; the first signs, all are accepted."""
    gateway_origins: str = ""
    """Origins whose pages may send forms, separated by blanks; `*` = all."""
    gateway_proxies: str = ""
    """Addresses of the proxies in front of it, separated by blanks."""
    gateway_body_bytes: int = Field(default=DEFAULTS.body_bytes_max, ge=1_024, le=900_000)
    gateway_publish_seconds: float = Field(default=DEFAULTS.publish_wait_s, gt=0, le=15)
    gateway_client_per_second: float = Field(default=DEFAULTS.client_per_second, gt=0)
    gateway_client_burst: int = Field(default=DEFAULTS.client_burst, ge=1)
    gateway_requests: int = Field(default=DEFAULTS.requests_max, ge=1, le=10_000)

    def limits(self) -> GatewayLimits:
        return GatewayLimits(
            body_bytes_max=self.gateway_body_bytes,
            publish_wait_s=self.gateway_publish_seconds,
            requests_max=self.gateway_requests,
            client_per_second=self.gateway_client_per_second,
            client_burst=self.gateway_client_burst,
        )


FileOption = Annotated[Path | None, typer.Option("--file", help="The declaration (TOML); COUNTERPOINT_GATEWAY_FILE.")]
SecretsOption = Annotated[
    Path | None,
    typer.Option("--secrets", help="NAME=VALUE lines beside the environment's; COUNTERPOINT_GATEWAY_SECRETS_FILE."),
]


@app.callback(invoke_without_command=True)
def serve(
    context: typer.Context,
    endpoints: Annotated[Path | None, typer.Option(help="The stack's endpoints file.")] = None,
    file: FileOption = None,
    secrets: SecretsOption = None,
    host: Annotated[str | None, typer.Option(help="Where to listen; 127.0.0.1 by default.")] = None,
    port: Annotated[int | None, typer.Option(min=0, max=65_535, help="8080 by default; 0: a free one.")] = None,
    metrics_port: Annotated[int | None, typer.Option(min=0, max=65_535, help="0: a free one.")] = None,
    instance: Annotated[str | None, typer.Option(help="Name of this replica.")] = None,
) -> None:
    """Serve until SIGTERM or SIGINT. Exit code 1: refused to start, with the reason in the log."""
    if context.invoked_subcommand is not None:
        return
    environment = _environment()
    try:
        stack = find_endpoints(endpoints or environment.endpoints, {}, Path.cwd())
    except EndpointsError as error:
        raise _failure(str(error)) from None
    settings = ProgramSettings(
        kafka=stack.kafka,
        redis_url=stack.redis.services,
        declaration=_declaration(file, environment),
        host=host or environment.gateway_host,
        port=environment.gateway_port if port is None else port,
        metrics_port=environment.metrics_port if metrics_port is None else metrics_port,
        instance=instance or environment.instance,
        secrets=_secrets(secrets, environment),
        link_secrets=environment.gateway_link_secrets.split(),
        allowed_origins=frozenset(environment.gateway_origins.split()),
        proxies=environment.gateway_proxies.split(),
        limits=environment.limits(),
    )
    configure_logs("gateway")
    settle_collector()
    raise typer.Exit(uvloop.run(run(settings)))


@app.command()
def check(file: FileOption = None, secrets: SecretsOption = None) -> None:
    """Check a declaration and the secrets that it names, and say what it takes. Exit code 1: it is wrong."""
    environment = _environment()
    declaration = _declaration(file, environment)
    try:
        source_keys(declaration, _secrets(secrets, environment))
    except StartRefused as error:
        raise _failure(str(error)) from None
    for name in declaration.forms:
        typer.echo(f"POST /forms/{name}")
    for name, source in declaration.sources.items():
        types = ", ".join(sorted({rule.message.type for rule in source.rules}))
        typer.echo(f"POST /webhooks/{name}  -> {types}")


@app.command()
def sign(
    source: Annotated[str, typer.Argument(help="A source of the declaration.")],
    body: Annotated[Path, typer.Argument(metavar="FILE|-", allow_dash=True, help="The body to sign.")],
    file: FileOption = None,
    secrets: SecretsOption = None,
    message_id: Annotated[str, typer.Option("--id", help="For schemes that sign an id.")] = "test-1",
) -> None:
    """Print the headers that the source itself would send, one a line, for `curl -H @-`."""
    environment = _environment()
    declaration = _declaration(file, environment)
    found = declaration.sources.get(source)
    if found is None:
        raise _failure(f"no source {source!r}; there are: {', '.join(declaration.sources) or 'none'}")
    try:
        keys = source_keys(Declaration({}, {source: found}), _secrets(secrets, environment))[source]
        data = sys.stdin.buffer.read() if str(body) == "-" else body.read_bytes()
    except (StartRefused, OSError) as error:
        raise _failure(str(error)) from None
    for name, value in signed_headers(found.scheme, keys[0], data, int(time.time()), message_id).items():
        typer.echo(f"{name}: {value}")


@app.command()
def link(
    process_id: Annotated[str, typer.Argument(metavar="PROCESS", help="<saga>:<business key>")],
    signal: Annotated[str | None, typer.Option(help="The signal to send.")] = None,
    payload: Annotated[Path | None, typer.Option(help="What the signal says, or the form, as a JSON file.")] = None,
    approval: Annotated[str | None, typer.Option(help="The approval to decide.")] = None,
    by: Annotated[str | None, typer.Option(help="In whose name.")] = None,
    role: Annotated[list[str] | None, typer.Option(help="A role that you vouch for.")] = None,
    ask: Annotated[list[str] | None, typer.Option(metavar="NAME=KIND", help="text, integer or boolean.")] = None,
    hours: Annotated[float, typer.Option(min=0.01, max=24 * 365, help="How long it is valid.")] = 72.0,
    text: Annotated[str, typer.Option(help="What the page says.")] = "",
) -> None:
    """Print a link by which somebody says one thing to one process, once. Whoever has it may use it.

    \b
    Examples:
      python -m services.gateway link restock:e7 --signal goods-arrived --payload goods.json
      python -m services.gateway link onboarding:a17 --approval review --by ann@example.org --role reviewer
    """
    environment = _environment()
    secrets = environment.gateway_link_secrets.split()
    if not secrets:
        raise _failure("set COUNTERPOINT_GATEWAY_LINK_SECRETS to the gateway's secret of links")
    around = system_surroundings()
    asked = Asked(process_id, signal, approval, by, tuple(role or ()), tuple(ask or ()), text)
    try:
        content = b"{}" if payload is None else payload.read_bytes()
        invitation = invitation_of(asked, content, around.now_ms() // 1000 + round(hours * 3600))
        token = mint(secrets[0], invitation, "".join(around.token() for _ in range(4)))
    except (OSError, ValueError) as error:
        raise _failure(str(error)) from None
    base = environment.gateway_url or f"http://{environment.gateway_host}:{environment.gateway_port}"
    typer.echo(f"{base.rstrip('/')}/resume/{token}")


def _declaration(file: Path | None, environment: Environment) -> Declaration:
    chosen = file or environment.gateway_file
    try:
        if chosen is None:
            return default_declaration(standard_catalog())
        return read_declaration(chosen, standard_catalog())
    except DeclarationError as error:
        raise _failure(str(error)) from None


def _secrets(file: Path | None, environment: Environment) -> dict[str, str]:
    """The environment comes first."""
    chosen = file or environment.gateway_secrets_file
    try:
        return {**({} if chosen is None else read_secrets(chosen)), **os.environ}
    except DeclarationError as error:
        raise _failure(str(error)) from None


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
