"""Random sagas, moved to another version at a random moment: nothing is done twice, lost, or done otherwise."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from random import Random

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.envelope import Envelope
from contracts.process import MigrationRequested, OperatorAction
from contracts.record import OutgoingRecord
from contracts.topics import LIFECYCLE
from orchestrator.engine.book import SagaBook
from orchestrator.engine.decide import decide
from orchestrator.engine.decision import Decision
from orchestrator.engine.inputs import Input
from orchestrator.engine.plan import PlanError
from orchestrator.engine.process import Process, decode_process, encode_process
from orchestrator.language import Migration, Saga, sequence
from orchestrator.language.blocks import Block, Parallel, Pivot, Sequence
from orchestrator.language.flow import Choice, Fallback, ForEach, Repeat
from orchestrator.testkit.explore import explore, explored, is_done
from orchestrator.testkit.fold import Fed
from orchestrator.testkit.grammar import random_saga
from orchestrator.testkit.lab import Told, step, told

SEEDS = st.integers(min_value=0, max_value=2**32)
EXAMPLES = settings(derandomize=True, max_examples=200, deadline=None, database=None)
EXTRA = "appended"


def whole(random: Random) -> Saga:
    """A random saga whose body is a sequence, so that something can follow."""
    saga = random_saga(random)
    return saga if isinstance(saga.body, Sequence) else replace(saga, body=sequence(saga.body))


def newer(saga: Saga, *more: Block) -> Saga:
    assert isinstance(saga.body, Sequence)
    return replace(saga, version=2, body=sequence(*saga.body.children, *more), migrates=(Migration(from_version=1),))


def sent(decision: Decision) -> list[OutgoingRecord]:
    """All but the announcements of phases: they name the version."""
    return [record for record in decision.effects if record.topic != LIFECYCLE]


def request(process: Process, after: Input) -> Input:
    asked = MigrationRequested(
        process_id=process.id, from_version=1, to_version=2, revision=process.revision, operator="ann"
    )
    envelope = Envelope(id="move", source="/test", type=asked.type)
    return Input(after.offset, process.updated_at_ms, process.id, envelope, asked.to_json())


def seen_later(item: Input) -> Input:
    """An operator's action as a person would say it who sees one revision more."""
    if item.envelope.type != OperatorAction.type:
        return item
    action = OperatorAction.model_validate_json(item.data)
    return msgspec.structs.replace(item, data=action.model_copy(update={"revision": action.revision + 1}).to_json())


def moved(run: tuple[Fed, ...], other: Saga, at: int) -> tuple[bool, list[list[OutgoingRecord]]]:
    """The same inputs with a migration after `at` of them: whether it was applied, and what each input sends."""
    book = SagaBook([run[0].book.plans()[0].saga, other])
    process: Process | None = None
    found, applied = [], False
    for number, fed in enumerate(run):
        if number == at:
            assert process is not None
            decision = decide(book, process, request(process, run[number - 1].item))
            assert decision == decide(book, process, request(process, run[number - 1].item))
            assert decision.process is not None and not decision.effects
            process, applied = decode_process(encode_process(decision.process)), decision.result == "applied"
            assert process == decision.process
            over = process.ended or process.phase == "early" or is_done(process)
            assert applied or over, decision.history
        decision = decide(book, process, seen_later(fed.item) if applied else fed.item)
        process = decision.process
        found.append(sent(decision))
    return applied, found


@EXAMPLES
@given(SEEDS)
def test_a_process_moved_to_the_same_definition_does_what_it_would_have_done(seed: int) -> None:
    random = Random(seed)
    run = explored(random, whole(random))
    saga = run[0].book.plans()[0].saga
    _, found = moved(run, newer(saga), random.randrange(1, len(run) + 1))
    assert found == [sent(fed.decision) for fed in run]


@EXAMPLES
@given(SEEDS)
def test_what_is_appended_follows_and_changes_nothing_else(seed: int) -> None:
    random = Random(seed)
    run = explored(random, whole(random))
    saga = run[0].book.plans()[0].saga
    applied, found = moved(run, newer(saga, told(EXTRA)), random.randrange(1, len(run) + 1))
    extra = [record for records in found for record in records if record.value == told_extra()]
    assert [[one for one in records if one not in extra] for records in found] == [sent(fed.decision) for fed in run]
    last = run[-1].after
    assert last is not None
    finished = "body" in last.nodes and last.nodes["body"].status == "done"
    assert len(extra) == (applied and finished)


def told_extra() -> bytes:
    return Told(job_id="j1", name=EXTRA).to_json()


@EXAMPLES
@given(SEEDS)
def test_a_moved_process_keeps_every_promise_of_the_engine(seed: int) -> None:
    random = Random(seed)
    saga = whole(random)
    explore(random, saga, newer(saga, step(EXTRA)))


@settings(derandomize=True, max_examples=600, deadline=None, database=None)
@given(SEEDS)
def test_a_changed_version_takes_over_only_what_it_can_keep_the_promises_for(seed: int) -> None:
    """A step is added, removed or wrapped somewhere. Where the process has passed that, it stays; else all that the
    newer version says is done, once: a step that was added in the past would be missed by the judge."""
    edited_run(seed)


def edited_run(seed: int) -> tuple[str, int] | None:
    """What was done to the saga, and in which version the process has ended; None: nothing can be done to it so."""
    random = Random(seed)
    saga = whole(random)
    places = [block for block in saga.blocks() if isinstance(block, Sequence | Parallel)]
    place = random.randrange(len(places))
    kind = random.choice(("add", "add", "remove", "wrap"))
    children = list(places[place].children)
    at = random.randrange(len(children) + (kind == "add")) if children or kind == "add" else None
    if at is None or (kind != "add" and isinstance(children[at], Pivot)):
        return None
    changed = {"add": [step("added")], "remove": [], "wrap": [sequence(children[at])] if kind == "wrap" else []}[kind]
    children[at : at + (kind != "add")] = changed
    body = rebuilt(saga.body, places[place], replace(places[place], children=tuple(children)))
    other = replace(saga, version=2, body=body, migrates=(Migration(from_version=1),))
    try:
        SagaBook([other])
    except PlanError:
        return None  # something later demands what was removed
    return kind, explore(random, saga, other, may_stay=True).version


def rebuilt(block: Block, old: Block, new: Block) -> Block:
    """`block` with `new` in the place of `old`."""
    if block is old:
        return new
    if isinstance(block, Sequence | Parallel | Fallback):
        return replace(block, children=tuple(rebuilt(child, old, new) for child in block.children))
    if isinstance(block, ForEach | Repeat):
        return replace(block, body=rebuilt(block.body, old, new))
    if isinstance(block, Choice):
        branches = tuple(replace(branch, block=rebuilt(branch.block, old, new)) for branch in block.branches)
        return replace(block, branches=branches)
    return block


def test_edits_of_every_kind_are_taken_over_and_refused() -> None:
    found = Counter(edited_run(seed) for seed in range(300))
    for kind in ("add", "remove", "wrap"):
        assert found[kind, 1] >= 3 and found[kind, 2] >= 3, found


def test_most_are_moved() -> None:
    applied = 0
    for seed in range(100):
        random = Random(seed)
        run = explored(random, whole(random))
        saga = run[0].book.plans()[0].saga
        applied += moved(run, newer(saga), max(1, len(run) // 2))[0]
    assert applied > 60
