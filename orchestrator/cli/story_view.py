"""Prints a story for people: a time line with what came in, what it meant, and what was sent."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import orjson
from rich.console import Console
from rich.padding import Padding
from rich.text import Text

from contracts.envelope import format_time
from orchestrator.cli.story import Chapter, Mark, Sent, Story, Waiting

BODY_LENGTH_MAX = 400
"""Characters of a body that are shown, unless all are asked for."""
ITEMS_MAX = 3
"""Items of a list, likewise."""
MARKS: dict[Mark, tuple[str, str]] = {
    "start": ("▶", "bold cyan"),
    "success": ("✔", "green"),
    "refusal": ("✖", "yellow"),
    "failure": ("✖", "red"),
    "timer": ("◷", "magenta"),
    "operator": ("☞", "bold magenta"),
    "other": ("●", "cyan"),
    "ignored": ("∅", "dim"),
}
PHASE_STYLES = {
    "running": "cyan",
    "compensating": "yellow",
    "stuck": "bold red",
    "completed": "bold green",
    "compensated": "bold yellow",
    "cancelled": "bold yellow",
}
_INDENT = 14


def print_story(console: Console, story: Story, now_ms: int | None, *, full: bool = False) -> None:
    """`now_ms` None: nothing is said about the present. `full`: bodies in full, over several lines."""
    _print_head(console, story)
    for chapter in story.chapters:
        print_chapter(console, chapter, full)
    _print_end(console, story)
    for waiting in story.waiting:
        print_waiting(console, waiting, now_ms)
    _print_stuck(console, story)


def duration(ms: int) -> str:
    """`840 ms`, `12.3 s`, `4 min 5 s`, `3 h 10 min`, `2 d 4 h`."""
    if ms < 1_000:
        return f"{ms} ms"
    seconds = ms / 1_000
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, whole = divmod(int(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {whole} s"
    hours, minutes = divmod(minutes, 60)
    if hours < 24:
        return f"{hours} h {minutes} min"
    return f"{hours // 24} d {hours % 24} h"


def _print_head(console: Console, story: Story) -> None:
    process = story.process
    head = Text(process.id, style="bold")
    head.append(f"   {process.saga} version {process.version}   ", style="dim")
    head.append(process.phase, style=PHASE_STYLES[process.phase])
    console.print(head)
    console.print(Text(f"started {format_time(process.started_at_ms)}", style="dim"))
    console.print()


def print_chapter(console: Console, chapter: Chapter, full: bool) -> None:
    """One input and what it led to."""
    sign, style = MARKS[chapter.mark]
    quiet = chapter.mark == "ignored"
    line = Text(f"{'+' + duration(chapter.since_ms):>11} ", style="dim")
    line.append(f"{sign} ", style=style)
    line.append(chapter.title, style="dim" if quiet else style)
    if chapter.took_ms is not None:
        line.append(f"  after {duration(chapter.took_ms)}", style="dim")
    line.append(f"  #{chapter.offset}", style="dim")
    console.print(line, soft_wrap=True)
    if chapter.ignored is not None:
        _below(console, Text(f"ignored, {chapter.ignored}", style="yellow"))
    named = chapter.type in chapter.title
    _below(console, _body("" if named else chapter.type, chapter.body, full))
    for note in chapter.notes:
        _below(console, Text(f"· {note}", style="italic"))
    for sent in chapter.sent:
        _print_sent(console, sent, full)
    for phase in chapter.phases:
        _below(console, Text(f"= {phase}", style=PHASE_STYLES.get(phase, "")))


def _print_sent(console: Console, sent: Sent, full: bool) -> None:
    line = Text("↶ " if sent.undo else "→ ", style="yellow" if sent.undo else "blue")
    line.append(sent.what, style="bold")
    if sent.undoes:
        line.append(f"  covers {', '.join(sent.undoes)}", style="dim")
    _below(console, line)
    _below(console, _body(sent.type, sent.body, full), 2)


def _body(type_name: str, body: bytes, full: bool) -> Text:
    line = Text(f"{type_name} " if type_name else "", style="dim")
    line.append(_shown(body, full), style="dim" if not full else "")
    return line


def _shown(body: bytes, full: bool) -> str:
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError:
        text = body.decode(errors="replace")
    else:
        text = orjson.dumps(value, option=orjson.OPT_INDENT_2).decode() if full else _compact(value)
    return text if full or len(text) <= BODY_LENGTH_MAX else f"{text[:BODY_LENGTH_MAX]}…"


def _compact(value: Any) -> str:
    """`order_id=o1 lines=[{sku:milk quantity:2}, 3 more]`: what one reads fastest."""
    if not isinstance(value, dict):
        return _plain(value)
    return " ".join(f"{name}={_plain(part)}" for name, part in value.items())


def _plain(part: Any) -> str:
    if isinstance(part, dict):
        return "{" + " ".join(f"{name}:{_plain(inner)}" for name, inner in part.items()) + "}"
    if isinstance(part, list):
        shown = [_plain(inner) for inner in part[:ITEMS_MAX]]
        more = len(part) - len(shown)
        return "[" + ", ".join([*shown, f"{more} more"] if more else shown) + "]"
    if isinstance(part, str) and part and not set(part) & set(" ,=:[]{}"):
        return part
    return orjson.dumps(part).decode()


def _below(console: Console, text: Text, deeper: int = 0) -> None:
    console.print(Padding(text, (0, 0, 0, _INDENT + deeper), expand=False))


def _print_end(console: Console, story: Story) -> None:
    process = story.process
    console.print()
    line = Text(process.phase, style=PHASE_STYLES[process.phase])
    if process.phase == "completed":
        line.append(" in ", style="dim")
    else:
        line.append(" after " if process.ended or process.phase == "stuck" else ", last change after ", style="dim")
    line.append(duration(process.updated_at_ms - process.started_at_ms))
    if process.cause is not None:
        why = f" {process.cause.step}" if process.cause.step else ""
        line.append(f"; undone because of{why}: {process.cause.reason}", style="yellow")
        if process.cause.detail:
            line.append(f" ({process.cause.detail})", style="dim")
    console.print(line)
    if process.parent is not None:
        console.print(Text(f"started by {process.parent.process}, at {process.parent.step}", style="dim"))


def print_waiting(console: Console, waiting: Waiting, now_ms: int | None) -> None:
    line = Text("waiting for ", style="dim")
    line.append(waiting.what)
    if waiting.since_ms is not None and now_ms is not None:
        line.append(f", {waiting.verb} {duration(max(0, now_ms - waiting.since_ms))} ago", style="dim")
    for what, due_ms in waiting.until:
        when = format_time(due_ms) if now_ms is None else _in(due_ms - now_ms)
        line.append(f"; {what}: {when}", style="dim")
    console.print(line)


def _in(ms: int) -> str:
    return f"in {duration(ms)}" if ms >= 0 else f"due {duration(-ms)} ago"


def _print_stuck(console: Console, story: Story) -> None:
    for line in _stuck_lines(story):
        console.print(line, soft_wrap=True)


def _stuck_lines(story: Story) -> Iterator[Text]:
    for address, reason in story.process.stuck.items():
        yield Text.assemble(("stuck at ", "red"), (address, "bold red"), (f": {reason}", "red"))
    if story.advice:
        yield Text("a person must decide:", style="dim")
    for command in story.advice:
        yield Text(f"  {command}", style="bold")
