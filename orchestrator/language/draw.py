"""Draws a saga: what it does, in which order, and by what each step is undone. `draw_mermaid` and `draw_svg`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from orchestrator.language.blocks import Block, CommandStep, Emit, Named, Parallel, Pivot, Sequence, Subsaga
from orchestrator.language.flow import Choice, Fallback, ForEach, Repeat, Sleep, When
from orchestrator.language.limits import limits_text
from orchestrator.language.saga import Saga
from orchestrator.language.signature import SignatureError, read_signature
from orchestrator.language.waiting import Approval, WaitFor

PIVOT = "point of no return"
CANCELLED = "at last, if everything was undone"
ALERTS = "as long as it is stuck"


@dataclass(frozen=True, slots=True)
class Label:
    """What is written in a step's box: `small` says more, `undo` is the compensation."""

    title: str
    small: str = ""
    undo: str = ""


def label_of(block: Block) -> Label:
    """Of a block that contains no others."""
    match block:
        case CommandStep():
            undo = "" if block.undo is None else f"{function_name(block.undo.builder)}: {_made(block.undo.builder)}"
            more = (", irreversible" if block.irreversible else "") + (", held" if block.on_failure == "hold" else "")
            more += f", {limits_text(block.limits)}" if block.limits else ""
            return Label(block.name, _made(block.builder) + more, undo)
        case Subsaga():
            undo = "" if block.irreversible else f"{block.child.name} undoes itself"
            if block.undo is not None:
                undo = f"{function_name(block.undo.builder)}: {_made(block.undo.builder)}"
            more = ", irreversible" if block.irreversible else ""
            return Label(block.name, f"process of {block.child.name}{more}", undo)
        case Emit():
            return Label(block.name, f"tells {_made(block.builder)}")
        case Sleep(duration=None):
            return Label(block.name, f"sleeps until {function_name(block.until)}")
        case Sleep():
            return Label(block.name, f"sleeps {duration_text(block.duration or timedelta(0))}")
        case WaitFor():
            verb = "observes" if block.choreographed else "waits for"
            return Label(block.name, f"{verb} {block.wants.__name__}, {duration_text(block.limit)}")
        case Approval():
            return Label(block.name, f"{block.role} approves, {duration_text(block.limit)}")
        case Pivot():
            return Label(PIVOT)
        case _:
            return Label(block.name if isinstance(block, Named) else type(block).__name__.lower())


def heading_of(block: Block) -> str:
    """Of a block that contains others."""
    match block:
        case Parallel():
            return "all at once"
        case Choice():
            return "one of"
        case Fallback():
            return "the next, if one fails"
        case ForEach():
            at_once = f", {block.concurrency} at a time" if block.concurrency > 1 else ""
            return f"for each of {block.name} (at most {block.bound}{at_once})"
        case Repeat():
            return f"repeat until {function_name(block.until)} (at most {block.bound} times)"
        case _:
            return type(block).__name__.lower()


def completed_text(saga: Saga) -> str:
    """What is written where the saga ends well."""
    return "completed" if saga.returns is None else f"completed, returns {_made(saga.returns)}"


def branch_text(branch: When) -> str:
    return "otherwise" if branch.predicate is None else f"if {function_name(branch.predicate)}"


def function_name(function: Any) -> str:
    return getattr(function, "__name__", "?")


def duration_text(time: timedelta) -> str:
    """`1 d 2 h`: at most the two largest units."""
    rest, words = round(time.total_seconds()), []
    for unit, seconds in (("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1)):
        count, rest = divmod(rest, seconds)
        if count:
            words.append(f"{count} {unit}")
    return " ".join(words[:2]) or f"{round(time.total_seconds() * 1000)} ms"


def _made(builder: Any) -> str:
    try:
        return read_signature(builder).returns.__name__
    except SignatureError:
        return "?"


def draw_mermaid(saga: Saga) -> str:
    """A Mermaid flowchart. Dotted edges lead to compensations, thick ones to the next alternative of a fallback."""
    drawing = _Mermaid()
    limits = f"<br/>{_quoted(limits_text(saga.limits))}" if saga.limits else ""
    drawing.add(f'start(["{saga.starts_on.__name__}{limits}"])')
    ends = drawing.block(saga.body, [("start", "")])
    drawing.add(f'completed(["{completed_text(saga)}"])')
    drawing.join(ends, "completed")
    if saga.cancelled is not None:
        drawing.add(f'undone(["{CANCELLED}"])')
        drawing.block(saga.cancelled, [("undone", "")])
    if saga.on_stuck is not None:
        drawing.add(f'alerts(["{ALERTS}"])')
        drawing.block(saga.on_stuck, [("alerts", "")])
    styles = (
        "classDef undo stroke-dasharray:4 3,fill:#fff7ed,stroke:#c2410c,color:#0f172a",
        "classDef pivot fill:#fef3c7,stroke:#b45309,stroke-width:2px,color:#0f172a",
    )
    return "\n".join(["flowchart TD", *(f"    {line}" for line in (*drawing.lines, *styles))]) + "\n"


_End = tuple[str, str]
"""A node that the next one follows, and what is written on the edge."""


class _Mermaid:
    def __init__(self) -> None:
        self.lines: list[str] = []
        self._numbers = 0

    def add(self, line: str) -> None:
        self.lines.append(line)

    def join(self, ends: list[_End], node: str) -> None:
        for end, text in ends:
            self.add(f'{end} -->|"{_quoted(text)}"| {node}' if text else f"{end} --> {node}")

    def _node(self) -> str:
        self._numbers += 1
        return f"n{self._numbers}"

    def block(self, block: Block, ends: list[_End]) -> list[_End]:
        """Draws what follows `ends`; returns what the next block follows."""
        match block:
            case Sequence():
                for child in block.children:
                    ends = self.block(child, ends)
                return ends
            case Parallel():
                fork = self._shaped(ends, '(("+"))')
                return [end for child in block.children for end in self.block(child, [(fork, "")])]
            case Choice():
                return list(self._choice(block, ends))
            case Fallback():
                return self._fallback(block, ends)
            case ForEach() | Repeat():
                return self._loop(block, ends)
            case Pivot():
                return [(self._shaped(ends, f'{{{{"{PIVOT}"}}}}:::pivot'), "")]
            case _:
                return self._step(block, ends)

    def _shaped(self, ends: list[_End], shape: str) -> str:
        node = self._node()
        self.add(f"{node}{shape}")
        self.join(ends, node)
        return node

    def _choice(self, block: Choice, ends: list[_End]) -> Iterator[_End]:
        fork = self._shaped(ends, '{"?"}')
        for branch in block.branches:
            yield from self.block(branch.block, [(fork, branch_text(branch))])
        if block.branches[-1].predicate is not None:
            yield fork, "none of these"

    def _fallback(self, block: Fallback, ends: list[_End]) -> list[_End]:
        fork = self._shaped(ends, '{{"first that succeeds"}}')
        found = []
        for number, child in enumerate(block.children, 1):
            found += self.block(child, [(fork, f"{number}." if number == 1 else f"{number}. if that fails")])
        return found

    def _loop(self, block: ForEach | Repeat, ends: list[_End]) -> list[_End]:
        head = self._shaped(ends, f'[["{_quoted(heading_of(block))}"]]')
        inside = self.block(block.body, [(head, "each")])
        for end, text in inside:
            self.add(f'{end} -->|"{_quoted(text or "next")}"| {head}')
        return [(head, "then")]

    def _step(self, block: Block, ends: list[_End]) -> list[_End]:
        label = label_of(block)
        text = "<br/>".join(_quoted(part) for part in (label.title, label.small) if part)
        node = self._shaped(ends, f'["{text}"]')
        if label.undo:
            undo = self._node()
            self.add(f'{undo}["{_quoted(label.undo)}"]:::undo')
            self.add(f"{node} -.-> {undo}")
        return [(node, "")]


def _quoted(text: str) -> str:
    return text.replace("&", "#amp;").replace('"', "#quot;").replace("<", "#lt;").replace(">", "#gt;")
