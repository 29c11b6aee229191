"""`explored`: the real engine, answered in every way, comes to an end that is one.

A child is a black box: it completes, ends otherwise, or completes although it was called off.

Every command may succeed, be refused, fail without effect or with an unknown one, stay silent, and succeed late; every
undo may fail or stay silent; the deadline may pass. All ways with at most DEVIATIONS_MAX answers other than the first
success are tried, the fewest first, until DECISIONS_MAX decisions have been made (a number, not a time: findings are
the same on every machine). What is awaited at once succeeds in the order in which it was sent, and fails in any.

A way must end completed, compensated or cancelled, with nothing perhaps done that is not undone, or stuck for one of
the engine's own reasons. That an author's function has a bug that payloads which the contracts allow bring to light (a
TypeError, say) is none of them; one that says `raise ValueError` may do so.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

from contracts.ids import command_id, process_id
from contracts.message import Event
from orchestrator.engine.book import SagaBook
from orchestrator.engine.decide import decide
from orchestrator.engine.decision import Decision
from orchestrator.engine.history import decode_entry
from orchestrator.engine.plan import Node, Plan, PlanError
from orchestrator.engine.process import PERHAPS, Process, StepState
from orchestrator.language.blocks import ON_STUCK, CommandStep, Named, Subsaga
from orchestrator.language.location import Location
from orchestrator.language.saga import Saga
from orchestrator.language.signature import SignatureError
from orchestrator.verify.finding import Finding
from orchestrator.verify.moves import Move, moves, start_as_child, start_input
from orchestrator.verify.samples import NoSample, sample
from orchestrator.verify.variants import variants

RULE = "explored"
DEVIATIONS_MAX = 3
DECISIONS_MAX = 8_000
"""Of one saga, all variants together: about a second. The order saga needs some 7,000."""
FINDINGS_MAX = 5
BUGS = ("AttributeError", "IndexError", "NameError", "TypeError", "UnboundLocalError", "ZeroDivisionError")
FAULTS = (*(f" raised {bug}" for bug in BUGS), " returned ", ", not an id", "parameter ", " cannot be sent")
"""How the engine says that a function of the saga's author has a bug."""


@dataclass(frozen=True, slots=True)
class Way:
    """A state, and how it was reached."""

    process: Process
    deviations: int
    before: Way | None = None
    move: str = ""

    def told(self) -> str:
        words: list[str] = []
        way: Way | None = self
        while way is not None and way.before is not None:
            words.append(way.move)
            way = way.before
        return ", ".join(reversed(words))


@dataclass(frozen=True, slots=True)
class Problem:
    what: str
    fix: str
    step: str | None
    path: str


@dataclass(slots=True)
class Report:
    """`decisions`: how many were made. `complete`: every way within DEVIATIONS_MAX was seen."""

    problems: list[Problem]
    decisions: int = 0
    complete: bool = True


def check_exploration(saga: Saga, *, as_child: bool = False) -> Iterator[Finding]:
    """Findings of a saga that breaks no other rule. `as_child`: another saga starts it."""
    report = explore(saga, as_child=as_child)
    places = {block.name: block.location for block in saga.blocks() if isinstance(block, Named)}
    for problem in report.problems:
        location: Location = places.get(problem.step or "", saga.location)
        path = problem.path or "the start"
        yield Finding(location.file, location.line, saga.name, RULE, problem.what, problem.fix, path)


def explore(saga: Saga, decisions_max: int = DECISIONS_MAX, *, as_child: bool = False) -> Report:
    """Tries all variants in turn, each with its share of the decisions. A saga that returns something is explored as a
    child in any case: its parent may call it off, and have it undone once it has completed."""
    as_child = as_child or saga.returns is not None
    report = Report([])
    try:
        start = sample(saga.starts_on)
        identity = process_id(saga.name, saga.key(start))
        tried = list(variants(saga, saga.key(start)))
        books = [(SagaBook([variant.saga]), variant.said) for variant in tried]
    except (PlanError, SignatureError):
        return report  # other rules say so, with file and line
    except NoSample as error:
        report.problems.append(Problem(str(error), "give the contract an example", None, ""))
        return report
    except Exception as error:  # noqa: BLE001 - a key or items function of the author's: whatever it raises is the finding
        what = f"the key function raises {type(error).__name__} for a start event that the contract allows: {error}"
        report.problems.append(Problem(what, "let it take every such event, or narrow the contract", None, ""))
        return report
    for number, (book, said) in enumerate(books):
        share = (decisions_max - report.decisions) // (len(books) - number)
        _Explorer(book, book.plan(saga.name, saga.version), identity, said, report, as_child).run(start, share)
    return report


class _Explorer:
    def __init__(self, book: SagaBook, plan: Plan, identity: str, said: str, report: Report, as_child: bool) -> None:
        self._book = book
        self._plan = plan
        self._identity = identity
        self._said = said
        self._report = report
        self._as_child = as_child
        self._seen: set[object] = set()
        self._levels: list[deque[Way]] = [deque() for _ in range(DEVIATIONS_MAX + 1)]

    def run(self, start: Event, decisions_max: int) -> None:
        limit = self._report.decisions + decisions_max
        begin = start_as_child if self._as_child else start_input
        self._try(None, Move("it starts", 0, begin(self._plan, self._identity, start)))
        for level in self._levels:
            while level:
                if self._report.decisions >= limit or len(self._report.problems) >= FINDINGS_MAX:
                    self._report.complete = False
                    return
                self._leave(level.popleft())

    def _arrive(self, way: Way) -> None:
        key = _essence(way.process)
        if key not in self._seen:
            self._seen.add(key)
            self._levels[way.deviations].append(way)

    def _leave(self, way: Way) -> None:
        try:
            may_deviate = way.deviations < DEVIATIONS_MAX
            found = [move for move in moves(self._plan, way.process) if may_deviate or not move.deviates]
        except NoSample as error:
            self._problem(way, str(error), "give the contract an example", None)
            return
        if all(move.deviates for move in found):
            self._judge_end(way)
        for move in found:
            self._try(way, move)

    def _try(self, way: Way | None, move: Move) -> None:
        self._report.decisions += 1
        try:
            decision = decide(self._book, None if way is None else way.process, move.item)
        except Exception as error:  # noqa: BLE001 - no input may make the engine raise: that it does is the finding
            what = f"the engine raises {type(error).__name__} ({error})"
            at = None if way is None else Way(way.process, way.deviations, way, move.text)
            self._problem(at, what, "report it as a bug of the engine, with this saga", None)
            return
        self._judge_alerts(way, move, decision)
        if decision.process is not None and decision.result != "ignored":
            deviations = move.deviates + (0 if way is None else way.deviations)
            self._arrive(Way(decision.process, deviations, way, move.text))

    def _judge_alerts(self, way: Way | None, move: Move, decision: Decision) -> None:
        """A bug in `on_stuck` disturbs nothing, so that nobody would see it."""
        if "on-stuck-failed" not in decision.alerts or decision.history is None or way is None:
            return
        for note in decode_entry(decision.history).notes:
            if "cannot alert anybody" in note and any(fault in note for fault in FAULTS):
                fix = "let the function take every such payload, or narrow the contract"
                at = Way(way.process, way.deviations, way, move.text)
                self._problem(at, f"for payloads that the contracts allow, {note}", fix, note.split(" ")[0])

    # Ends.

    def _judge_end(self, way: Way) -> None:
        """Nothing more happens by itself."""
        process = way.process
        for address, reason in process.stuck.items():
            if any(fault in reason for fault in FAULTS):
                what = f"it is stuck at {address} for payloads that the contracts allow: {reason}"
                fix = "let the function take every such payload, or narrow the contract"
                self._problem(way, what, fix, address.removesuffix("/undo"))
        if process.stuck:
            return
        if process.ended is None:
            what = f"nothing can happen any more, but the process is {process.phase}: neither at an end nor stuck"
            self._problem(way, what, "report it as a bug of the engine, with this saga", None)
            return
        for key, step in process.steps.items():
            node = self._plan.find(key)
            if node is not None and isinstance(node.block, CommandStep | Subsaga):
                self._judge_step(way, node, step)

    def _judge_step(self, way: Way, node: Node, step: StepState) -> None:
        block = node.block
        assert isinstance(block, CommandStep | Subsaga)
        has_undo = block.undo is not None or (isinstance(block, Subsaga) and not block.irreversible)
        undone = {identity for job in step.undos if job.status in ("done", "skipped") for identity in job.covers}
        given_up = self._plan.in_body(node) and way.process.ended != "completed"
        for attempt in step.tries:
            if command_id(self._identity, node.key, attempt.number) in undone:
                continue
            perhaps = attempt.state in PERHAPS
            done = attempt.state == "succeeded" and given_up and has_undo
            if perhaps or done:
                state = "perhaps done" if perhaps else "done"
                what = f"it is {way.process.ended}, but {node.key}, try {attempt.number}, is {state} and not undone"
                self._problem(way, what, "report it as a bug of the engine, with this saga", node.name)

    def _problem(self, way: Way | None, what: str, fix: str, step: str | None) -> None:
        name = None if step is None else step.rpartition(".")[2]
        if all((known.what, known.step) != (what, name) for known in self._report.problems):
            path = ", ".join(part for part in (self._said, "" if way is None else way.told()) if part)
            self._report.problems.append(Problem(what, fix, name, path))


def _essence(process: Process) -> object:
    """Equal for states from which the same can happen: all but times, bytes and counts."""
    steps = tuple(
        (
            key,
            step.status,
            step.undoing,
            step.undone,
            tuple(attempt.state for attempt in step.tries),
            tuple((job.status, job.covers, len(job.numbers), len(job.again)) for job in step.undos),
            step.outcome and step.outcome.type,
        )
        for key, step in sorted(process.steps.items())
    )
    alerts = process.nodes.get(ON_STUCK)
    alerting = alerts and (alerts.status, alerts.count)
    nodes = tuple(sorted((key, repr(node)) for key, node in process.nodes.items() if key != ON_STUCK))
    cause = process.cause and (process.cause.reason, process.cause.step)
    stuck, timers = tuple(sorted(process.stuck.items())), tuple(sorted(process.timers))
    undo = process.parent and process.parent.undo
    permits = tuple(sorted((address, one.state, one.stage) for address, one in process.permits.items()))
    ended = (process.ended, process.past_pivot, process.deadline_passed)
    return steps, nodes, alerting, stuck, timers, permits, cause, undo, ended
