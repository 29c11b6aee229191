"""The command line as a whole: what commands there are, and the options before them."""

from __future__ import annotations

import typer

from orchestrator.cli import dead_letters, topics, versions
from orchestrator.cli.audit import EXAMPLES as AUDIT_EXAMPLES
from orchestrator.cli.audit import audit
from orchestrator.cli.draw import draw
from orchestrator.cli.options import AsJson, EndpointsFile
from orchestrator.cli.processes import list_processes, show
from orchestrator.cli.publish import EXAMPLES, publish
from orchestrator.cli.recover import recover
from orchestrator.cli.repair import compensate, retry, skip
from orchestrator.cli.session import FailingGroup, Session
from orchestrator.cli.surroundings import Surroundings
from orchestrator.cli.tell import approve, cancel, reject, signal
from orchestrator.cli.try_saga import EXAMPLES as TRY_EXAMPLES
from orchestrator.cli.try_saga import try_saga
from orchestrator.cli.verify import verify

HELP = """
See, start and repair business processes.

\b
  counterpoint list --phase stuck              what waits for a person
  counterpoint show order-fulfilment:28023     the whole story of one process
  counterpoint retry order-fulfilment:28023    try its stuck step once more
  counterpoint publish orders.placed.v1 FILE   start one
  counterpoint try order-fulfilment --start FILE   step through a saga in memory

The stack is found by --endpoints, then $COUNTERPOINT_ENDPOINTS, then .local/endpoints.json.

Exit codes: 0 done, 1 refused, 2 usage, 3 not found, 4 stack away.
"""


def build_app() -> typer.Typer:
    """Run it with a `Surroundings` as `obj`."""
    app = typer.Typer(
        cls=FailingGroup,
        help=HELP,
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback(help=HELP)(_start)
    app.command("list")(list_processes)
    app.command("show")(show)
    app.command("retry")(retry)
    app.command("skip")(skip)
    app.command("compensate")(compensate)
    app.command("cancel")(cancel)
    app.command("signal")(signal)
    app.command("approve")(approve)
    app.command("reject")(reject)
    app.command("publish", help=EXAMPLES)(publish)
    app.add_typer(dead_letters.group, name="dead-letters")
    app.command("recover")(recover)
    app.command("audit", help=AUDIT_EXAMPLES)(audit)
    app.command("verify")(verify)
    app.command("try", help=TRY_EXAMPLES)(try_saga)
    app.command("draw")(draw)
    app.add_typer(versions.group, name="versions")
    app.add_typer(topics.group, name="topics")
    return app


def _start(context: typer.Context, endpoints: EndpointsFile = None, as_json: AsJson = False) -> None:
    around = context.obj
    assert isinstance(around, Surroundings), "the composition root passes it"
    context.obj = Session(around, endpoints, as_json)
