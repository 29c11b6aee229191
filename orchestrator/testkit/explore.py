"""Explores one random saga in one random world, with random operators and random noise, and judges it all the way.

A seed is a whole run: `explore(Random(seed))`. Whatever chooses like a `random.Random` will do (hypothesis does).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from random import Random

from contracts.message import Event
from contracts.process import ApprovalGiven, CancelRequested, ChildEnded, OperatorAction
from contracts.record import OutgoingRecord
from orchestrator.engine.book import SagaBook
from orchestrator.engine.inputs import Input
from orchestrator.engine.interpreter import BODY
from orchestrator.engine.process import Process, encode_process
from orchestrator.language.saga import Saga
from orchestrator.language.waiting import Approval, Signal
from orchestrator.testkit.callers import Call, Callers
from orchestrator.testkit.fold import Fed, Fold
from orchestrator.testkit.grammar import describe, random_saga
from orchestrator.testkit.inbox import Inbox
from orchestrator.testkit.invariants import Broken
from orchestrator.testkit.judge import Judge
from orchestrator.testkit.lab import Begun, Done
from orchestrator.testkit.limited import BusyLimiters
from orchestrator.testkit.world import DO_FATES, World

INPUTS_MAX = 3_000
"""A run with more does not end."""
NOISE_MAX = 6
"""Repeats, premature and stale timers, answers to nothing, and so on, in one run."""
OPERATOR_ACTIONS_MAX = 8
GRANTS_MAX = 4
"""Answers of limiters that are on their way at once, while other things happen."""
EARLY_CALLS_MAX = 5
"""Events and signals that come at any time, whatever the process waits for."""
WRONG_CALLS_MAX = 4
STATE_BYTES_MAX = 128 * 1024
"""No run of the laboratory has messages that would explain a larger state."""


@dataclass(frozen=True, slots=True)
class Report:
    """How a run ended. `version`: of the saga, in the end."""

    phase: str
    inputs: int
    ignored: int
    operator_actions: int
    version: int = 1


def _habits(random: Random) -> tuple[str, ...]:
    return tuple(random.choice(DO_FATES) for _ in range(random.choice((1, 1, 2, 5))))


@dataclass(frozen=True, slots=True)
class Pace:
    """How likely each happening is in this run, relative to the others."""

    arrivals: int
    answers: int
    timers: int
    landings: int
    calls: int


def explore(random: Random, saga: Saga | None = None, newer: Saga | None = None, *, may_stay: bool = False) -> Report:
    """`newer`: a version to which the process is moved at some time; `may_stay`: or is not, whatever it has passed.

    Raises Broken, with a readable trace of the run.
    """
    explorer = _Explorer(random, saga or random_saga(random), newer)
    explorer.may_stay = may_stay
    try:
        return explorer.run()
    except AssertionError as error:
        raise Broken(f"{error}\n{explorer.trace()}") from error


def explored(random: Random, saga: Saga) -> tuple[Fed, ...]:
    """What came in a whole run, and what came of it."""
    explorer = _Explorer(random, saga, None)
    explorer.run()
    return tuple(explorer.fed)


def is_done(process: Process) -> bool:
    """Its body has come to its end."""
    body = process.nodes.get(BODY)
    return body is not None and body.status == "done"


class _Explorer:
    def __init__(self, random: Random, saga: Saga, newer: Saga | None) -> None:
        book = SagaBook([saga] if newer is None else [saga, newer])
        self._newer = newer
        self.may_stay = False
        plan = book.plan(saga.name, saga.version)
        self._random = random
        self._saga = saga
        self._fold = Fold(book, plan, "lab:j1", refold_each=False)
        self._inbox = Inbox("lab:j1", saga.name, saga.version)
        self._world = World(random, _habits(random))
        self._judge = Judge(plan, "lab:j1")
        self._limiters = BusyLimiters(random, saga)
        self._grants: list[OutgoingRecord] = []
        self._noise = NOISE_MAX
        self._actions = random.choice((0, 2, OPERATOR_ACTIONS_MAX))
        self._acted = 0
        arrivals, answers, timers = (random.choice((2, 4, 12)) for _ in range(3))
        self._pace = Pace(arrivals, answers, timers, random.choice((1, 4)), calls=random.choice((0, 1, 4, 12)))
        self._callers = Callers(plan, "lab:j1", random)
        self._early_calls = random.choice((0, 2, EARLY_CALLS_MAX))
        self._wrong_calls = random.choice((0, WRONG_CALLS_MAX))
        self._pick = random.choice((self._oldest, self._newest, self._any, self._any))

    def run(self) -> Report:
        while self._early_calls and self._random.random() < 0.4:
            self._early_call()
        if self._saga.cancelled_by is not None and self._random.random() < 0.1:
            self._say(self._callers.halt())
        self._feed(self._inbox.start(Begun(job_id="j1"), id="start", source="/lab"))
        while self._step():
            if len(self._fold.fed) > INPUTS_MAX:
                raise Broken(f"the run does not come to an end within {INPUTS_MAX} inputs")
        self._fold.refold()
        process = self._fold.process
        assert process is not None
        self._judge.end(process, self._world.standing)
        if process.ended and any(request.startswith(f"{process.id}/") for request in self._limiters.held()):
            raise Broken("it has ended, and still holds a permit or waits for one")
        ignored = sum(fed.decision.result == "ignored" for fed in self._fold.fed)
        return Report(process.phase, len(self._fold.fed), ignored, self._acted, process.version)

    @property
    def fed(self) -> list[Fed]:
        return self._fold.fed

    def trace(self) -> str:
        lines = [describe(self._saga.body), f"cancelled: {self._saga.cancelled and describe(self._saga.cancelled)}"]
        for fed in self._fold.fed:
            envelope = fed.item.envelope
            about = (envelope.causation_id or envelope.id).removeprefix("lab:j1/")
            verdict = fed.decision.reason or (fed.after.phase if fed.after else "nothing")
            sent = ", ".join(str(one) for one in fed.sent)
            lines.append(f"{fed.item.offset:4} {envelope.type.split('.')[1]:16} {about:24} {verdict:14} {sent}")
        return "\n".join(lines)

    def _step(self) -> bool:
        """One thing happens. False: nothing can happen any more."""
        process, world, random = self._fold.process, self._world, self._random
        assert process is not None
        happenings: list[Callable[[], None]] = []
        happenings += [self._arrive] * (self._pace.arrivals if world.arriving else 0)
        happenings += [self._answer] * (self._pace.answers if world.answers else 0)
        happenings += [self._land] * (self._pace.landings if world.landing else 0)
        if len(self._grants) > GRANTS_MAX:
            happenings.clear()  # a log does not fall behind for ever
        happenings += [self._grant] * (self._pace.answers if self._grants else 0)
        happenings += [self._timer] * (self._pace.timers if process.timers and len(self._grants) <= GRANTS_MAX else 0)
        happenings += [self._migrate] if self._newer is not None else []
        happenings += [self._call] * (self._pace.calls if self._waiting() else 0)
        happenings += [self._early_call] * (2 if self._early_calls and process.timers else 0)
        if process.stuck and self._actions:
            happenings += [self._operate] * 4
        if not happenings:
            return False
        if self._noise and random.random() < 0.1:
            self._noise -= 1
            noise = (self._repeat, self._premature, self._nonsense, self._start_again, self._call_off)
            random.choice(noise)()
        else:
            random.choice(happenings)()
        return True

    def _feed(self, item: Input) -> Fed:
        fed = self._fold.feed(item)
        for sent in fed.sent:
            if sent.kind != "permit":
                self._world.publish(sent)
        self._grants += self._limiters.answers(fed.sent, self._inbox.now_ms, self._inbox.process_id)
        self._judge.see(fed)
        if fed.after is not None and len(encode_process(fed.after)) > STATE_BYTES_MAX:
            raise Broken(f"the state has more than {STATE_BYTES_MAX} bytes")
        return fed

    def _oldest(self, waiting: Sequence[object]) -> int:
        return 0

    def _newest(self, waiting: Sequence[object]) -> int:
        return len(waiting) - 1

    def _any(self, waiting: Sequence[object]) -> int:
        return self._random.randrange(len(waiting))

    def _arrive(self) -> None:
        self._world.receive(self._pick(self._world.arriving))

    def _land(self) -> None:
        self._world.land(self._pick(self._world.landing))

    def _answer(self) -> None:
        answer = self._world.answers.pop(self._pick(self._world.answers))
        self._inbox.advance(timedelta(milliseconds=self._random.choice((0, 1, 700))))
        self._feed(self._inbox.answer(answer.event, answer.causation))

    def _grant(self) -> None:
        """A limiter's answer comes, sometimes twice."""
        place = self._pick(self._grants)
        record = self._grants[place] if self._random.random() < 0.1 else self._grants.pop(place)
        self._inbox.advance(timedelta(milliseconds=self._random.choice((0, 1, 700, 9_000))))
        self._feed(self._inbox.published(record))

    def _timer(self) -> None:
        assert self._fold.process is not None
        timer_id, due_ms = min(self._fold.process.timers.items(), key=lambda timer: (timer[1], timer[0]))
        self._inbox.now_ms = max(self._inbox.now_ms, due_ms) + self._random.choice((0, 0, 5, 90_000))
        fed = self._feed(self._inbox.timer(timer_id, due_ms))
        if fed.decision.result != "applied":
            raise Broken(f"the due timer {timer_id} was ignored: {fed.decision.reason}")

    def _operate(self) -> None:
        process, random = self._fold.process, self._random
        assert process is not None
        self._actions -= 1
        self._acted += 1
        address = random.choice(list(process.stuck))
        stale = random.random() < 0.1
        chosen = random.choice(("retry", "retry", "skip", "compensate"))
        outcome = {"job_id": "j1", "step": "by-hand"} if chosen == "skip" and random.random() < 0.5 else None
        action = OperatorAction(
            process_id=process.id,
            action=chosen,
            step=None if chosen == "compensate" else address,
            revision=process.revision - stale,
            operator="ann",
            outcome=outcome,
            outcome_type=Done.type if outcome else None,
        )
        fed = self._feed(self._inbox.operator(action))
        if stale and fed.decision.reason != "stale":
            raise Broken("an operator's action on an older revision was not ignored")

    def _migrate(self) -> None:
        """May be refused only if what is new would never run."""
        process, newer = self._fold.process, self._newer
        assert process is not None and newer is not None
        self._newer = None
        fed = self._feed(self._inbox.migration(process, newer.version))
        if fed.decision.result == "applied":
            assert fed.after is not None
            self._judge.follows(self._fold.plan, fed.after)
        elif self.may_stay:
            if fed.decision.reason != "not-migratable":
                raise Broken(f"the request was ignored: {fed.decision.reason}")
        elif process.ended is None and not is_done(process):
            raise Broken(f"it was not moved: {fed.decision.reason}")

    # What people and other services say.

    def _waiting(self) -> list[str]:
        """Paths of the blocks that wait, also of those whose limit has passed."""
        process = self._fold.process
        assert process is not None
        steps = {key: step.status for key, step in process.steps.items()}
        waits = {node.name for node in self._callers.waits}
        stuck = [key for key in process.stuck if key.rpartition(".")[2] in waits]
        return [key for key, status in steps.items() if status == "waiting"] + stuck

    def _call(self) -> None:
        path = self._random.choice(self._waiting())
        process = self._fold.process
        assert process is not None
        if self._wrong_calls and self._random.random() < 0.3:
            self._wrong_calls -= 1
            self._say(self._callers.wrong(path))
        else:
            block = self._callers.block(path)
            asked = isinstance(block, Approval) and block.escalation is not None
            escalated = asked and f"{path}/escalation" not in process.timers and self._random.random() < 0.5
            self._say(self._callers.fitting(path, escalated=escalated))

    def _early_call(self) -> None:
        call = self._callers.early()
        self._early_calls -= 1
        if call is not None:
            self._say(call)

    def _call_off(self) -> None:
        """Somebody calls the process off; mostly nobody does."""
        if self._random.random() < 0.2:
            halts = self._saga.cancelled_by is not None and self._random.random() < 0.5
            self._say(self._callers.halt() if halts else self._callers.cancellation())

    def _say(self, call: Call) -> None:
        self._inbox.advance(timedelta(milliseconds=self._random.choice((0, 1, 700))))
        message = call.message
        if isinstance(message, ApprovalGiven | CancelRequested):
            self._feed(self._inbox.control(message))
        elif isinstance(message, Signal):
            self._feed(self._inbox.signal(message, id=call.id, sender="ann"))
        else:
            self._feed(self._inbox.observed(message, id=call.id, source="/lab"))

    # Noise.

    def _repeat(self) -> None:
        original = self._random.choice(self._fold.fed)
        fed = self._feed(self._inbox.again(original.item))
        kind = original.item.envelope.type
        certain = (
            kind in (Begun.type, Done.type, OperatorAction.type, ChildEnded.type)
            and original.decision.result == "applied"
        )
        if certain and fed.decision.result != "ignored":
            raise Broken(f"a repeated {kind} was {fed.decision.result}")

    def _premature(self) -> None:
        assert self._fold.process is not None
        for timer_id, due_ms in self._fold.process.timers.items():
            if due_ms > self._inbox.now_ms:
                fed = self._feed(self._inbox.timer(timer_id, due_ms))
                if fed.decision.reason != "premature":
                    raise Broken(f"the premature timer {timer_id} was {fed.decision.result}")
                return

    def _nonsense(self) -> None:
        event: Event = Done(job_id="j1", step="nobody")
        causation = self._random.choice(("lab:j1/s1/77", "lab:j1/undo/undo/1", "lab:other/s1/1", "x"))
        fed = self._feed(self._inbox.answer(event, causation))
        if fed.decision.reason != "not-awaited":
            raise Broken(f"the answer to {causation} was {fed.decision.result}: {fed.decision.reason}")

    def _start_again(self) -> None:
        note = self._random.choice(("", "other"))
        fed = self._feed(self._inbox.start(Begun(job_id="j1", note=note), id="start", source="/lab"))
        if fed.decision.reason != ("conflicting-start" if note else "duplicate-start"):
            raise Broken(f"a repeated start was {fed.decision.result}: {fed.decision.reason}")
