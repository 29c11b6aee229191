"""A long first-in-first-out line as a value: pieces of at most PIECE_MAX, so that a change copies one piece, not all.

What waits is named by a text and has a number; it is in the line once. The pieces are maps, which keep their order.
"""

from __future__ import annotations

Line = tuple[dict[str, int], ...]
PIECE_MAX = 256


def length(line: Line) -> int:
    return sum(map(len, line))


def contains(line: Line, name: str) -> bool:
    return any(name in piece for piece in line)


def joined(line: Line, name: str, number: int) -> Line:
    """At the end."""
    if line and len(line[-1]) < PIECE_MAX:
        return (*line[:-1], {**line[-1], name: number})
    return (*line, {name: number})


def left(line: Line, name: str) -> Line:
    """Without that one, wherever it is. Raises KeyError: it is not there."""
    place = next((place for place, piece in enumerate(line) if name in piece), None)
    if place is None:
        raise KeyError(name)
    piece = {other: number for other, number in line[place].items() if other != name}
    return (*line[:place], *((piece,) if piece else ()), *line[place + 1 :])


def first(line: Line) -> tuple[str, int]:
    """Raises StopIteration or IndexError: the line is empty."""
    return next(iter(line[0].items()))
