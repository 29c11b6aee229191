"""What must hold after every input, whatever the saga and whatever its participants do. Each rule names itself.

A rule has the signature `(plan, item, before, decision, sent) -> None` and raises Broken; `RULES` is the whole list.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from orchestrator.engine.arrivals import EARLY_MAX
from orchestrator.engine.blocks.undo import OPEN
from orchestrator.engine.decision import Decision
from orchestrator.engine.early import EARLY_TIMER
from orchestrator.engine.history import decode_entry
from orchestrator.engine.inputs import Input
from orchestrator.engine.permits import SAGA_ADDRESS
from orchestrator.engine.plan import LOOPS, Plan
from orchestrator.engine.process import Permit, Process, decode_process, encode_process
from orchestrator.engine.turn import DEADLINE_TIMER
from orchestrator.language.blocks import CommandStep, Subsaga
from orchestrator.language.flow import Fallback, Repeat, Sleep
from orchestrator.testkit.reading import Sent

UNDER_WAY = ("awaiting", "backoff", "limited", "waiting")
"""Statuses of a step that begins or goes on by itself."""


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
    """Every input is applied, kept, or ignored with a reason, and is in the history; what is ignored changes nothing
    else, and what is kept nothing that anybody sees."""
    if (decision.result == "ignored") != (decision.reason is not None):
        raise Broken(f"{decision.result} with reason {decision.reason}")
    after = decision.process
    if decision.forget or (before is not None and before.phase == "expired"):
        if decision.history is not None or any(not says_never(one) for one in sent):
            raise Broken("what is forgotten answers parents that it is not started, and has no history")
        return
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
    elif decision.result == "buffered":
        if sent or after.revision != (before.revision if before else 0) or len(after.early) > EARLY_MAX:
            raise Broken("an input that was kept has changed something")
    elif sent or before is None or msgspec.structs.replace(after, history_length=before.history_length) != before:
        raise Broken("an ignored input has changed something")


def says_never(sent: Sent) -> bool:
    """It is what a tombstone says to whoever waits for an answer."""
    return (sent.kind, sent.step) == ("ended", "not-started")


def timers(plan: Plan, item: Input, before: Process | None, decision: Decision, sent: tuple[Sent, ...]) -> None:
    """A timer for everything that is waited for, and no other: nothing sleeps for ever, nothing fires into the void."""
    after = decision.process
    if after is None:
        return
    wanted = {EARLY_TIMER} if after.phase == "early" and after.early else set()
    for name, step in after.steps.items():
        is_child, has_undo = _child_of(plan, name)
        if step.status == "awaiting" and not is_child:
            wanted.add(f"{name}/silence")
        elif step.status == "backoff":
            wanted.add(f"{name}/retry")
        elif step.status == "limited":
            wanted.add(f"{name}/permit")
        elif step.status == "waiting":
            wanted.add(f"{name}/limit")
        for job in step.undos:
            if job.status == "awaited" and (has_undo or not is_child):
                wanted.add(f"{name}/undo/{job.numbers[-1]}/silence")
            elif job.status == "backoff":
                wanted.add(f"{name}/undo/{job.numbers[-1]}/retry")
    for key, state in after.nodes.items():
        node = plan.find(key)
        if node is not None and isinstance(node.block, Sleep) and state.status == "running" and key not in after.stuck:
            wanted.add(f"{key}/wake")
    if SAGA_ADDRESS in after.permits:
        lapsed = after.permits[SAGA_ADDRESS].state == "held" and f"{SAGA_ADDRESS}/permit" not in after.timers
        wanted |= set() if lapsed else {f"{SAGA_ADDRESS}/permit"}
    escalations = {f"{name}/escalation" for name, step in after.steps.items() if step.status == "waiting"}
    found = set(after.timers) - {DEADLINE_TIMER} - escalations
    if found != wanted:
        raise Broken(f"timers {sorted(found)} are set, but {sorted(wanted)} are wanted")
    if DEADLINE_TIMER in after.timers and (after.ended or after.cause):
        raise Broken("the deadline is still set")


def _child_of(plan: Plan, path: str) -> tuple[bool, bool]:
    """Whether the step is a child, which is waited for without a timer; and whether a command undoes it."""
    node = plan.find(path)
    block = None if node is None else node.block
    return isinstance(block, Subsaga), isinstance(block, Subsaga | CommandStep) and block.undo is not None


def ends(plan: Plan, item: Input, before: Process | None, decision: Decision, sent: tuple[Sent, ...]) -> None:
    """A process ends once, with nothing stuck, awaited or owed; what is neither ended nor stuck waits for something."""
    after = decision.process
    if after is None or after.phase in ("early", "expired"):
        return
    debts = [name for name, step in after.steps.items() if any(job.status in OPEN for job in step.undos)]
    awaiting = [name for name, step in after.steps.items() if step.status in UNDER_WAY]
    just_ended = after.ended is not None and (before is None or before.ended != after.ended)
    if just_ended and (debts or awaiting or after.stuck or after.timers):
        raise Broken(f"it ends with open undos {debts}, awaited steps {awaiting}, stuck {list(after.stuck)}")
    wanted_undone = after.parent is not None and after.parent.undo is not None
    may_change = wanted_undone and before is not None and before.ended == "completed" and after.ended != "cancelled"
    if before is not None and before.ended is not None and after.ended != before.ended and not may_change:
        raise Broken(f"it ended as {before.ended}, and then as {after.ended}")
    if (after.phase == "stuck") != bool(after.stuck):
        raise Broken(f"phase {after.phase}, but stuck at {list(after.stuck)}")
    if after.ended is None and not after.stuck and not awaiting and not debts and not after.timers:
        raise Broken("it waits for nothing, and does not end")
    for name, step in after.steps.items():
        if any(job.status == "stuck" for job in step.undos) != (f"{name}/undo" in after.stuck):
            raise Broken(f"the undo of {name} is stuck in one place and not in another")


def _in_body(plan: Plan, path: str) -> bool:
    node = plan.find(path)
    assert node is not None, f"{path} is no place of the saga"
    return plan.in_body(node)


def nothing_new_while_undoing(
    plan: Plan, item: Input, before: Process | None, decision: Decision, sent: tuple[Sent, ...]
) -> None:
    """Once everything is to be undone, the body starts nothing and publishes nothing any more. (A loop that fails in
    the turn in which it begins has published what it had to before.)"""
    after = decision.process
    if after is None or after.cause is None:
        return
    if (before is None or before.cause is None) and after.cause.step is not None:
        node = plan.find(after.cause.step)
        if node is not None and isinstance(node.block, Repeat):
            return
    for one in sent:
        if one.kind in ("command", "emit") and not one.again and _in_body(plan, one.step):
            raise Broken(f"{one} is sent after the process began to undo")


def given_up_at_once(
    plan: Plan, item: Input, before: Process | None, decision: Decision, sent: tuple[Sent, ...]
) -> None:
    """What is inside something that is being undone, or an alternative that was given up, knows it: it begins nothing
    new, and neither sleeps nor waits for another try."""
    after = decision.process
    if after is None:
        return
    for name, step in after.steps.items():
        idle = ("backoff", "limited", "waiting")
        unaware = step.status in idle or (step.status == "awaiting" and not step.undoing)
        if unaware and not _goes_forward(plan, name, after):
            raise Broken(f"{name} is {step.status}, but what is around it was given up")
    for timer_id in after.timers:
        if timer_id.endswith("/wake") and not _goes_forward(plan, timer_id.removesuffix("/wake"), after):
            raise Broken(f"{timer_id} is set, but what is around it was given up")


def _goes_forward(plan: Plan, path: str, after: Process) -> bool:
    node = plan.find(path)
    assert node is not None, f"{path} is no place of the saga"
    number, scope = node.number, node.scope
    while (parent := plan.nodes[number].parent) is not None:
        around = plan.nodes[parent]
        if isinstance(around.block, LOOPS):
            scope = scope[:-1].rpartition(".")[0]
            scope = f"{scope}." if scope else ""
        state = after.nodes[scope + around.key]
        abandoned = isinstance(around.block, Fallback) and state.count != plan.nodes[number].position
        if state.status != "running" or abandoned:
            return False
        number = parent
    return True


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
        if step.status in ("awaiting", "backoff", "limited"):
            raise Broken(f"{one} is sent before the step has settled")
        if not one.envelope.undoes and not _child_of(plan, one.step)[0]:
            raise Broken(f"{one} covers nothing")


def past_the_pivot(plan: Plan, item: Input, before: Process | None, decision: Decision, sent: tuple[Sent, ...]) -> None:
    """After the pivot a process only goes forward."""
    after = decision.process
    if after is None or not after.past_pivot:
        return
    if after.cause is not None or after.ended in ("compensated", "cancelled"):
        raise Broken("it is undone past the pivot")


def children(plan: Plan, item: Input, before: Process | None, decision: Decision, sent: tuple[Sent, ...]) -> None:
    """A child is let go when its parent is over, and not before; a child says once that it has ended, and only then."""
    after = decision.process
    if after is None:
        return
    released = sorted(one.step for one in sent if one.kind == "release")
    is_over = after.over and (before is None or not before.over)
    own = sorted(
        n for n, step in after.steps.items() if step.child and step.tries[-1].state in ("succeeded", "refused")
    )
    if released != (own if is_over else []):
        raise Broken(f"children {released} are let go; over: {is_over}, with children {own}")
    running = [name for name, step in after.steps.items() if step.child and step.tries[-1].state == "awaited"]
    if after.ended is not None and running:
        raise Broken(f"it has ended, and {running} still run")
    for name, step in after.steps.items():
        if step.child and step.status == "succeeded" and step.tries[-1].state != "succeeded":
            raise Broken(f"{name} has succeeded, and its child has not")
    answers = [one.step for one in sent if one.kind == "ended" and one.step != "not-started"]
    ended_now = after.ended is not None and (before is None or before.ended != after.ended)
    asked = after.parent is not None and (before is None or before.parent is None or before.parent != after.parent)
    if after.parent is not None and ended_now and after.start.type == plan.saga.starts_on.type:
        if answers != [after.ended]:
            raise Broken(f"it has ended as {after.ended}, and says {answers}")
    elif answers and not asked:
        raise Broken(f"it says {answers}, and has not ended")


def permits(plan: Plan, item: Input, before: Process | None, decision: Decision, sent: tuple[Sent, ...]) -> None:
    """Permits are asked for by what waits for one, and held by what is under way, and by nothing else; a limited step
    sends nothing without one."""
    after = decision.process
    if after is None:
        return
    for address, permit in after.permits.items():
        step = after.steps.get(address)
        status = None if step is None else step.status
        if address != SAGA_ADDRESS and status != ("awaiting" if permit.state == "held" else "limited"):
            raise Broken(f"{address} is {status}, and its permit is {permit.state}")
        if permit.state == "held" and not permit.held:
            raise Broken(f"{address} holds nothing")
    if after.ended is not None and after.permits:
        raise Broken(f"it has ended with permits of {list(after.permits)}")
    if before is not None and before.permits.get(SAGA_ADDRESS, HELD).state != "held" and after.permits:
        waits = after.permits.get(SAGA_ADDRESS, HELD).state != "held"
        if waits and any(one.kind in ("command", "emit") and _in_body(plan, one.step) for one in sent):
            raise Broken("the process has begun without its permit")
    for one in sent:
        node = plan.find(one.step) if one.kind == "command" and not one.again else None
        if node is not None and isinstance(node.block, CommandStep) and node.block.limits:
            waited = before is not None and one.step in before.permits
            if not waited:
                raise Broken(f"{one} is sent without a permit")


HELD = Permit(request="", limiter="", state="held")
RULES: tuple[Rule, ...] = (
    round_trip,
    accounted,
    timers,
    ends,
    nothing_new_while_undoing,
    given_up_at_once,
    undo_waits,
    past_the_pivot,
    children,
    permits,
)
