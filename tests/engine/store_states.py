"""Writes the states that test_stored_states.py reads. Run once per change of the stored form, under a new prefix;
what is there stays, since it stands for what is in somebody's Redis."""

from __future__ import annotations

import base64
from datetime import timedelta
from pathlib import Path

from orchestrator.engine.process import encode_process
from orchestrator.language import Retry, parallel, pivot, sequence
from orchestrator.testkit import Story
from orchestrator.testkit.lab import Begun, Done, lab_saga, step

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
    for name, story in stories().items():
        path = FOLDER / f"{PREFIX}-{name}.b64"
        if not path.exists():
            path.write_bytes(base64.encodebytes(encode_process(story.process)))
