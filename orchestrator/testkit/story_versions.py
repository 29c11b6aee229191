"""What a `Story` can tell of builds and versions: of functions that are mended, and of a process that is moved."""

from __future__ import annotations

from typing import Self

from orchestrator.engine.book import SagaBook
from orchestrator.engine.inputs import Input
from orchestrator.engine.plan import Plan
from orchestrator.engine.process import Process
from orchestrator.language.saga import Saga
from orchestrator.testkit.expectation import expect_said
from orchestrator.testkit.fold import Fed, Fold
from orchestrator.testkit.inbox import Inbox


class TellsOfVersions:
    """Part of `Story`."""

    saga: Saga
    book: SagaBook
    _plan: Plan

    def deploys(self, saga: Saga) -> Self:
        """From here on, a build runs in which the same version of the saga has other builders (a mended one)."""
        self._all_told()
        self.book = self._folded.book = SagaBook([saga])
        self._plan = self._folded.plan = self.book.plan(self.saga.name, self.saga.version)
        return self

    def migrates(self, newer: Saga, **seen: int) -> Self:
        """From here on, a build runs that has `newer` beside; a person moves the process to it, seeing it as it is (or
        `revision=` and `from_version=`)."""
        self._all_told()
        self.book = self._folded.book = SagaBook([*(plan.saga for plan in self.book.plans()), newer])
        self._feed(self._log.migration(self.process, newer.version, **seen))
        self._plan = self._folded.plan
        return self

    def because(self, *words: str) -> Self:
        """The history of the last input says all of this, for people."""
        expect_said(self.last, words)
        return self

    # What the story itself gives.

    @property
    def process(self) -> Process:
        raise NotImplementedError

    @property
    def last(self) -> Fed:
        raise NotImplementedError

    @property
    def _folded(self) -> Fold:
        raise NotImplementedError

    @property
    def _log(self) -> Inbox:
        raise NotImplementedError

    def _feed(self, item: Input) -> Self:
        raise NotImplementedError

    def _all_told(self) -> None:
        raise NotImplementedError
