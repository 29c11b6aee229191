"""`counterpoint topics apply`: creates the topics that are missing and checks the others."""

from __future__ import annotations

from typing import Annotated

import typer

from contracts.catalog import CONTEXTS
from contracts.topics import TopicSpec, domain_topics, orchestrator_topics, service_topics
from orchestrator.cli.failures import Refused
from orchestrator.cli.options import AsJson, EndpointsFile
from orchestrator.cli.output import print_json, screen
from orchestrator.cli.session import session_of
from orchestrator.runtime.topics_kafka import TopicsFailed, TopicsReport
from orchestrator.verify.handlers import HandlersError, read_handlers

group = typer.Typer(no_args_is_help=True, help="The topics that everything runs on.")

DryRun = Annotated[bool, typer.Option("--dry-run", help="Only say what would be created, and what is wrong.")]


def wanted_topics() -> tuple[TopicSpec, ...]:
    """Every topic of this build: contexts, services (contracts/handlers.json) and the orchestrator's own.

    Raises:
        Refused: it is not known which services there are.
    """
    try:
        services = tuple(sorted({handler.service for handler in read_handlers().known or ()}))
    except HandlersError as error:
        raise Refused(str(error)) from None
    return (*domain_topics(tuple(CONTEXTS)), *service_topics(services), *orchestrator_topics())


@group.command("apply")
def apply_topics(
    context: typer.Context, dry_run: DryRun = False, endpoints: EndpointsFile = None, as_json: AsJson = False
) -> None:
    """Create what is missing and check the rest. Nothing that exists is changed.

    \b
    Examples:
      counterpoint topics apply
      counterpoint topics apply --dry-run --endpoints .local/demo/endpoints.json
    """
    session = session_of(context, endpoints, as_json)
    specs = wanted_topics()
    where = session.kafka()

    async def work() -> TopicsReport:
        async with session.around.connections.topics(where) as keeper:
            try:
                return await keeper.apply(specs, dry_run=dry_run)
            except TopicsFailed as error:
                raise Refused(str(error)) from None

    report = session.run(work, seconds=60)
    if session.as_json:
        created = "would_create" if dry_run else "created"
        print_json({created: report.created, "unchanged": report.unchanged, "problems": report.problems})
    else:
        _print(report, dry_run)
    if report.problems:
        raise Refused(f"{len(report.problems)} setting(s) differ", report.problems)


def _print(report: TopicsReport, dry_run: bool) -> None:
    console = screen()
    for name in report.created:
        console.print(f"{'would create' if dry_run else 'created'} {name}", markup=False)
    console.print(f"{len(report.created)} {'missing' if dry_run else 'created'}, {len(report.unchanged)} as they were")
