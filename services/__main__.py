"""`python -m services inventory payment ...`: hosts any set of automations in one OS process. The composition root of
all services, and the only one of them that reads the environment."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

import typer
import uvloop
from pydantic import ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from operations.collector import settle_collector
from operations.endpoints import Endpoints, EndpointsError, find_endpoints
from operations.logs import configure_logs
from services.documentsignature.resources import URL_OPTION as SIGNATURE_URL
from services.inventory.resources import OPENING_OPTION
from services.invoicing.resources import URL_OPTION as ACCOUNTING_URL
from services.leadalert.resources import URL_OPTION as SLACK_URL
from services.leadcrm.resources import URL_OPTION as CRM_URL
from services.payment.resources import URL_OPTION as PAYMENT_URL
from services.registry import HANDLERS_FILE, HOST_OPTIONS, OPTIONS, REGISTRY, handlers_json
from services.sdk.host import HostSettings, host
from services.shipping.resources import URL_OPTION as CARRIER_URL

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


class Environment(BaseSettings):
    """`COUNTERPOINT_<NAME>`. An option on the command line comes first."""

    model_config = SettingsConfigDict(env_prefix="COUNTERPOINT_", env_ignore_empty=True, extra="ignore")

    endpoints: Path | None = None
    metrics_port: int = 0
    instance: str | None = None
    payment_url: str | None = None
    carrier_url: str | None = None
    slack_url: str | None = None
    crm_url: str | None = None
    accounting_url: str | None = None
    signature_url: str | None = None
    documents_incoming: str | None = None
    documents_completed: str | None = None
    opening_stock: str | None = None
    providers: str | None = None
    provider_answer_seconds: str | None = None
    provider_total_seconds: str | None = None
    concurrency: str | None = None
    retention_hours: str | None = None
    accept_empty_store: str | None = None
    leave_on_stop: str | None = None

    def options(self) -> dict[str, str]:
        """The options of services that are set here."""
        return {name: value for name in OPTIONS if isinstance(value := getattr(self, name), str)}


@app.command()
def main(
    names: Annotated[list[str] | None, typer.Argument(metavar="SERVICE...", help="Which services to host.")] = None,
    endpoints: Annotated[Path | None, typer.Option(help="The stack's endpoints file.")] = None,
    metrics_port: Annotated[int | None, typer.Option(min=0, max=65_535, help="0: a free one.")] = None,
    instance: Annotated[str | None, typer.Option(help="Name of this replica; stable over restarts.")] = None,
    option: Annotated[list[str] | None, typer.Option(metavar="NAME=VALUE", help="A setting of a service.")] = None,
    show: Annotated[bool, typer.Option("--list", help="List the services and their options.")] = False,
    write_handlers: Annotated[bool, typer.Option(help="Generate contracts/handlers.json.")] = False,
    check_handlers: Annotated[bool, typer.Option(help="Fail if contracts/handlers.json is stale.")] = False,
) -> None:
    """Host the named services in this OS process until SIGTERM or SIGINT."""
    if show:
        _list_services()
    elif write_handlers:
        HANDLERS_FILE.write_bytes(handlers_json())
    elif check_handlers:
        _check_handlers()
    else:
        chosen = _known(names or ())
        given = _options(option or ())
        environment = _environment()
        settings = _settings(chosen, environment, endpoints, metrics_port, instance, given)
        _configure_logs(chosen)
        settle_collector()
        raise typer.Exit(uvloop.run(host([REGISTRY[name].service for name in chosen], settings)))


def _configure_logs(chosen: Sequence[str]) -> None:
    configure_logs(chosen[0] if len(chosen) == 1 else "services")
    # httpx reports every request at INFO; what matters of a call is in its answer or its failure.
    logging.getLogger("httpx").setLevel(logging.WARNING)


def _settings(
    chosen: Sequence[str],
    environment: Environment,
    endpoints: Path | None,
    metrics_port: int | None,
    instance: str | None,
    given: Mapping[str, str],
) -> HostSettings:
    try:
        stack = find_endpoints(endpoints or environment.endpoints, {}, Path.cwd())
    except EndpointsError as error:
        raise _failure(str(error)) from None
    return HostSettings(
        kafka=stack.kafka,
        redis_url=stack.redis.services,
        metrics_port=environment.metrics_port if metrics_port is None else metrics_port,
        instance=instance or environment.instance or f"{'-'.join(chosen)}-1",
        options={**local_options(stack), **environment.options(), **given},
    )


def local_options(stack: Endpoints) -> dict[str, str]:
    """What a local stack needs that production must say: where the outside world is, and that shelves are full."""
    if stack.sandbox is None:
        return {}
    base = stack.sandbox.rstrip("/")
    return {
        PAYMENT_URL: f"{base}/payment",
        CARRIER_URL: f"{base}/carrier",
        SLACK_URL: f"{base}/slack/webhook",
        CRM_URL: f"{base}/crm",
        ACCOUNTING_URL: f"{base}/accounting",
        SIGNATURE_URL: f"{base}/signature",
        OPENING_OPTION: "local",
    }


def _known(names: Sequence[str]) -> tuple[str, ...]:
    """Each name once. Exits with 2 if one is unknown, or none is given."""
    known = ", ".join(sorted(REGISTRY))
    unknown = [name for name in names if name not in REGISTRY]
    if unknown:
        raise typer.BadParameter(f"unknown service {', '.join(map(repr, unknown))}; known are {known}")
    if not names:
        raise typer.BadParameter(f"name at least one service; known are {known}")
    return tuple(dict.fromkeys(names))


def _options(pairs: Sequence[str]) -> dict[str, str]:
    """Exits with 2 for what is not NAME=VALUE, or a name that no service understands."""
    options = {}
    for pair in pairs:
        name, separator, value = pair.partition("=")
        if not separator or name not in OPTIONS:
            raise typer.BadParameter(f"{pair!r} is not NAME=VALUE with a NAME of {', '.join(OPTIONS)}")
        options[name] = value
    return options


def _environment() -> Environment:
    try:
        return Environment()
    except ValidationError as error:
        raise _failure(f"the environment is wrong: {error}") from None


def _list_services() -> None:
    for name, registered in sorted(REGISTRY.items()):
        typer.echo(f"{name}: handles {', '.join(sorted(registered.service.handlers))}")
        typer.echo(f"{' ' * len(name)}  options {', '.join(registered.options) or 'none'}")
    typer.echo(f"options of all: {', '.join(HOST_OPTIONS)}")


def _check_handlers() -> None:
    committed = HANDLERS_FILE.read_bytes() if HANDLERS_FILE.exists() else b""
    if committed != handlers_json():
        raise _failure(f"{HANDLERS_FILE.name} is stale: run `python -m services --write-handlers` and commit it")


def _failure(sentence: str) -> typer.Exit:
    typer.echo(sentence, err=True)
    return typer.Exit(1)


if __name__ == "__main__":
    app()
