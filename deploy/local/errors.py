"""The one exception of the local stack: a sentence for a person, and the log lines that explain it."""

from __future__ import annotations


class StackError(Exception):
    """What went wrong and what to do about it, in one sentence; `tail` holds the last lines of the log concerned."""

    def __init__(self, sentence: str, tail: str = "") -> None:
        super().__init__(sentence)
        self.sentence = sentence
        self.tail = tail
