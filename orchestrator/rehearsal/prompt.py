"""What a person types while trying a saga, made into acts.

success charge                     a payload is made from the contract
success charge {"payment_id":"p"}  the given fields, the others made
approve sign_off as clerk          ignored if a clerk may not decide there
"""

from __future__ import annotations

import shlex
from collections.abc import Callable
from typing import Any, Literal

import msgspec
from pydantic import BaseModel

from contracts.message import Event as EventContract
from contracts.technical import CommandFailed
from orchestrator.engine.operator import UNDO_SUFFIX, given_outcome, successes
from orchestrator.engine.plan import result_of
from orchestrator.language.blocks import Subsaga
from orchestrator.language.waiting import Approval as ApprovalBlock
from orchestrator.language.waiting import Signal as SignalContract
from orchestrator.language.waiting import WaitFor
from orchestrator.rehearsal.acts import Act, Answer, Approval, Cancel, Child, Event, Operator, Signal, Silence
from orchestrator.rehearsal.rehearsal import Asked, Impossible, Rehearsal, check_payload
from orchestrator.rehearsal.sample import NoSample, sample

Load = Callable[[str], bytes]
"""Reads a file that was named; raises OSError."""
SILENCES_MAX = 10_000
Phase = Literal["completed", "compensated", "cancelled", "not-started"]
PHASES: dict[str, Phase] = {
    "completed": "completed",
    "compensated": "compensated",
    "cancelled": "cancelled",
    "not-started": "not-started",
}
"""How a child may have ended."""
WORDS = (
    ("success [STEP] [TYPE] [JSON|FILE]", "the command is answered by a success"),
    ("late [STEP] [TYPE] [JSON|FILE]", "a success that nobody waits for any more"),
    ("refusal [STEP] [TYPE] [JSON|FILE]", "the business answer is no"),
    ("failure [STEP] none|unknown [final]", "a technical failure; final: it is not worth another try"),
    (
        "child [STEP] PHASE [JSON|FILE]",
        "the process that STEP started is completed, compensated, cancelled, not-started",
    ),
    ("silence [STEP]", "nobody answers: time passes to the next timer, or until STEP is given up"),
    ("event TYPE [JSON|FILE]", "an event that the saga waits for, or that calls it off"),
    ("signal NAME [JSON|FILE]", "a signal to the process"),
    ("approve|reject [STEP] [as ROLE] [JSON|FILE]", "what a person decides; without a role: whoever may do anything"),
    ("retry [STEP] [JSON|FILE]", "an operator tries it again, with a corrected payload if one is given"),
    ("skip [STEP] [JSON|FILE]", "an operator goes on without it, with an outcome if one is given"),
    ("compensate, cancel", "an operator has everything undone: of a stuck process, of any"),
    ("state", "where the process stands"),
    ("quit", "leave"),
)
"""STEP: as in `charge`, `charge/2` (its second try), `charge/undo`, `ship[3].dispatch`. Not needed if one waits."""


def act_of(rehearsal: Rehearsal, line: str, load: Load) -> Act:
    """Raises Impossible: it cannot be understood, or makes no sense as things are."""
    words, payload = _split(line)
    verb, rest = words[0], words[1:]
    if verb in ("success", "late", "refusal"):
        return _answer(rehearsal, verb, rest, payload, load)
    if verb == "child":
        return _child(rehearsal, rest, payload, load)
    if verb == "failure":
        return _failure(rehearsal, rest)
    if verb == "silence":
        return _silence(rehearsal, rest)
    if verb in ("event", "signal"):
        return _message(rehearsal, verb, rest, payload, load)
    if verb in ("approve", "reject"):
        return _approval(rehearsal, "approve" if verb == "approve" else "reject", rest, payload, load)
    if verb == "cancel" and not rest:
        return Cancel()
    if verb in ("retry", "skip", "compensate"):
        return _operator(rehearsal, verb, rest, payload, load)
    raise Impossible(f"what is {verb!r}? `help` lists what can be said")


def is_over(rehearsal: Rehearsal, step: str) -> bool:
    """Nobody waits for an answer of the step (`<step>/undo`: its undo) any more."""
    return not any(asked.address == step or asked.address.rpartition("/")[0] == step for asked in rehearsal.awaited())


def _split(line: str) -> tuple[list[str], dict[str, Any] | None]:
    """Words before the first brace, and the JSON object from there on."""
    head, brace, tail = line.partition("{")
    try:
        words = shlex.split(head)
        payload = msgspec.json.decode(brace + tail, type=dict[str, Any]) if brace else None
    except (ValueError, msgspec.DecodeError) as error:
        raise Impossible(f"this cannot be read: {error}") from error
    if not words:
        raise Impossible("nothing was said; `help` lists what can be said")
    return words, payload


def _given(words: list[str], payload: dict[str, Any] | None, load: Load) -> dict[str, Any] | None:
    """The payload of the line, or of the file that its last word names."""
    if payload is not None or not words:
        return payload
    if len(words) > 1:
        raise Impossible(f"too many words: {' '.join(words)}")
    try:
        return msgspec.json.decode(load(words[0]), type=dict[str, Any])
    except OSError as error:
        raise Impossible(f"{words[0]} is neither known here nor a file that can be read: {error.strerror}") from None
    except msgspec.DecodeError as error:
        raise Impossible(f"{words[0]}: {error}") from None


def _answer(rehearsal: Rehearsal, verb: str, words: list[str], payload: dict[str, Any] | None, load: Load) -> Answer:
    asked = _asked(rehearsal, words, late=verb == "late")
    allowed = asked.model.refuses if verb == "refusal" else asked.model.succeeds
    if not allowed:
        raise Impossible(f"{asked.address} ({asked.model.type}) cannot be refused")
    model = next((event for event in allowed if words and event.type == words[0]), None)
    if model is not None:
        words.pop(0)
    model = model or allowed[0]
    data = _made(model, rehearsal, asked, _given(words, payload, load))
    return Answer(asked.address, model.type, data)


def _failure(rehearsal: Rehearsal, words: list[str]) -> Answer:
    asked = _asked(rehearsal, words, late=None)
    effect = words.pop(0) if words and words[0] in ("none", "unknown") else "none"
    final = bool(words) and words[0] == "final"
    if words[1 if final else 0 :]:
        raise Impossible("write: failure [STEP] none|unknown [final]")
    failed = CommandFailed(
        command_type=asked.model.type,
        code="tried-out",
        message="as told at the prompt",
        effect="unknown" if effect == "unknown" else "none",
        retryable=not final,
    )
    return Answer(asked.address, failed.type, failed.model_dump(mode="json"))


def _child(rehearsal: Rehearsal, words: list[str], payload: dict[str, Any] | None, load: Load) -> Child:
    """What the line leaves out of a result is made from its contract."""
    awaited = rehearsal.awaited_children()
    named = [one for one in rehearsal.children if words and words[0] in (one, one.rpartition("/")[0])]
    if named:
        words.pop(0)
    elif len(awaited) == 1 and words and words[0] in PHASES:
        named = [awaited[0]]
    if not named or not words or words[0] not in PHASES:
        asked = ", ".join(awaited) or "none"
        raise Impossible(f"write: child [STEP] {'|'.join(PHASES)}. Children that are awaited: {asked}")
    address, phase = named[-1], PHASES[words.pop(0)]
    node = rehearsal.plan.find(address.split("/")[0])
    assert node is not None and isinstance(node.block, Subsaga)
    returns, given = result_of(node.block.child), _given(words, payload, load)
    if returns is None or phase != "completed" or "/undo/" in address:
        return Child(address, phase, "refused" if phase == "compensated" else None, given)
    return Child(address, phase, None, _made(returns, rehearsal, None, given))


def _asked(rehearsal: Rehearsal, words: list[str], *, late: bool | None) -> Asked:
    """The command that the first word names, which is taken off; or the only one that waits. `late`: one that does not
    wait any more (None: no matter)."""
    awaited = rehearsal.awaited()
    known = [one for one in rehearsal.asked.values() if late is not True or one not in awaited]
    named = [one for one in known if words and words[0] in (one.address, one.address.rpartition("/")[0])]
    if named:
        words.pop(0)
        found = max(named, key=lambda one: (one in awaited, one.number))
        if late is False and found not in awaited:
            raise Impossible(f"{found.address} is not awaited any more; say `late {found.address}` if you mean that")
        return found
    choice = known if late else list(awaited)
    if len(choice) == 1 and not (words and words[0] in rehearsal.plan.by_key):
        return choice[0]
    names = ", ".join(one.address for one in choice) or "none"
    raise Impossible(f"which command? {'Not awaited any more' if late else 'Awaited'}: {names}")


def _silence(rehearsal: Rehearsal, words: list[str]) -> Silence:
    timer = rehearsal.next_timer()
    if timer is None:
        raise Impossible("no timer is set: time may pass for ever")
    if words and is_over(rehearsal, words[0]):
        raise Impossible(f"{words[0]} is not awaited")
    return Silence(timer[0])


def _message(
    rehearsal: Rehearsal, verb: str, words: list[str], payload: dict[str, Any] | None, load: Load
) -> Event | Signal:
    waits = [node.block.wants for node in rehearsal.plan.nodes if isinstance(node.block, WaitFor)]
    if rehearsal.saga.cancelled_by is not None:
        waits.append(rehearsal.saga.cancelled_by[0])
    names = {_name(wants): wants for wants in waits if issubclass(wants, SignalContract) == (verb == "signal")}
    if not words or words[0] not in names:
        raise Impossible(f"which {verb}? The saga waits for: {', '.join(names) or 'none'}")
    wants = names[words.pop(0)]
    data = _made(wants, rehearsal, None, _given(words, payload, load))
    return Signal(wants.signal, data) if issubclass(wants, SignalContract) else Event(wants.type, data)


def _name(wants: type[EventContract] | type[SignalContract]) -> str:
    return wants.signal if issubclass(wants, SignalContract) else wants.type


def _approval(
    rehearsal: Rehearsal,
    verb: Literal["approve", "reject"],
    words: list[str],
    payload: dict[str, Any] | None,
    load: Load,
) -> Approval:
    steps = {} if rehearsal.process is None else rehearsal.process.steps
    nodes = {key: rehearsal.plan.find(key) for key in steps}
    waiting = {key: node.block for key, node in nodes.items() if node and isinstance(node.block, ApprovalBlock)}
    name = words.pop(0) if words and words[0] in waiting else next(iter(waiting), None) if len(waiting) == 1 else None
    if name is None:
        raise Impossible(f"which approval? Begun: {', '.join(waiting) or 'none'}")
    role = _role(words)
    form, given = waiting[name].form, _given(words, payload, load)
    if form is not None and (verb == "approve" or given is not None):
        given = _made(form, rehearsal, None, given)
    return Approval(name, verb, given, role)


def _role(words: list[str]) -> str | None:
    """Taken off where it is said."""
    if not words or words[0] != "as":
        return None
    if len(words) == 1:
        raise Impossible("as whom? Write: as ROLE")
    words.pop(0)
    return words.pop(0)


def _operator(
    rehearsal: Rehearsal, verb: str, words: list[str], payload: dict[str, Any] | None, load: Load
) -> Operator:
    stuck = () if rehearsal.process is None else tuple(rehearsal.process.stuck)
    fields: dict[str, Any] = {"action": verb}
    if verb in ("retry", "skip"):
        names = {name: address for address in stuck for name in (address, address.removesuffix(UNDO_SUFFIX))}
        address = names[words.pop(0)] if words and words[0] in names else stuck[0] if len(stuck) == 1 else None
        if address is None:
            raise Impossible(f"where? Stuck: {', '.join(stuck) or 'nothing'}")
        fields["step"] = address
        given = _given(words, payload, load)
        if given is not None and verb == "retry":
            fields["correction"] = given
        elif given is not None:
            fields["outcome"] = _outcome(rehearsal, address, given)
    elif words:
        raise Impossible(f"{verb} concerns the whole process, not {' '.join(words)}")
    return Operator(fields)


def _outcome(rehearsal: Rehearsal, address: str, given: dict[str, Any]) -> dict[str, Any]:
    node = rehearsal.plan.find(address)
    allowed = () if node is None else successes(node)
    if given_outcome(allowed, None, given) is None:
        for model in allowed:
            check_payload(model, given)
        raise Impossible(f"{address} has no outcome that could be given")
    return given


def _made(
    model: type[BaseModel], rehearsal: Rehearsal, asked: Asked | None, given: dict[str, Any] | None
) -> dict[str, Any]:
    try:
        return sample(model, rehearsal.known(asked), rehearsal.now, given)
    except NoSample as error:
        raise Impossible(f"no {getattr(model, 'type', '') or model.__name__} could be made: {error}") from error
