"""Random sagas, tried at random: a session played again ends the same, and so does its history."""

from __future__ import annotations

from collections import Counter
from random import Random

import msgspec
import pytest

from orchestrator.engine.fingerprint import fingerprint
from orchestrator.engine.history import entry_json
from orchestrator.rehearsal.acts import differences, read_session, write_session
from orchestrator.rehearsal.prompt import act_of
from orchestrator.rehearsal.recorded import read_recording, replay
from orchestrator.rehearsal.rehearsal import Impossible, Rehearsal
from orchestrator.rehearsal.sample import sample
from orchestrator.rehearsal.undoing import would_undo
from orchestrator.testkit.grammar import random_saga
from orchestrator.testkit.limited import with_limits

SEEDS = 150
PARTS = 3
ACTS_MAX = 40
VERBS = ("success", "success", "success", "success", "late", "refusal", "failure", "silence", "retry", "skip", "cancel")


def lines(random: Random, rehearsal: Rehearsal) -> str:
    """Something that a person might say."""
    verb = random.choice((*VERBS, "compensate"))
    if verb in ("success", "late", "refusal", "failure"):
        known = [one.address for one in rehearsal.awaited()] or list(rehearsal.asked) or ["nothing"]
        more = random.choice(("none", "unknown", "none final")) if verb == "failure" else ""
        return f"{verb} {random.choice(known)} {more}".strip()
    if verb in ("retry", "skip"):
        stuck = [] if rehearsal.process is None else list(rehearsal.process.stuck)
        return f"{verb} {random.choice(stuck)}" if stuck else verb
    return verb


def tried(seed: int, limits: bool = False) -> Rehearsal:
    random = Random(seed)
    saga = random_saga(random)
    rehearsal = Rehearsal(with_limits(random, saga) if limits else saga)
    rehearsal.start(msgspec.json.encode(sample(rehearsal.saga.starts_on, (), rehearsal.now)))
    for _ in range(ACTS_MAX):
        would_undo(rehearsal)
        try:
            rehearsal.play(act_of(rehearsal, lines(random, rehearsal), lambda name: b""))
        except Impossible:
            continue
    return rehearsal


@pytest.mark.parametrize("limits", [False, True])
@pytest.mark.parametrize("part", range(PARTS))
def test_a_session_and_its_history_are_the_same_again(part: int, limits: bool) -> None:
    for seed in range(part, SEEDS, PARTS):
        first = tried(seed, limits)
        assert first.process is not None
        acts, end = read_session(write_session(tuple(first.acts), first.end()))
        again = Rehearsal(first.saga)
        for act in acts:
            again.play(act)
        assert end is not None and differences(end, again.end()) == (), seed
        shown = {
            "process_id": first.id,
            "saga": first.saga.name,
            "version": first.saga.version,
            "phase": first.process.phase,
            "history": [entry_json(entry) for entry in first.history],
        }
        found = replay(first.saga, read_recording(msgspec.json.encode(shown)))
        assert [str(one) for one in found] == [], seed


def test_rehearsals_go_everywhere() -> None:
    phases = Counter(tried(seed).end().phase for seed in range(SEEDS))
    assert all(phases[phase] >= 3 for phase in ("completed", "compensated", "stuck", "cancelled")), phases


def test_random_sagas_have_fingerprints_of_their_own() -> None:
    found = [fingerprint(random_saga(Random(seed))) for seed in range(SEEDS)]
    assert found == [fingerprint(random_saga(Random(seed))) for seed in range(SEEDS)]
    assert len(set(found)) > SEEDS * 0.8
