"""What a `Story` can tell of builds and versions: of functions that are mended, and of a process that is moved."""

from __future__ import annotations

from typing import Self

from contracts.process import MigrationRequested
from orchestrator.engine.book import SagaBook
from orchestrator.engine.history import decode_entry
from orchestrator.engine.inputs import Input
from orchestrator.engine.plan import Plan
from orchestrator.engine.process import Process
from orchestrator.language.saga import Saga
from orchestrator.testkit.fold import Fed, Fold
from orchestrator.testkit.inbox import Inbox
from orchestrator.testkit.unexpected import Unexpected


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

    def migrates(self, newer: Saga, *, revision: int | None = None, from_version: int | None = None) -> Self:
        """From here on, a build runs that has `newer` beside; a person moves the process to it."""
        self._all_told()
        self.book = self._folded.book = SagaBook([*(plan.saga for plan in self.book.plans()), newer])
        asked = MigrationRequested(
            process_id=self.process.id,
            from_version=self.process.version if from_version is None else from_version,
            to_version=newer.version,
            revision=self.process.revision if revision is None else revision,
            operator="ann",
        )
        self._feed(self._log.control(asked))
        self._plan = self._folded.plan
        return self

    def because(self, *words: str) -> Self:
        """The history of the last input says all of this, for people."""
        assert self.last.decision.history is not None
        notes = " ".join(decode_entry(self.last.decision.history).notes)
        missing = [word for word in words if word not in notes]
        if missing:
            raise Unexpected(f"the history does not say {missing}, but {notes!r}")
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
