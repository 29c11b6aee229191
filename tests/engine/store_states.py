"""Writes the states that test_stored_states.py reads. Run once per change of the stored form, under a new prefix;
what is there stays, since it stands for what is in somebody's Redis."""

from __future__ import annotations

import base64
from datetime import timedelta
from pathlib import Path

from orchestrator.engine.process import encode_process
from orchestrator.language import Retry, choice, fallback, otherwise, parallel, pivot, sequence, when
from orchestrator.testkit import Story
from orchestrator.testkit.lab import Begun, Done, lab_saga, step
from orchestrator.testkit.lab_children import child, child_saga, pivoted_child
from orchestrator.testkit.lab_flow import each, pause, predicate, rounds
from tests.engine.stored_stories import STORED, WAIT_PREFIX
from tests.engine.stored_stories_v4 import NEWER, NEWER_PREFIX

FOLDER = Path(__file__).parent / "stored_states"
PREFIX = "v1"
SAGA = lab_saga(
    sequence(
        step("a"),
        parallel(step("b"), step("c"), step("d", retry=Retry(first=timedelta(minutes=50), maximum=timedelta(hours=1)))),
        pivot(),
    ),
    deadline=timedelta(hours=2),
)


FLOW_PREFIX = "v2"
FLOW_SAGA = lab_saga(
    sequence(
        choice(when(predicate("never"), step("a")), otherwise(step("b"))),
        rounds(2, step("c"), counted="c", name="poll"),
        parallel(
            fallback(step("d"), step("e")),
            each(4, sequence(step("f"), step("g")), name="ship", concurrency=2),
            pause("nap", timedelta(days=1)),
        ),
    )
)
"""With the blocks that decide which blocks run."""


def flow_stories() -> dict[str, Story]:
    return {"flow-forward": _flow_forward(), "flow-undoing": _flow_undoing()}


def _flow_forward() -> Story:
    story = Story(FLOW_SAGA).starts(Begun(job_id="j1")).sends("b").succeeds("b").sends("poll[0].c")
    for number, follows in enumerate((("poll[1].c",), ("d", "ship[0].f", "ship[1].f"))):
        mark = f"lab:j1/poll[{number}].c/1"
        story.succeeds(f"poll[{number}].c", Done(job_id="j1", step="c", mark=mark)).sends(*follows)
    story.succeeds("ship[1].f").sends("ship[1].g").succeeds("ship[1].g").sends("ship[2].f")
    return story.fails("d", effect="unknown").sends("e").undoes("d")


def _flow_undoing() -> Story:
    return _flow_forward().refuses("ship[2].f").undoes("ship[1].g")


CHILD_PREFIX = "v3"
CHILD_SAGA = lab_saga(sequence(child("ship", child_saga()), step("b"), child("sure", pivoted_child(), undo=True)))
"""A child that is a parent."""


def child_stories() -> dict[str, Story]:
    return {"child-forward": _child_forward(), "child-undoing": _child_undoing()}


def _child_forward() -> Story:
    story = Story(CHILD_SAGA).is_started(Begun(job_id="j1")).sends("ship")
    return story.child_ends("ship", result=Done(job_id="j1", step="ship", mark="m")).sends("b")


def _child_undoing() -> Story:
    return _child_forward().succeeds("b").sends("sure").is_called_off().calls_off("sure")


def stories() -> dict[str, Story]:
    """Processes in the middle of things, by name."""
    return {"forward": _forward(), "undoing": _undoing()}


def _forward() -> Story:
    story = Story(SAGA).starts(Begun(job_id="j1")).sends("a").succeeds("a", Done(job_id="j1", step="a", mark="m"))
    return story.sends("b", "c", "d").fails("d", effect="none")


def _undoing() -> Story:
    return _forward().succeeds("b").silent("c").undoes("b", "c")


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    states = {f"{PREFIX}-{name}": story.process for name, story in stories().items()}
    states |= {f"{CHILD_PREFIX}-{name}": story.process for name, story in child_stories().items()}
    states |= {f"{FLOW_PREFIX}-{name}": story.process for name, story in flow_stories().items()}
    states |= {f"{WAIT_PREFIX}-{name}": stored.state() for name, stored in STORED.items()}
    states |= {f"{NEWER_PREFIX}-{name}": stored.state() for name, stored in NEWER.items()}
    for name, process in states.items():
        path = FOLDER / f"{name}.b64"
        if not path.exists():
            path.write_bytes(base64.encodebytes(encode_process(process)))
