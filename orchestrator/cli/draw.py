"""`counterpoint draw`: a saga as a picture, with its compensations."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from orchestrator.cli.failures import NotFound, Refused
from orchestrator.cli.options import AsJson, EndpointsFile
from orchestrator.cli.output import print_json
from orchestrator.cli.session import session_of
from orchestrator.language.draw import draw_mermaid
from orchestrator.language.draw_svg import draw_svg
from orchestrator.language.saga import Saga


def draw(
    context: typer.Context,
    saga: Annotated[str, typer.Argument(metavar="SAGA", help="Its newest version is drawn.")],
    format: Annotated[str, typer.Option(help="svg, or mermaid for pages that render it.")] = "svg",
    output: Annotated[Path | None, typer.Option(help="The file to write. Default: standard output.")] = None,
    endpoints: EndpointsFile = None,
    as_json: AsJson = False,
) -> None:
    """Draw a saga: what it does in which order, and by what each step is undone. Needs no stack.

    \b
    Examples:
      counterpoint draw order-fulfilment --output order-fulfilment.svg
      counterpoint draw order-fulfilment --format mermaid
    """
    session = session_of(context, endpoints, as_json)
    if format not in ("svg", "mermaid"):
        raise typer.BadParameter(f"{format!r} is neither svg nor mermaid", param_hint="--format")
    picture = (draw_svg if format == "svg" else draw_mermaid)(_newest(session.around.sagas, saga))
    if output is not None:
        try:
            output.write_text(picture, encoding="utf-8")
        except OSError as error:
            raise Refused(f"{output} cannot be written: {error.strerror}") from None
    if session.as_json:
        print_json({"saga": saga, "format": format, "picture": picture})
    elif output is None:
        typer.echo(picture, nl=False)


def _newest(sagas: tuple[Saga, ...], name: str) -> Saga:
    found = [one for one in sagas if one.name == name]
    if not found:
        names = ", ".join(sorted({one.name for one in sagas}))
        raise NotFound(f"there is no saga {name}; there are {names}")
    return max(found, key=lambda one: one.version)
