"""What must hold after every input, whatever the saga and whatever its participants do. Each rule names itself.

A rule has the signature `(plan, item, before, decision, sent) -> None` and raises Broken; `RULES` is the whole list.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from orchestrator.engine.blocks.undo import OPEN
from orchestrator.engine.decision import Decision
from orchestrator.engine.history import decode_entry
from orchestrator.engine.inputs import Input
from orchestrator.engine.plan import Plan
from orchestrator.engine.process import Process, decode_process, encode_process
from orchestrator.engine.turn import DEADLINE_TIMER
from orchestrator.testkit.reading import Sent


class Broken(AssertionError):
    """An invariant of the engine does not hold."""


Rule = Callable[[Plan, Input, Process | None, Decision, tuple[Sent, ...]], None]


def check(plan: Plan, item: Input, before: Process | None, decision: Decision, sent: tuple[Sent, ...]) -> None:
    """All rules. Raises Broken."""
    for rule in RULES:
        rule(plan, item, before, decision, sent)


def round_trip(plan: Plan, item: Input, before: Process | None, decision: Decision, sent: tuple[Sent, ...]) -> None:
    """Storing and loading a process is the identity."""
    if decision.process is None:
        return
    blob = encode_process(decision.process)
    loaded = decode_process(blob)
    if loaded != decision.process or encode_process(loaded) != blob:
        raise Broken("a stored process is loaded as another one")


def accounted(plan: Plan, item: Input, before: Process | None, decision: Decision, sent: tuple[Sent, ...]) -> None:
    """Every input is applied or ignored with a reason, and is in the history; what is ignored changes nothing else."""
    if (decision.result == "ignored") != (decision.reason is not None):
        raise Broken(f"{decision.result} with reason {decision.reason}")
    after = decision.process
    if after is None:
        if before is not None:
            raise Broken("a process has vanished")
        return
    assert decision.history is not None
    entry = decode_entry(decision.history)
    if (entry.offset, entry.result, entry.reason) != (item.offset, decision.result, decision.reason):
        raise Broken("the history says something else than the decision")
    if (entry.phase, entry.revision) != (after.phase, after.revision):
        raise Broken("the history has another phase or revision than the process")
    if [effect.id for effect in entry.effects] != [one.id for one in sent]:
        raise Broken("the history does not have the effects")
    if after.history_length != (before.history_length if before else 0) + 1:
        raise Broken("the history's length is wrong")
    if decision.result == "applied":
        if after.revision != (before.revision if before else 0) + 1:
            raise Broken("an applied input makes one revision")
    elif sent or before is None or msgspec.structs.replace(after, history_length=before.history_length) != before:
        raise Broken("an ignored input has changed something")


def timers(plan: Plan, item: Input, before: Process | None, decision: Decision, sent: tuple[Sent, ...]) -> None:
    """A timer for everything that is waited for, and no other: nothing sleeps for ever, nothing fires into the void."""
    after = decision.process
    if after is None:
        return
    wanted = set()
    for name, step in after.steps.items():
        if step.status == "awaiting":
            wanted.add(f"{name}/silence")
        elif step.status == "backoff":
            wanted.add(f"{name}/retry")
        for job in step.undos:
            if job.status == "awaited":
                wanted.add(f"{name}/undo/{job.numbers[-1]}/silence")
            elif job.status == "backoff":
                wanted.add(f"{name}/undo/{job.numbers[-1]}/retry")
    found = set(after.timers) - {DEADLINE_TIMER}
    if found != wanted:
        raise Broken(f"timers {sorted(found)} are set, but {sorted(wanted)} are wanted")
    if DEADLINE_TIMER in after.timers and (after.ended or after.cause):
        raise Broken("the deadline is still set")


def ends(plan: Plan, item: Input, before: Process | None, decision: Decision, sent: tuple[Sent, ...]) -> None:
    """A process ends once, with nothing stuck, awaited or owed; what is neither ended nor stuck waits for something."""
    after = decision.process
    if after is None:
        return
    debts = [name for name, step in after.steps.items() if any(job.status in OPEN for job in step.undos)]
    awaiting = [name for name, step in after.steps.items() if step.status in ("awaiting", "backoff")]
    just_ended = after.ended is not None and (before is None or before.ended is None)
    if just_ended and (debts or awaiting or after.stuck or after.timers):
        raise Broken(f"it ends with open undos {debts}, awaited steps {awaiting}, stuck {list(after.stuck)}")
    if before is not None and before.ended is not None and after.ended != before.ended:
        raise Broken(f"it ended as {before.ended}, and then as {after.ended}")
    if (after.phase == "stuck") != bool(after.stuck):
        raise Broken(f"phase {after.phase}, but stuck at {list(after.stuck)}")
    if after.ended is None and not after.stuck and not awaiting and not debts:
        raise Broken("it waits for nothing, and does not end")
    for name, step in after.steps.items():
        if any(job.status == "stuck" for job in step.undos) != (f"{name}/undo" in after.stuck):
            raise Broken(f"the undo of {name} is stuck in one place and not in another")


def nothing_new_while_undoing(
    plan: Plan, item: Input, before: Process | None, decision: Decision, sent: tuple[Sent, ...]
) -> None:
    """Once everything is to be undone, the body starts nothing and publishes nothing any more."""
    after = decision.process
    if after is None or after.cause is None:
        return
    for one in sent:
        if one.kind in ("command", "emit") and not one.again and plan.in_body(plan.by_key[one.step]):
            raise Broken(f"{one} is sent after the process began to undo")


def undo_waits(plan: Plan, item: Input, before: Process | None, decision: Decision, sent: tuple[Sent, ...]) -> None:
    """Nothing is undone before its step has settled, and no try that a finished or open undo covers already, unless a
    late success asks for it."""
    after = decision.process
    if after is None:
        return
    for one in sent:
        if one.kind != "undo":
            continue
        step = after.steps[one.step]
        if step.status in ("awaiting", "backoff"):
            raise Broken(f"{one} is sent before the step has settled")
        if not one.envelope.undoes:
            raise Broken(f"{one} covers nothing")


def past_the_pivot(plan: Plan, item: Input, before: Process | None, decision: Decision, sent: tuple[Sent, ...]) -> None:
    """After the pivot a process only goes forward."""
    after = decision.process
    if after is None or not after.past_pivot:
        return
    if after.cause is not None or after.ended in ("compensated", "cancelled"):
        raise Broken("it is undone past the pivot")


RULES: tuple[Rule, ...] = (
    round_trip,
    accounted,
    timers,
    ends,
    nothing_new_while_undoing,
    undo_waits,
    past_the_pivot,
)
