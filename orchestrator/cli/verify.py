"""`counterpoint verify`: proves the sagas of this build before they run."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer
from rich.text import Text

from orchestrator.cli.failures import NotFound, Refused
from orchestrator.cli.options import AsJson, EndpointsFile
from orchestrator.cli.output import print_json, say, screen
from orchestrator.cli.session import session_of
from orchestrator.verify.cataloged import check_catalog
from orchestrator.verify.finding import Finding
from orchestrator.verify.handlers import Handlers, HandlersError, read_handlers
from orchestrator.verify.run import verify_sagas
from orchestrator.verify.seeds import SeedsError, check_seeds
from orchestrator.verify.versions import FingerprintsError, check_versions, read_fingerprints


def verify(
    context: typer.Context,
    saga: Annotated[str | None, typer.Argument(metavar="[SAGA]", help="Only this saga. Default: all.")] = None,
    without_services: Annotated[
        bool, typer.Option("--without-services", help="Do not ask which service handles what: before there are any.")
    ] = False,
    endpoints: EndpointsFile = None,
    as_json: AsJson = False,
) -> None:
    """Prove sagas: everything injected is captured, everything can be undone, every command is handled. Needs no stack.

    Their functions are also called in other processes, under three hash seeds: they must make the same of the same.

    \b
    Examples:
      counterpoint verify
      counterpoint verify order-fulfilment --json
      counterpoint verify order-fulfilment --without-services
    """
    session = session_of(context, endpoints, as_json)
    sagas = [one for one in session.around.sagas if saga in (None, one.name)]
    if not sagas:
        names = ", ".join(sorted({one.name for one in session.around.sagas}))
        raise NotFound(f"there is no saga {saga}; there are {names}")
    try:
        handlers = Handlers.any() if without_services else read_handlers()
        findings = check_catalog(sagas, session.around.catalog) + verify_sagas(sagas, handlers, session.around.sagas)
        if session.around.fingerprints is not None:
            findings += check_versions(sagas, read_fingerprints(session.around.fingerprints))
        depending, unchecked = check_seeds(sagas, session.around.environment)
    except (HandlersError, FingerprintsError, SeedsError) as error:
        raise Refused(str(error)) from None
    findings += depending
    for one in unchecked:
        say(f"note: {one.saga}: {one.name} was not called under other hash seeds: {one.why}", style="yellow")
    if session.as_json:
        print_json([asdict(finding) for finding in findings])
    else:
        _print(findings, len(sagas), "; services were not asked about" if without_services else "")
    if findings:
        raise Refused(f"{len(findings)} finding{'s' if len(findings) > 1 else ''}: these sagas are not run")


def _print(findings: tuple[Finding, ...], sagas: int, note: str) -> None:
    console = screen()
    for finding in findings:
        console.print(
            Text.assemble((f"{finding.file}:{finding.line}", "bold"), f"  {finding.saga}  ", (finding.rule, "red")),
            soft_wrap=True,
        )
        console.print(Text(f"    {finding.message}"), soft_wrap=True)
        console.print(Text(f"    at {finding.path}", style="dim"), soft_wrap=True)
        console.print(Text.assemble(("    fix: ", "green"), finding.fix), soft_wrap=True)
    if not findings:
        console.print(f"[green]proven[/green]: {sagas} saga{'s' if sagas > 1 else ''}, no finding{note}")
