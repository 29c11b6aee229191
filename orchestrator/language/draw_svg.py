"""A saga as an SVG picture. Blocks nest, so each is laid out by itself and then placed by the one around it."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape

from orchestrator.language.blocks import Block, Pivot, Sequence, children_of
from orchestrator.language.draw import (
    ALERTS,
    CANCELLED,
    PIVOT,
    Label,
    branch_text,
    completed_text,
    duration_text,
    heading_of,
    label_of,
)
from orchestrator.language.flow import Choice, Fallback
from orchestrator.language.limits import limits_text
from orchestrator.language.saga import Saga

GAP, PADDING, MARGIN = 26.0, 14.0, 20.0
TITLE_H, SMALL_H, HEADING_H, BRANCH_H = 20.0, 17.0, 24.0, 20.0
TITLE_W, SMALL_W = 7.9, 6.7
"""Average widths of a character at 14 and 12 pixels, generously (pixels)."""
WIDTH_MIN = 880.0
"""Pictures in the documents are shown at this width."""

STYLE = """
    text{font-family:system-ui,'Segoe UI',Helvetica,Arial,sans-serif;fill:#0f172a;font-size:14px;text-anchor:middle}
    .small{font-size:12px;fill:#334155}.heading{font-size:12px;fill:#475569;font-style:italic}
    .step{fill:#fff;stroke:#475569;stroke-width:1.5}.undo{fill:#fff7ed;stroke:#c2410c;stroke-dasharray:4 3}
    .undo-text{font-size:12px;fill:#9a3412}.around{fill:#f8fafc;stroke:#94a3b8}.end{fill:#eff6ff;stroke:#3b82f6}
    .pivot{stroke:#b45309;stroke-width:3}.pivot-text{fill:#92400e;font-weight:600}
    .line{stroke:#64748b;stroke-width:1.5;fill:none}.arrow{marker-end:url(#tip)}
    .back{stroke:#c2410c;stroke-dasharray:4 3}
"""


@dataclass(frozen=True, slots=True)
class Figure:
    """Something with a size, drawn when it is placed: `parts` are SVG elements relative to its upper left corner.

    Lines enter at the middle of its upper side and leave at the middle of its lower side.
    """

    width: float
    height: float
    parts: tuple[str, ...]

    def at(self, x: float, y: float) -> str:
        return f'<g transform="translate({_number(x)} {_number(y)})">{"".join(self.parts)}</g>'


def draw_svg(saga: Saga) -> str:
    """The whole picture, valid XML. Dashed boxes under the steps are their compensations."""
    start = _pill(saga.starts_on.__name__)
    body = _column([start, *_flow(saga.body), _pill(completed_text(saga))])
    figures = [body]
    if saga.cancelled is not None:
        figures.append(_framed(CANCELLED, _block(saga.cancelled)))
    if saga.on_stuck is not None:
        figures.append(_framed(ALERTS, _block(saga.on_stuck)))
    deadline = "" if saga.deadline is None else f", within {duration_text(saga.deadline)}"
    called_off = "" if saga.cancelled_by is None else f", called off by {saga.cancelled_by[0].__name__}"
    limits = f", {limits_text(saga.limits)}" if saga.limits else ""
    title = f"{saga.name}, version {saga.version}{deadline}{called_off}{limits}"
    width = max(WIDTH_MIN, 2 * MARGIN + max(figure.width for figure in figures))
    y, placed = MARGIN + HEADING_H, [_text("heading", width / 2, MARGIN + 8, title)]
    for figure in figures:
        placed.append(figure.at((width - figure.width) / 2, y))
        y += figure.height + GAP
    size = f"{_number(width)} {_number(y)}"
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {size}" role="img" aria-labelledby="title">'
    marker = (
        '<marker id="tip" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="7" markerHeight="7" orient="auto">'
        '<path d="M0 0 10 5 0 10z" fill="#64748b"/></marker>'
    )
    lines = (
        head,
        f'<title id="title">{escape(title)}</title>',
        f"<defs>{marker}<style>{STYLE}</style></defs>",
        f'<rect width="{_number(width)}" height="{_number(y)}" fill="#fff"/>',
        *placed,
        "</svg>",
    )
    return "\n".join(lines) + "\n"


def _flow(block: Block) -> list[Figure]:
    """The figures of a sequence, or the one of another block."""
    if isinstance(block, Sequence):
        return [figure for child in block.children for figure in _flow(child)]
    return [_block(block)]


def _block(block: Block) -> Figure:
    if isinstance(block, Sequence):
        return _column(_flow(block))
    if isinstance(block, Pivot):
        return _pivot()
    children = children_of(block)
    if not children:
        return _step(label_of(block))
    inside = [_block(child) for child in children]
    if isinstance(block, Choice):
        inside = [_named(branch_text(branch), child) for branch, child in zip(block.branches, inside, strict=True)]
    elif isinstance(block, Fallback):
        inside = [_named(f"{number}.", child) for number, child in enumerate(inside, 1)]
    return _framed(heading_of(block), _row(inside))


def _step(label: Label) -> Figure:
    width = max(len(label.title) * TITLE_W, max(len(label.small), len(label.undo) + 2) * SMALL_W) + 2 * PADDING
    height = TITLE_H + (SMALL_H if label.small else 0) + PADDING
    parts = [_box("step", 0, 0, width, height), _text("", width / 2, PADDING / 2 + 14, label.title)]
    if label.small:
        parts.append(_text("small", width / 2, PADDING / 2 + 14 + SMALL_H, label.small))
    if label.undo:
        parts.append(f'<path class="line back" d="M{_number(PADDING)} {_number(height)}v8"/>')
        parts.append(_box("undo", 0, height + 8, width, SMALL_H + 8))
        parts.append(_text("undo-text", width / 2, height + 8 + SMALL_H, f"↺ {label.undo}"))
        height += 8 + SMALL_H + 8
    return Figure(width, height, tuple(parts))


def _pill(text: str) -> Figure:
    width, height = len(text) * TITLE_W + 3 * PADDING, TITLE_H + PADDING
    box = f'<rect class="end" width="{_number(width)}" height="{_number(height)}" rx="{_number(height / 2)}"/>'
    return Figure(width, height, (box, _text("", width / 2, height / 2 + 5, text)))


def _pivot() -> Figure:
    width, height = 420.0, HEADING_H
    text = len(PIVOT) * TITLE_W + PADDING
    left, right = (width - text) / 2, (width + text) / 2
    parts = (
        f'<path class="pivot" d="M0 12H{_number(left)}M{_number(right)} 12H{_number(width)}"/>',
        _text("pivot-text", width / 2, 17, PIVOT),
    )
    return Figure(width, height, parts)


def _column(figures: list[Figure]) -> Figure:
    width = max((figure.width for figure in figures), default=0.0)
    y, parts = 0.0, []
    for place, figure in enumerate(figures):
        if place:
            parts.append(f'<path class="line arrow" d="M{_number(width / 2)} {_number(y)}v{_number(GAP - 1)}"/>')
            y += GAP
        parts.append(figure.at((width - figure.width) / 2, y))
        y += figure.height
    return Figure(width, y, tuple(parts))


def _row(figures: list[Figure]) -> Figure:
    x, parts = 0.0, []
    for figure in figures:
        parts.append(figure.at(x, 0))
        x += figure.width + PADDING
    return Figure(max(x - PADDING, 0.0), max((figure.height for figure in figures), default=0.0), tuple(parts))


def _named(text: str, figure: Figure) -> Figure:
    """A branch, with its condition above it."""
    width = max(figure.width, len(text) * SMALL_W)
    parts = (_text("small", width / 2, 12, text), figure.at((width - figure.width) / 2, BRANCH_H))
    return Figure(width, figure.height + BRANCH_H, parts)


def _framed(heading: str, figure: Figure) -> Figure:
    width = max(figure.width, len(heading) * SMALL_W) + 2 * PADDING
    height = figure.height + HEADING_H + PADDING
    parts = (
        _box("around", 0, 0, width, height),
        _text("heading", width / 2, 16, heading),
        figure.at((width - figure.width) / 2, HEADING_H),
    )
    return Figure(width, height, parts)


def _box(kind: str, x: float, y: float, width: float, height: float) -> str:
    place = f'x="{_number(x)}" y="{_number(y)}"'
    return f'<rect class="{kind}" {place} width="{_number(width)}" height="{_number(height)}" rx="8"/>'


def _text(kind: str, x: float, y: float, text: str) -> str:
    named = f' class="{kind}"' if kind else ""
    return f'<text{named} x="{_number(x)}" y="{_number(y)}">{escape(text)}</text>'


def _number(value: float) -> str:
    """Without needless digits, the same on every machine."""
    return f"{value:.1f}".removesuffix(".0")
