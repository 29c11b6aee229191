"""Prints a rehearsal: what the last act led to, what is waited for, and what would be undone now."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.text import Text

from contracts.catalog import Catalog
from contracts.envelope import format_time
from orchestrator.cli.processes import summary_json
from orchestrator.cli.story import name_of, tell, timer_words
from orchestrator.cli.story_view import PHASE_STYLES, duration, print_chapter, print_waiting
from orchestrator.engine.history import entry_json
from orchestrator.rehearsal.prompt import WORDS
from orchestrator.rehearsal.rehearsal import Rehearsal
from orchestrator.rehearsal.undoing import Undoing, would_undo


def print_last(console: Console, rehearsal: Rehearsal, catalog: Catalog) -> None:
    """The last act and where the process stands after it."""
    if rehearsal.process is None or not rehearsal.history:
        console.print(Text("nothing has come of it", style="yellow"))
        return
    story = tell(rehearsal.process, rehearsal.history, catalog)
    print_chapter(console, story.chapters[-1], full=True)
    print_state(console, rehearsal, catalog)


def print_state(console: Console, rehearsal: Rehearsal, catalog: Catalog) -> None:
    process = rehearsal.process
    if process is None:
        return
    console.print()
    line = Text(process.phase, style=PHASE_STYLES.get(process.phase, ""))
    if process.reason is not None:
        line.append(f" ({process.step or 'the whole process'}: {process.reason})")
    console.print(line)
    for waiting in tell(process, rehearsal.history, catalog).waiting:
        print_waiting(console, waiting, rehearsal.now_ms)
    for address, roles in rehearsal.deciding().items():
        say = f"say approve {address} or reject {address}"
        console.print(Text(f"{' or '.join(roles)} decides at {address}: {say}", style="cyan"), soft_wrap=True)
    timer = rehearsal.next_timer()
    if timer is not None:
        span = duration(max(0, timer[1] - rehearsal.now_ms))
        console.print(Text(f"next timer, in {span}: {timer_words(timer[0])} ({timer[0]})", style="dim"))
    for address, reason in process.stuck.items():
        console.print(Text(f"stuck at {address}: {reason}; say retry, skip or compensate", style="red"), soft_wrap=True)
    _print_undoing(console, rehearsal, would_undo(rehearsal))
    if process.ended is not None:
        console.print(Text("it has ended: quit, or try what comes too late", style="dim"))


def print_help(console: Console) -> None:
    for words, meaning in WORDS:
        console.print(Text.assemble((f"  {words:<44}", "bold"), (meaning, "dim")), soft_wrap=True)


def rehearsal_json(rehearsal: Rehearsal) -> dict[str, Any]:
    """Everything about a rehearsal, for machines."""
    process, undoing = rehearsal.process, would_undo(rehearsal)
    return {
        "process": None if process is None else summary_json(process),
        "history": [entry_json(entry) for entry in rehearsal.history],
        "awaited": [{"of": one.address, "type": one.model.type, "data": one.data} for one in rehearsal.awaited()],
        "children": {address: rehearsal.children[address] for address in rehearsal.awaited_children()},
        "waiting": [] if process is None else [name for name, one in process.steps.items() if one.status == "waiting"],
        "deciding": {address: list(roles) for address, roles in rehearsal.deciding().items()},
        "timers": {} if process is None else {name: format_time(due) for name, due in process.timers.items()},
        "stuck": {} if process is None else dict(process.stuck),
        "would_undo": {
            "undos": [{"id": one.id, "type": one.type, "undoes": list(one.undoes)} for one in undoing.undos],
            "unsettled": list(undoing.unsettled),
            "past_pivot": undoing.past_pivot,
        },
    }


def _print_undoing(console: Console, rehearsal: Rehearsal, undoing: Undoing) -> None:
    if undoing.past_pivot:
        console.print(Text("past the point of no return: nothing would be undone", style="dim"))
        return
    gives_up = rehearsal.process is not None and rehearsal.process.cause is not None
    names = [f"{name_of(rehearsal.id, one.id)} ({one.type})" for one in undoing.undos]
    if not names and not undoing.unsettled:
        return
    line = Text("still to be undone: " if gives_up else "if it gave up now, would be undone: ", style="yellow")
    if undoing.unsettled:
        names.append(f"{' and '.join(undoing.unsettled)}, if it turns out to be done")
    line.append(", then ".join(names))
    console.print(line, soft_wrap=True)
