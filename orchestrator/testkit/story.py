"""`Story`: what happens to one process, told in order. See the package's docstring for an example.

Two kinds of sentences. *Something happens* (`starts, succeeds, refuses, fails, late, undone, undo_fails, passes,
silent, operator, repeats, ...`): an input is appended and decided. *The process answers* (`sends, resends, undoes,
emitted, announces, is_stuck, ignored, ends, ...`): what was published is compared, and thereby told. What a process
has published and the story has not told by the next thing that happens is an error; so is an input that was ignored
unmentioned. Lifecycle events, permits (story_limits.py) and being stuck may be told, and need not be.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import timedelta
from typing import Any, Literal, Self, TypeVar

from contracts.envelope import Envelope
from contracts.ids import command_id, process_id
from contracts.message import Command, Event, Message
from contracts.process import ApprovalGiven, CancelRequested, OperatorAction
from contracts.record import OutgoingRecord
from contracts.technical import CommandFailed
from orchestrator.engine.book import SagaBook
from orchestrator.engine.decision import Reason
from orchestrator.engine.inputs import Input
from orchestrator.engine.limiters_memory import MemoryLimiters
from orchestrator.engine.process import Process
from orchestrator.language.saga import Saga
from orchestrator.language.waiting import Signal
from orchestrator.testkit.answers import answer_like, failure
from orchestrator.testkit.expectation import (
    Unexpected,
    expect_announced,
    expect_kept,
    expect_stuck,
)
from orchestrator.testkit.fold import Fed, Fold
from orchestrator.testkit.inbox import FIRST_MS, Inbox
from orchestrator.testkit.reading import Sent, SentKind
from orchestrator.testkit.story_children import TellsOfChildren
from orchestrator.testkit.story_limits import LimitSentences
from orchestrator.testkit.story_versions import TellsOfVersions

M = TypeVar("M", bound=Message)
FIRINGS_MAX = 10_000
"""Timers that one `passes` or `silent` fires at most; more is a loop."""


class Story(TellsOfChildren, LimitSentences, TellsOfVersions):
    """One process of `saga`. Every method but the ones that hand out a message returns the story."""

    def __init__(self, saga: Saga) -> None:
        self.book = SagaBook([saga])
        self.saga = saga
        self._plan = self.book.plan(saga.name, saga.version)
        self._fold: Fold | None = None
        self._inbox: Inbox | None = None
        self._untold: list[Sent] = []
        self._all: list[Sent] = []
        self.limiters = MemoryLimiters()
        self._others: dict[str, int] = {}

    # What happens.

    def starts(
        self, event: Event, *, id: str = "start", source: str = "/test/origin", version: int | None = None
    ) -> Story:
        """The start event arrives; also again, with the same or another payload, id, producer or stamped version."""
        return self._feed(self._begin(self.saga.key(event)).start(event, id=id, source=source, version=version))

    def happens(self, event: Event, *, id: str = "event", source: str = "/test/elsewhere") -> Story:
        """An event that the saga waits for, or will: also before the start."""
        (route, *_) = self.book.observes(event.type)
        return self._feed(self._begin(route.key(event)).observed(event, id=id, source=source))

    def signals(self, signal: Signal, *, key: str | None = None, id: str = "signal", sender: str = "ann") -> Story:
        """A signal to the process. `key`: its business key, where nothing has happened before."""
        log = self._log if key is None else self._begin(key)
        return self._feed(log.signal(signal, id=id, sender=sender))

    def _begin(self, key: str) -> Inbox:
        """The inbox of the one process that the story is about."""
        if self._inbox is None:
            identity = process_id(self.saga.name, key)
            self._inbox = Inbox(identity, self.saga.name, self.saga.version)
            self._fold = Fold(self.book, self._plan, identity)
        return self._inbox

    def succeeds(self, step: str, outcome: Event | None = None, *, number: int | None = None) -> Story:
        """The step's command is answered by a success. Without `outcome`: one whose fields are the command's.

        `number` names another try than the last.
        """
        return self._answer(step, self._success(step, outcome, number), number)

    def late(self, step: str, outcome: Event | None = None, *, number: int | None = None) -> Story:
        """A success that nobody waits for any more: its step was settled by another try, or given up."""
        state = self.process.steps[step]
        if state.status == "awaiting" and (number is None or number == len(state.tries)):
            raise Unexpected(f"{step} is still awaited: its success is not late")
        return self.succeeds(step, outcome, number=number)

    def refuses(self, step: str, outcome: Event | None = None, *, number: int | None = None) -> Story:
        """The business answer is no."""
        if outcome is None:
            sent = self._sent("command", step, number)
            assert issubclass(sent.model, Command) and sent.model.refuses, f"{step} cannot be refused"
            outcome = answer_like(sent.message, sent.model.refuses[0])
        return self._answer(step, outcome, number)

    def fails(
        self,
        step: str,
        *,
        effect: Literal["none", "unknown"] = "none",
        retryable: bool = True,
        code: str = "broken",
        number: int | None = None,
    ) -> Story:
        """A technical failure: `counterpoint.command-failed.v1`."""
        sent = self._sent("command", step, number)
        return self._answer(step, failure(sent, effect, retryable, code), number)

    def undone(self, step: str, outcome: Event | None = None, *, number: int | None = None) -> Story:
        """The step's undo succeeds. `number` names another attempt than the last."""
        sent = self._sent("undo", step, number)
        assert issubclass(sent.model, Command)
        return self._feed(self._log.answer(outcome or answer_like(sent.message, sent.model.succeeds[0]), sent.id))

    def undo_fails(
        self,
        step: str,
        *,
        effect: Literal["none", "unknown"] = "none",
        retryable: bool = True,
        code: str = "broken",
        number: int | None = None,
    ) -> Story:
        sent = self._sent("undo", step, number)
        return self._feed(self._log.answer(failure(sent, effect, retryable, code), sent.id))

    def passes(self, time: timedelta) -> Story:
        """Virtual time passes; timers fire in the order in which they are due."""
        until_ms = self._log.now_ms + round(time.total_seconds() * 1000)
        for _ in range(FIRINGS_MAX):
            if not self._fire_next(until_ms):
                self._log.now_ms = until_ms
                return self._hear(self.limiters.pass_time(until_ms))
        raise Unexpected(f"more than {FIRINGS_MAX} timers fire in {time}")

    def silent(self, step: str) -> Story:
        """Nobody answers the step (`<step>/undo`: its undo) until its patience ends. Re-sends count as told."""
        if not self._awaited(step):
            raise Unexpected(f"{step} is not awaited")
        return self._fire_while(lambda: self._awaited(step), f"the patience for {step} does not end")

    def waits_until(self, timer_id: str) -> Story:
        """Nobody says anything until that timer has fired. Re-sends count as told."""
        if timer_id not in self.process.timers:
            raise Unexpected(f"no timer {timer_id} is set")
        return self._fire_while(lambda: timer_id in self.process.timers, f"{timer_id} does not fire")

    def without_clock(self, time: timedelta) -> Story:
        """Time passes (or the broker's clock is set back), and no timer fires: the clock is away."""
        self._all_told()
        self._log.advance(time)
        return self

    def operator(
        self,
        action: Literal["retry", "skip", "compensate"],
        step: str | None = None,
        *,
        outcome: Event | dict[str, Any] | None = None,
        correction: dict[str, Any] | None = None,
        number: int | None = None,
        revision: int | None = None,
        note: str | None = None,
    ) -> Story:
        """A person acts, seeing the process as it is (or as it was at `revision`)."""
        given = outcome.model_dump(mode="json") if isinstance(outcome, Event) else outcome
        action_taken = OperatorAction(
            process_id=self.process.id,
            action=action,
            step=step,
            try_number=number,
            revision=self.process.revision if revision is None else revision,
            operator="ann",
            note=note,
            outcome_type=outcome.type if isinstance(outcome, Event) else None,
            outcome=given,
            correction=correction,
        )
        return self._feed(self._log.operator(action_taken))

    def approves(
        self, step: str, form: dict[str, Any] | None = None, *, roles: tuple[str, ...] | None = None, no: bool = False
    ) -> Story:
        """A person decides at an approval: yes, or `no`."""
        decision: Literal["approve", "reject"] = "reject" if no else "approve"
        given = ApprovalGiven(
            process_id=self.process.id, step=step, decision=decision, form=form, by="ann", roles=roles
        )
        return self._feed(self._log.control(given))

    def cancels(self) -> Story:
        """A person calls the process off."""
        return self._feed(self._log.control(CancelRequested(process_id=self.process.id, operator="ann")))

    def repeats(self, back: int = 1) -> Story:
        """The last input (or the one `back` inputs ago) is delivered once more. It must be ignored; say `ignored`."""
        self._feed(self._log.again(self._folded.fed[-back].item))
        if self.last.decision.result != "ignored":
            raise Unexpected(f"the repeated {self.last.item.envelope.type} was {self.last.decision.result}")
        return self

    def timer_fires(self, timer_id: str) -> Story:
        """A timer fires now, whether it is due or not, set or not."""
        return self._feed(self._log.timer(timer_id, self._log.now_ms))

    def answers(self, causation: str, event: Event, *, data: bytes | None = None) -> Story:
        """Any event as the answer to any id, with any payload: for participants in error."""
        return self._feed(self._log.answer(event, causation, data=data))

    def receives(self, envelope: Envelope, data: bytes) -> Story:
        """Any message at all."""
        return self._feed(self._log.foreign(envelope, data))

    # What the process answers.

    def sends(self, *steps: str) -> Story:
        """Exactly these commands were sent, for the first time each. What one input sends has no order."""
        return self._tell("command", steps, again=False)

    def resends(self, *steps: str) -> Story:
        """Exactly these commands were sent again, byte for byte."""
        return self._tell("command", steps, again=True)

    def undoes(self, *steps: str, covers: tuple[int, ...] | None = None) -> Story:
        """Exactly these undos were sent. `covers`: the tries that the (one) undo names."""
        self._tell("undo", steps, again=False)
        if covers is not None:
            path = self.process.steps[steps[-1]].sent_as or steps[-1]
            expected = tuple(command_id(self.process.id, path, number) for number in covers)
            found = self._sent("undo", steps[-1], None).envelope.undoes
            if found != expected:
                raise Unexpected(f"the undo of {steps[-1]} covers {found}, not {expected}")
        return self

    def resends_undo(self, *steps: str) -> Story:
        return self._tell("undo", steps, again=True)

    def tells(self, *steps: str) -> Story:
        """Exactly these emits have published their events."""
        return self._tell("emit", steps, again=False)

    def emitted(self, event: type[M]) -> M:
        """The one event of that type that was published; it is told now."""
        found = [sent for sent in self._untold if sent.kind == "emit" and sent.model is event]
        if len(found) != 1:
            raise Unexpected(f"{len(found)} events {event.__name__} were published, not one. {self._summary()}")
        self._untold.remove(found[0])
        message = found[0].message
        assert isinstance(message, event)
        return message

    def announces(self, *phases: str) -> Story:
        """Exactly these lifecycle events were published by the last input: `started`, `stuck`, ..."""
        expect_announced(self.last, phases)
        return self

    def is_stuck(self, *addresses: str, reason: str | None = None) -> Story:
        """A person must decide, at exactly these steps (`<step>/undo`: its undo). `reason` is part of the first's."""
        expect_stuck(self.process, addresses, reason)
        return self

    def ignored(self, reason: Reason) -> Story:
        """The last input was ignored, for this reason."""
        decision = self.last.decision
        if decision.reason != reason:
            raise Unexpected(f"the last input was {decision.result} ({decision.reason}), not ignored ({reason})")
        self._ignored_untold = False
        return self

    def keeps(self, *types: str) -> Story:
        """The last input was kept for later; these types are kept now, in order (a signal: `signal/<name>`)."""
        expect_kept(self.last, self.process, types)
        return self

    def gives_up(self, count: int) -> Story:
        """So many early messages went to dead letters."""
        return self._tell("dead-letter", ("",) * count, again=False)

    def alerts(self, *alerts: str) -> Story:
        if self.last.decision.alerts != alerts:
            raise Unexpected(f"alerts are {self.last.decision.alerts}, not {alerts}")
        return self

    def goes_on(self) -> Story:
        """Nothing is untold: the process waits, and is neither stuck nor at its end."""
        self._all_told()
        if self.process.stuck or self.process.ended:
            raise Unexpected(f"the process is {self.process.phase}")
        return self

    def ends(self, phase: Literal["completed", "compensated", "cancelled"]) -> Story:
        """The process has ended in this phase, and everything it did is told."""
        self._all_told()
        if self.process.phase != phase:
            raise Unexpected(f"the process is {self.process.phase}, not {phase}. {self._summary()}")
        return self

    # What a test may look at.

    @property
    def process(self) -> Process:
        process = self._folded.process
        if process is None:
            raise Unexpected("there is no process")
        return process

    @property
    def last(self) -> Fed:
        """What the last input led to."""
        return self._folded.fed[-1]

    @property
    def fed(self) -> list[Fed]:
        return self._folded.fed

    @property
    def now_ms(self) -> int:
        return self._log.now_ms

    def command(self, step: str, number: int | None = None) -> Sent:
        """The step's last command, or that of try `number`."""
        return self._sent("command", step, number)

    def undo(self, step: str, number: int | None = None) -> Sent:
        """The step's last undo, or that of attempt `number`."""
        return self._sent("undo", step, number)

    # Inside.

    _ignored_untold = False

    @property
    def _folded(self) -> Fold:
        if self._fold is None:
            raise Unexpected("the story has not started")
        return self._fold

    @property
    def _log(self) -> Inbox:
        if self._inbox is None:
            raise Unexpected("the story has not started")
        return self._inbox

    def _feed(self, item: Input) -> Self:
        self._all_told()
        self._ignored_untold = self._take(item).decision.result == "ignored"
        return self

    def _take(self, item: Input) -> Fed:
        fed = self._folded.feed(item)
        self._all.extend(fed.sent)
        self._untold.extend(sent for sent in fed.sent if sent.kind not in ("lifecycle", "permit"))
        self._hear(self._answers(fed, self._log.now_ms))
        return fed

    def _hear(self, records: Iterable[OutgoingRecord]) -> Self:
        """What limiters answer to this process."""
        for record in records:
            if self._inbox is not None and record.key == self._inbox.process_id.encode():
                self._take(self._inbox.published(record))
        return self

    def _moment_ms(self) -> int:
        return FIRST_MS if self._inbox is None else self._inbox.now_ms

    def _all_told(self) -> None:
        if self._ignored_untold:
            raise Unexpected(f"the last input was ignored ({self.last.decision.reason}), and the story does not say so")
        if self._untold:
            raise Unexpected(self._summary())

    def _summary(self) -> str:
        untold = "; ".join(str(sent) for sent in self._untold) or "nothing"
        timers = sorted(self.process.timers.items(), key=lambda timer: (timer[1], timer[0]))
        due = f", next timer: {timers[0][0]} in {(timers[0][1] - self.now_ms) / 1000:g} s" if timers else ""
        return f"Untold so far: {untold}. Phase: {self.process.phase}, reason: {self.process.reason}{due}"

    def _tell(self, kind: SentKind, steps: tuple[str, ...], *, again: bool) -> Self:
        found = [sent for sent in self._untold if sent.kind == kind and sent.again == again]
        if sorted(sent.step for sent in found) != sorted(steps):
            verb = "sent again" if again else "sent"
            raise Unexpected(f"{kind}s {verb}: {[str(sent) for sent in found]}, not {list(steps)}. {self._summary()}")
        self._untold = [sent for sent in self._untold if sent not in found]
        return self

    def _sent(self, kind: SentKind, step: str, number: int | None) -> Sent:
        found = [one for one in self._all if (one.kind, one.step) == (kind, step) and number in (None, one.number)]
        if not found:
            raise Unexpected(f"no {kind} {step} (number {number or 'any'}) was sent")
        return max(reversed(found), key=lambda one: one.number)

    def _success(self, step: str, outcome: Event | None, number: int | None) -> Event:
        if outcome is not None:
            return outcome
        sent = self._sent("command", step, number)
        assert issubclass(sent.model, Command)
        return answer_like(sent.message, sent.model.succeeds[0])

    def _answer(self, step: str, event: Event | CommandFailed, number: int | None) -> Story:
        return self._feed(self._log.answer(event, self._sent("command", step, number).id))

    def _awaited(self, address: str) -> bool:
        step, _, undo = address.partition("/")
        state = self.process.steps.get(step)
        if state is None:
            return False
        return any(job.status == "awaited" for job in state.undos) if undo else state.status == "awaiting"

    def _fire_while(self, condition: Callable[[], bool], what_is_wrong: str) -> Story:
        self._all_told()
        for _ in range(FIRINGS_MAX):
            self._fire_next(None)
            if not condition():
                return self
            self._untold = [sent for sent in self._untold if not sent.again]
        raise Unexpected(what_is_wrong)

    def _fire_next(self, until_ms: int | None) -> bool:
        """Fire the timer that is due next, unless it is due after `until_ms`."""
        timers = self.process.timers
        if not timers:
            if until_ms is None:
                raise Unexpected("no timer is set: time may pass for ever")
            return False
        timer_id, due_ms = min(timers.items(), key=lambda timer: (timer[1], timer[0]))
        if until_ms is not None and due_ms > until_ms:
            return False
        self._log.now_ms = max(self._log.now_ms, due_ms)
        fed = self._take(self._log.timer(timer_id, due_ms))
        if fed.decision.result != "applied":
            raise Unexpected(f"the due timer {timer_id} was ignored: {fed.decision.reason}")
        return True
