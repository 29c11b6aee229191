"""States that older code has stored are read by newer code, and go on (see store_states.py)."""

from __future__ import annotations

import base64
from pathlib import Path

import msgspec
import pytest

from contracts.process import ChildEnded
from orchestrator.engine.book import SagaBook
from orchestrator.engine.decide import decide
from orchestrator.engine.expiry import may_expire
from orchestrator.engine.process import Process, decode_process, encode_process
from orchestrator.testkit.inbox import Inbox
from orchestrator.testkit.lab import Done, Reverted
from tests.engine.store_states import (
    CHILD_PREFIX,
    CHILD_SAGA,
    FLOW_PREFIX,
    FLOW_SAGA,
    FOLDER,
    SAGA,
    child_stories,
    flow_stories,
    stories,
)

BLOBS = sorted(FOLDER.glob("*.b64"))


def load(path: Path) -> Process:
    return decode_process(base64.b64decode(path.read_bytes()))


@pytest.mark.parametrize("path", BLOBS, ids=lambda path: path.stem)
def test_a_stored_state_is_read(path: Path) -> None:
    process = load(path)
    assert process.id == "lab:j1" or process.phase == "limiter"
    assert decode_process(encode_process(process)) == process


def test_there_are_stored_states_of_the_first_version() -> None:
    assert [path.stem for path in BLOBS if path.stem.startswith("v1-")] == sorted(f"v1-{name}" for name in stories())


def test_an_undoing_process_of_the_first_version_comes_to_its_end() -> None:
    process = load(FOLDER / "v1-undoing.b64")
    book, inbox = SagaBook([SAGA]), Inbox("lab:j1", "lab", 1)
    inbox.now_ms = process.updated_at_ms
    answers = [
        inbox.answer(Done(job_id="j1", step="c"), "lab:j1/c/1"),  # it was silent, and its undo is under way
        inbox.answer(Reverted(job_id="j1", step="c"), "lab:j1/c/undo/1"),
        inbox.answer(Reverted(job_id="j1", step="c"), "lab:j1/c/undo/2"),
        inbox.answer(Reverted(job_id="j1", step="b"), "lab:j1/b/undo/1"),
        inbox.answer(Reverted(job_id="j1", step="a"), "lab:j1/a/undo/1"),
    ]
    for item in answers:
        decision = decide(book, process, item)
        assert decision.result == "applied" and decision.process is not None
        process = decision.process
    assert (process.phase, process.timers, process.awaited()) == ("compensated", {}, ())


def test_there_are_stored_states_with_loops_and_alternatives() -> None:
    found = [path.stem for path in BLOBS if path.stem.startswith(f"{FLOW_PREFIX}-flow-")]
    assert found == sorted(f"{FLOW_PREFIX}-{name}" for name in flow_stories())


def test_an_undoing_process_with_loops_and_alternatives_comes_to_its_end() -> None:
    process = load(FOLDER / f"{FLOW_PREFIX}-flow-undoing.b64")
    book, inbox = SagaBook([FLOW_SAGA]), Inbox("lab:j1", "lab", 1)
    inbox.now_ms = process.updated_at_ms
    undos = ("d", "ship[1].g", "ship[1].f", "e", "ship[0].f", "poll[1].c", "poll[0].c", "b")
    for path in undos:
        items = [inbox.answer(Reverted(job_id="j1", step="x"), f"lab:j1/{path}/undo/1")]
        if path in ("e", "ship[0].f"):  # they were still awaited
            items.insert(0, inbox.answer(Done(job_id="j1", step="x"), f"lab:j1/{path}/1"))
        for item in items:
            decision = decide(book, process, item)
            assert decision.result == "applied" and decision.process is not None, path
            process = decision.process
    assert (process.phase, process.timers, process.awaited()) == ("compensated", {}, ())


def test_there_are_stored_states_of_parents_and_children() -> None:
    found = [path.stem for path in BLOBS if path.stem.startswith(f"{CHILD_PREFIX}-child-")]
    assert found == sorted(f"{CHILD_PREFIX}-{name}" for name in child_stories())


def test_an_undoing_child_that_is_a_parent_comes_to_its_end() -> None:
    process = load(FOLDER / f"{CHILD_PREFIX}-child-undoing.b64")
    book, inbox = SagaBook([CHILD_SAGA]), Inbox("lab:j1", "lab", 1)
    inbox.now_ms = process.updated_at_ms
    sure = ChildEnded(process_id="lab:j1", child="lab-sure:j1-sure", phase="completed")
    ship = ChildEnded(process_id="lab:j1", child="lab-child:j1-ship", phase="compensated")
    items = [
        inbox.from_child(sure, "lab:j1/sure/1"),  # past its pivot when it was called off
        inbox.answer(Reverted(job_id="j1", step="sure"), "lab:j1/sure/undo/1"),
        inbox.answer(Reverted(job_id="j1", step="b"), "lab:j1/b/undo/1"),
        inbox.from_child(ship, "lab:j1/ship/undo/1"),
    ]
    for item in items:
        decision = decide(book, process, item)
        assert decision.result == "applied" and decision.process is not None
        process = decision.process
    assert (process.phase, process.timers, process.awaited()) == ("cancelled", {}, ())
    assert process.parent is not None and process.parent.process == "parent:p1" and not may_expire(process)


def test_fields_that_are_not_known_yet_are_skipped_and_missing_ones_have_their_defaults() -> None:
    process = load(FOLDER / "v1-undoing.b64")
    fields = msgspec.msgpack.decode(encode_process(process))
    fields["invented-later"] = [1, {"x": b"y"}]
    fields["steps"]["a"]["invented-later"] = True
    for name in ("past_pivot", "deadline_passed", "ended"):
        fields.pop(name, None)
    assert decode_process(msgspec.msgpack.encode(fields)) == process


@pytest.mark.parametrize("blob", [b"", b"\xc1", b"\x80", b"\x93\x01\x02\x03", b'{"id":"x"}'])
def test_what_is_no_state_is_refused(blob: bytes) -> None:
    with pytest.raises((msgspec.DecodeError, msgspec.ValidationError)):
        decode_process(blob)


def test_what_is_still_awaited_can_be_sent_again_as_it_was() -> None:
    story = stories()["undoing"]
    awaited = set(story.process.awaited())
    assert awaited == {story.undo("b").record, story.undo("c").record}
    story = stories()["forward"]
    assert set(story.process.awaited()) == {story.command("b").record, story.command("c").record}
