"""Where things are printed: results on standard output, everything said about them on standard error."""

from __future__ import annotations

from typing import Any

import orjson
import typer
from rich.console import Console

PIPE_WIDTH = 160
"""Columns when nobody says how wide the terminal is."""


def screen() -> Console:
    """Standard output for people."""
    return _console(stderr=False)


def notices() -> Console:
    """Standard error."""
    return _console(stderr=True)


def _console(*, stderr: bool) -> Console:
    console = Console(stderr=stderr, highlight=False, emoji=False)
    if not console.is_terminal:
        console.width = PIPE_WIDTH
    return console


def print_json(value: Any) -> None:
    """The one thing on standard output of a command with `--json`."""
    typer.echo(orjson.dumps(value, option=orjson.OPT_INDENT_2).decode())


def say(sentence: str, style: str = "") -> None:
    """A sentence on standard error."""
    notices().print(sentence, style=style, markup=False, soft_wrap=True)
