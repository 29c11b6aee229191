"""What a `Story` can tell of children: of a parent whose children are told about, and of a process that is a child."""

from __future__ import annotations

from typing import Any, Literal, Self

from contracts.message import Event
from contracts.process import CancelChild, ChildEnded, ReleaseChild, StartChild, ToChild, UndoChild
from orchestrator.engine.inputs import Input
from orchestrator.language.saga import Saga
from orchestrator.testkit.inbox import Inbox
from orchestrator.testkit.reading import Sent, SentKind

Ended = Literal["completed", "compensated", "cancelled", "not-started"]
PARENT, STEP = "parent:p1", "child"
"""Who starts the process of a story that is told of a child."""


class TellsOfChildren:
    """Part of `Story`."""

    saga: Saga

    # Of a parent.

    def child_ends(
        self,
        step: str,
        phase: Ended = "completed",
        result: Event | None = None,
        *,
        at: str | None = None,
        reason: str | None = None,
        detail: str | None = None,
    ) -> Self:
        """The child that the step started answers its start. `at`, `reason`: where and why it ended otherwise."""
        sent = self._sent("command", step, None)
        return self._feed(self._log.from_child(self._ended(sent, phase, result, at, reason, detail), sent.id))

    def child_undone(self, step: str, phase: Ended = "compensated", *, number: int | None = None) -> Self:
        """The child answers that it has undone itself; with `completed`, that it cannot."""
        sent = self._sent("undo", step, number)
        return self._feed(self._log.from_child(self._ended(sent, phase, None, None, "parent", None), sent.id))

    def _ended(
        self, sent: Sent, phase: Ended, result: Event | None, at: str | None, reason: str | None, detail: str | None
    ) -> ChildEnded:
        told = sent.message
        assert isinstance(told, ToChild), f"{sent} is not for a child"
        return ChildEnded(
            process_id=told.parent,
            child=told.process_id,
            phase=phase,
            step=at,
            reason=reason,
            detail=detail,
            result_type=None if result is None else result.type,
            result=None if result is None else result.model_dump(mode="json"),
        )

    def calls_off(self, *steps: str) -> Self:
        """Exactly these children were told that they are not wanted any more."""
        return self._tell("cancel-child", steps, again=False)

    def releases(self, *steps: str) -> Self:
        """Exactly these children were let go."""
        return self._tell("release", steps, again=False)

    # Of a child.

    def is_started(self, event: Event, *, parent: str = PARENT, step: str = STEP, id: str | None = None) -> Self:
        """A parent starts the process."""
        return self._told(StartChild, self.saga.key(event), parent, step, id, event=event.model_dump(mode="json"))

    def is_called_off(self, key: str = "j1", *, parent: str = PARENT, step: str = STEP) -> Self:
        """The parent does not want it any more. `key`: the business key, where nothing has happened before."""
        return self._told(CancelChild, key, parent, step, f"{parent}/{step}/cancel")

    def is_undone(self, key: str = "j1", *, parent: str = PARENT, step: str = STEP, number: int = 1) -> Self:
        """The parent wants undone what it did."""
        return self._told(UndoChild, key, parent, step, f"{parent}/{step}/undo/{number}")

    def is_released(self, key: str = "j1", *, parent: str = PARENT, step: str = STEP) -> Self:
        """The parent has ended for good."""
        return self._told(ReleaseChild, key, parent, step, f"{parent}/{step}/release")

    def _told(self, kind: type[ToChild], key: str, parent: str, step: str, id: str | None, **more: Any) -> Self:
        log, start = self._begin(key), f"{parent}/{step}/1"
        message = kind(process_id=log.process_id, parent=parent, step=step, start=start, **more)
        return self._feed(log.from_parent(message, id=id or start))

    def answers_parent(self, phase: Ended) -> ChildEnded:
        """The one answer that was sent to a parent; it is told now."""
        self._tell("ended", (phase,), again=False)
        message = self._sent("ended", phase, None).message
        assert isinstance(message, ChildEnded)
        return message

    # Of a story.

    def _begin(self, key: str) -> Inbox:
        raise NotImplementedError

    @property
    def _log(self) -> Inbox:
        raise NotImplementedError

    def _feed(self, item: Input) -> Self:
        raise NotImplementedError

    def _tell(self, kind: SentKind, steps: tuple[str, ...], *, again: bool) -> Self:
        raise NotImplementedError

    def _sent(self, kind: SentKind, step: str, number: int | None) -> Sent:
        raise NotImplementedError
