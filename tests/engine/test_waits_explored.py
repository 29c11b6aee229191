"""Waits, signals, approvals, holds and cancellations in random order: every invariant holds, and every run ends."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from random import Random

import pytest

from contracts.message import Event, Identifier
from contracts.process import ApprovalGiven, CancelRequested, OperatorAction
from orchestrator.engine.book import SagaBook
from orchestrator.engine.inputs import Input
from orchestrator.engine.process import Process
from orchestrator.language import Retry, Saga, command, fallback, parallel, pivot, sequence
from orchestrator.testkit.answers import answer_like
from orchestrator.testkit.fold import Fold
from orchestrator.testkit.inbox import Inbox
from orchestrator.testkit.lab import Refused, lab_saga, step, told_ending
from orchestrator.testkit.reading import Sent
from tests.engine.test_approval import act_on, review
from tests.engine.test_waits import BEGUN, GOODS, Released, arrival, book_in, release

SEEDS, INPUTS_MAX = 300, 400


class Off(Event, type="lab.off.v1"):
    job_id: Identifier


BODIES = (
    sequence(step("a"), parallel(arrival(), release()), command(book_in, irreversible=True)),
    sequence(
        fallback(sequence(step("a"), arrival()), sequence(step("b", on_failure="hold"), review())), step("c"), pivot()
    ),
    sequence(step("a"), pivot(), parallel(arrival(), review((timedelta(hours=1), "boss"))), command(act_on)),
    parallel(
        sequence(arrival("w1"), step("a")), sequence(release(), arrival("w2")), step("b", retry=Retry(attempts=1))
    ),
)


class Run:
    def __init__(self, random: Random, saga: Saga) -> None:
        self.random = random
        book = SagaBook([saga])
        self.fold = Fold(book, book.plan(saga.name, saga.version), "lab:j1", refold_each=False)
        self.inbox = Inbox("lab:j1", saga.name, saga.version)
        self.asked: list[Sent] = []
        self.came: list[Input] = []

    def feed(self, item: Input) -> None:
        fed = self.fold.feed(item)
        self.came.append(item)
        self.asked.extend(sent for sent in fed.sent if sent.kind in ("command", "undo") and not sent.again)

    def happens(self) -> None:
        number = self.random.randrange(4)
        self.feed(self.inbox.observed(GOODS, id=f"g{number}", source="/dock"))

    def is_signalled(self) -> None:
        self.feed(self.inbox.signal(Released(by="x"), id=f"s{self.random.randrange(3)}", sender="ann"))

    def starts(self) -> None:
        self.feed(self.inbox.start(BEGUN, id="start", source="/lab"))

    def is_reviewed(self) -> None:
        decision = self.random.choice(("approve", "approve", "reject"))
        form = self.random.choice(({"score": 1}, None))
        given = {"process_id": "lab:j1", "step": "review", "decision": decision, "form": form, "by": "ann"}
        self.feed(self.inbox.control(ApprovalGiven.model_validate(given)))

    def is_called_off(self) -> None:
        if self.random.random() < 0.2:
            self.feed(self.inbox.control(CancelRequested(process_id="lab:j1", operator="ann")))
        elif self.random.random() < 0.2:
            self.feed(self.inbox.observed(Off(job_id="j1"), id="off", source="/shop"))

    def repeats(self) -> None:
        if self.came:
            self.feed(self.inbox.again(self.random.choice(self.came)))

    def answers(self) -> None:
        if self.asked:
            sent = self.asked.pop(self.random.randrange(len(self.asked)))
            made = sent.model.succeeds[0]  # type: ignore[attr-defined]  # a command
            if sent.kind == "command" and self.random.random() < 0.25:
                made = Refused
            self.feed(self.inbox.answer(answer_like(sent.message, made), sent.id))

    def time_passes(self) -> None:
        process = self.fold.process
        if process is not None and process.timers:
            timer_id, due_ms = min(process.timers.items(), key=lambda timer: (timer[1], timer[0]))
            self.inbox.now_ms = max(self.inbox.now_ms, due_ms)
            self.feed(self.inbox.timer(timer_id, due_ms))

    def is_repaired(self) -> None:
        process = self.fold.process
        if process is not None and process.stuck:
            address = self.random.choice(list(process.stuck))
            action = self.random.choice(("retry", "skip", "compensate"))
            correction = {"job_id": "j1", "step": "x"} if action == "retry" and self.random.random() < 0.5 else None
            message = OperatorAction(
                process_id="lab:j1",
                action=action,
                step=None if action == "compensate" else address,
                revision=process.revision,
                operator="ann",
                outcome={"job_id": "j1", "step": "x", "score": 1} if action == "skip" else None,
                correction=correction,
            )
            self.feed(self.inbox.operator(message))

    def everything(self) -> tuple[Callable[[], None], ...]:
        return (
            *(self.happens, self.is_signalled, self.starts, self.is_reviewed, self.is_called_off, self.repeats),
            *(self.answers, self.answers, self.time_passes, self.is_repaired),
        )

    def over(self) -> Process | None:
        process = self.fold.process
        return process if process is not None and process.ended is not None and not process.stuck else None


@pytest.mark.parametrize("body", BODIES, ids=range(len(BODIES)))
def test_every_run_ends_with_nothing_left(body: object) -> None:
    saga = replace(
        lab_saga(body, cancelled=told_ending()),  # type: ignore[arg-type]  # a block
        cancelled_by=(Off, lambda off: off.job_id),
        deadline=timedelta(days=30),
    )
    ends = set()
    for seed in range(SEEDS):
        run = Run(Random(seed), saga)
        for _ in range(run.random.randrange(4)):
            run.random.choice((run.happens, run.is_signalled, run.is_called_off, run.time_passes))()
        run.starts()
        while run.over() is None:
            assert len(run.came) < INPUTS_MAX, f"seed {seed} does not end"
            run.random.choice(run.everything())()
        process = run.over()
        assert process is not None and (process.early, process.timers, process.stuck) == ((), {}, {}), f"seed {seed}"
        assert not any(state.status == "waiting" for state in process.steps.values()), f"seed {seed}"
        ends.add(process.phase)
        if seed % 10 == 0:
            run.fold.refold()
    assert len(ends) >= 2, ends
