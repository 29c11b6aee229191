"""Processes that start others, at the command line: tried, told, repaired."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

import pytest

from contracts.catalog import standard_catalog
from orchestrator.cli.failures import Refused
from orchestrator.cli.processes import summary_json
from orchestrator.cli.repair_plan import Wish, advise, plan_action
from orchestrator.cli.story import tell
from orchestrator.engine.history import decode_entry, entry_json
from orchestrator.language import pivot, sequence
from orchestrator.rehearsal.recorded import Recording, replay
from orchestrator.testkit import Story
from orchestrator.testkit.lab import Begun, Done, lab_saga, step
from orchestrator.testkit.lab_children import ChildBegun, child, child_saga, pivoted_child

CHILD, SURE = child_saga(), pivoted_child()
PARENT = lab_saga(sequence(step("a"), child("ship", CHILD), step("bill", needs="ship")))
PAST_PIVOT = lab_saga(sequence(step("a"), pivot(), child("ship", CHILD), step("bill", needs="ship")))
BEGUN = Begun(job_id="j1")


def tried(counterpoint: Any, tmp_path: Path, answers: str, *more: str, saga: Any = PARENT) -> Any:
    start = tmp_path / "start.json"
    start.write_bytes(BEGUN.to_json())
    program = counterpoint.changed(sagas=(saga, CHILD, SURE))
    return program("try", "lab", "--start", str(start), "--answers", answers, *more)


def test_a_child_is_answered_for_and_what_it_returns_is_made(counterpoint: Any, tmp_path: Path) -> None:
    result = tried(counterpoint, tmp_path, "success a; child ship completed; success bill", "--json")
    assert result.exit_code == 0, result.stderr
    told = json.loads(result.stdout)
    assert told["process"]["phase"] == "completed" and told["process"]["children"] == {"ship": "lab-child:j1-ship"}
    assert [effect["type"] for effect in told["history"][-1]["effects"]][:1] == ["orchestrator.release-child.v1"]


def test_what_waits_for_a_child_and_what_would_be_undone_is_shown(counterpoint: Any, tmp_path: Path) -> None:
    result = tried(counterpoint, tmp_path, "success a", "--json")
    told = json.loads(result.stdout)
    assert told["children"] == {"ship/1": "lab-child:j1-ship"}
    assert told["would_undo"]["unsettled"] == ["ship"]
    assert [one["id"] for one in told["would_undo"]["undos"]] == ["lab:j1/a/undo/1"]
    result = tried(counterpoint, tmp_path, "success a; child completed", "--json")
    undos = [one["id"] for one in json.loads(result.stdout)["would_undo"]["undos"]]
    assert undos == ["lab:j1/ship/undo/1", "lab:j1/a/undo/1"]
    shown = tried(counterpoint, tmp_path, "success a").stdout
    assert "waiting for ship, the process lab-child:j1-ship" in shown


def test_a_child_fails_or_is_undone_at_the_prompt(counterpoint: Any, tmp_path: Path) -> None:
    result = tried(counterpoint, tmp_path, "success a; child compensated; success a/undo", "--json")
    assert json.loads(result.stdout)["process"]["phase"] == "compensated"
    answers = 'success a; child ship completed {"mark": "m"}; refusal bill; child ship/undo compensated; success a/undo'
    result = tried(counterpoint, tmp_path, answers, "--json")
    assert json.loads(result.stdout)["process"]["phase"] == "compensated"
    result = tried(counterpoint, tmp_path, "success a; cancel; child cancelled; success a/undo", "--json")
    assert json.loads(result.stdout)["process"]["phase"] == "cancelled"


@pytest.mark.parametrize(
    ("answers", "said"),
    [
        ("child ship completed", "Children that are awaited: none"),
        ("success a; child", "Children that are awaited: ship/1"),
        ("success a; child ship dances", "completed|compensated|cancelled|not-started"),
        ('success a; child ship cancelled {"x": 1}', "returns nothing"),
    ],
)
def test_what_makes_no_sense_is_refused(counterpoint: Any, tmp_path: Path, answers: str, said: str) -> None:
    result = tried(counterpoint, tmp_path, answers)
    assert result.exit_code == 1 and said in result.stderr


def test_a_session_with_a_child_is_recorded_and_played(counterpoint: Any, tmp_path: Path) -> None:
    session = tmp_path / "session.jsonl"
    tried(counterpoint, tmp_path, "success a; child ship completed; success bill", "--record", str(session))
    assert '"do":"child"' in session.read_text()
    played = counterpoint.changed(sagas=(PARENT, CHILD))("try", "lab", "--script", str(session))
    assert played.exit_code == 0, played.stderr


# Told.


def parents_story() -> Story:
    story = Story(PARENT).starts(BEGUN).sends("a").succeeds("a").sends("ship")
    return story.child_ends("ship", result=Done(job_id="j1", step="x")).sends("bill").refuses("bill").undoes("ship")


def childs_story() -> Story:
    story = Story(CHILD).is_started(ChildBegun(child_id="j1", job_id="j1")).sends("c1").succeeds("c1")
    story.answers_parent("completed")
    story.is_undone().undoes("c1").undone("c1").answers_parent("compensated")
    return story.is_released()


def history_of(story: Story) -> list[Any]:
    return [decode_entry(fed.decision.history or b"") for fed in story.fed]


def test_the_story_of_a_parent() -> None:
    story = parents_story()
    told = tell(story.process, history_of(story), standard_catalog())
    assert told.chapters[2].title == "ship: lab-child:j1-ship is completed"
    assert [one.what for one in told.waiting] == ["undo of ship, by the process lab-child:j1-ship"]
    story.child_undone("ship").undoes("a")
    told = tell(story.process, history_of(story), standard_catalog())
    assert told.chapters[-1].title == "undo of ship: lab-child:j1-ship is undone"


def test_the_story_of_a_child() -> None:
    story = childs_story()
    titles = [one.title for one in tell(story.process, history_of(story), standard_catalog()).chapters]
    assert titles[0] == "parent:p1 starts it, at child"
    assert titles[2] == "parent:p1 wants it undone"
    assert titles[-1] == "parent:p1 has ended, and lets it go"
    kin = summary_json(story.process)["parent"]
    assert kin == {"process_id": "parent:p1", "step": "child", "released": True}


@pytest.mark.parametrize(("story", "saga"), [(parents_story, PARENT), (childs_story, CHILD)])
def test_a_recorded_history_is_the_same_under_the_same_definition(story: Any, saga: Any) -> None:
    told = story()
    entries = [entry_json(entry) for entry in history_of(told)]
    recording = Recording.model_validate(summary_json(told.process) | {"history": entries})
    assert replay(saga, recording) == ()


# Repaired.


def test_only_what_can_help_is_advised_for_a_failed_child() -> None:
    story = Story(PAST_PIVOT).starts(BEGUN).sends("a").succeeds("a").sends("ship")
    process = story.child_ends("ship", "compensated", at="c1", reason="refused").is_stuck("ship").process
    plan = story.book.plan("lab", 1)
    assert advise(process, plan) == (f"counterpoint skip {shlex.quote('lab:j1')} --outcome FILE",)
    with pytest.raises(Refused, match="lab-child:j1-ship, which can be started only once"):
        plan_action(process, plan, Wish("retry", "ship", "ann", None, None))
    with pytest.raises(Refused, match="has no payload that could be corrected"):
        plan_action(process, plan, Wish("retry", "ship", "ann", None, None, {"child_id": "c2"}))


def test_a_result_that_cannot_be_made_is_given_by_a_person() -> None:
    story = Story(child_saga(raises=LookupError("x"))).is_started(ChildBegun(child_id="j1", job_id="j1"))
    process = story.sends("c1").succeeds("c1").is_stuck("returns").process
    advice = advise(process, story.book.plan("lab-child", 1))
    assert "counterpoint skip lab-child:j1 --outcome FILE" in advice
    with pytest.raises(Refused, match="needs the outcome of returns"):
        plan_action(process, story.book.plan("lab-child", 1), Wish("skip", "returns", "ann", None, None))
