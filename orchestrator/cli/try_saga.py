"""`counterpoint try`: a saga step by step in memory, with the real engine; no stack is needed."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from orchestrator.cli.failures import NotFound, Refused, Usage
from orchestrator.cli.options import AsJson, EndpointsFile
from orchestrator.cli.output import notices, print_json, say, screen
from orchestrator.cli.session import Session, session_of
from orchestrator.cli.try_view import print_help, print_last, print_state, rehearsal_json
from orchestrator.engine.book import SagaBook
from orchestrator.engine.plan import PlanError
from orchestrator.language import Saga
from orchestrator.language.signature import SignatureError
from orchestrator.rehearsal.acts import Act, Silence, Start, differences, read_session, write_session
from orchestrator.rehearsal.prompt import SILENCES_MAX, act_of, is_over
from orchestrator.rehearsal.recorded import DIFFERENCES_MAX, is_of, read_recording, replay
from orchestrator.rehearsal.rehearsal import Impossible, Rehearsal

STANDARD_INPUT = Path("-")
PROMPT = "try> "

EXAMPLES = """
Try a saga in memory: see each command, say what is answered, and what would be undone.

\b
Examples:
  counterpoint try order-fulfilment --start order.json
  counterpoint try order-fulfilment --start order.json --answers "success reserve; refusal charge" --record s.jsonl
  counterpoint try order-fulfilment --script s.jsonl
  counterpoint show order-fulfilment:28023 --json > show.json; counterpoint try order-fulfilment --recorded show.json

At the prompt, `help` lists what can be said.
"""


def try_saga(
    context: typer.Context,
    saga: Annotated[str, typer.Argument(metavar="SAGA", help="For example order-fulfilment")],
    start: Annotated[
        Path | None, typer.Option("--start", metavar="FILE|-", allow_dash=True, help="The start event's payload.")
    ] = None,
    answers: Annotated[
        list[str] | None, typer.Option("--answers", metavar="TEXT", help="Said at the prompt; several, joined by ;")
    ] = None,
    record: Annotated[Path | None, typer.Option("--record", metavar="FILE", help="Write the session there.")] = None,
    script: Annotated[
        Path | None, typer.Option("--script", metavar="FILE|-", allow_dash=True, help="Play a recorded session.")
    ] = None,
    recorded: Annotated[
        Path | None,
        typer.Option("--recorded", metavar="FILE|-", allow_dash=True, help="Replay what `show --json` printed."),
    ] = None,
    version: Annotated[int | None, typer.Option(help="Of the saga. Default: the newest.")] = None,
    endpoints: EndpointsFile = None,
    as_json: AsJson = False,
) -> None:
    session = session_of(context, endpoints, as_json)
    tried = _saga(session, saga, version)
    if sum(one is not None for one in (start, script, recorded)) != 1:
        raise Usage("one of --start, --script and --recorded says what is tried")
    if answers and start is None:
        raise Usage("--answers go with --start")
    if recorded is not None:
        _replay(session, tried, _read(recorded))
    elif script is not None:
        _play(session, tried, _read(script), record)
    else:
        assert start is not None
        if start == STANDARD_INPUT and not answers:
            raise Usage("--start - takes the standard input: say what is answered with --answers")
        _try(session, tried, _read(start), answers or [], record)


def _saga(session: Session, name: str, version: int | None) -> Saga:
    """Raises NotFound, or Refused: it cannot be compiled."""
    found = [one for one in session.around.sagas if one.name == name]
    if not found:
        names = ", ".join(sorted({one.name for one in session.around.sagas}))
        raise NotFound(f"there is no saga {name}; there are {names}")
    chosen = max((one for one in found if version in (None, one.version)), key=lambda one: one.version, default=None)
    if chosen is None:
        versions = ", ".join(str(one.version) for one in found)
        raise NotFound(f"there is no version {version} of {name}; there are {versions}")
    try:
        SagaBook([chosen])
    except (PlanError, SignatureError) as error:
        raise Refused(f"{name} version {chosen.version} cannot run: {error}; see `counterpoint verify`") from None
    return chosen


def _try(session: Session, saga: Saga, payload: bytes, answers: list[str], record: Path | None) -> None:
    rehearsal = Rehearsal(saga, session.around.operator)
    try:
        rehearsal.start(payload)
    except Impossible as error:
        raise Refused(str(error)) from None
    quiet = session.as_json
    if not quiet:
        print_last(screen(), rehearsal, session.around.catalog)
    patient = session.around.interactive and not answers
    try:
        for line in _lines(session, answers):
            if line in ("quit", "exit"):
                break
            try:
                _say(session, rehearsal, line)
            except Impossible as error:
                if not patient:
                    raise Refused(f"{line}: {error}") from None
                say(str(error), style="yellow")
    finally:
        _record(rehearsal, record)
    if quiet:
        print_json(rehearsal_json(rehearsal))


def _lines(session: Session, answers: list[str]) -> Iterator[str]:
    """What is said, one act each."""
    if answers:
        for answer in answers:
            yield from split_answers(answer)
        return
    while True:
        if session.around.interactive:
            notices().print(PROMPT, end="", style="bold")
        line = sys.stdin.readline()
        if not line:
            return
        if line.strip():
            yield line.strip()


def split_answers(text: str) -> Iterator[str]:
    """At each `;` or line end that is not within an object or a string of JSON."""
    depth, quoted, escaped, begun = 0, False, False, 0
    for place, sign in enumerate(text):
        if quoted:
            quoted, escaped = escaped or sign != '"', sign == "\\" and not escaped
        elif sign == '"':
            quoted = depth > 0
        elif sign in "{}":
            depth += 1 if sign == "{" else -1
        elif sign in ";\n" and depth <= 0:
            if text[begun:place].strip():
                yield text[begun:place].strip()
            begun = place + 1
    if text[begun:].strip():
        yield text[begun:].strip()


def _say(session: Session, rehearsal: Rehearsal, line: str) -> None:
    """Raises Impossible."""
    catalog = session.around.catalog
    if line in ("help", "?"):
        print_help(notices())
        return
    if line == "state":
        print_state(notices() if session.as_json else screen(), rehearsal, catalog)
        return
    act = act_of(rehearsal, line, lambda name: (session.around.folder / name).read_bytes())
    _do(session, rehearsal, act)
    step = line.partition(" ")[2].strip()
    if isinstance(act, Silence) and step:
        for _ in range(SILENCES_MAX):
            timer = rehearsal.next_timer()
            if is_over(rehearsal, step) or timer is None:
                return
            _do(session, rehearsal, Silence(timer[0]))


def _do(session: Session, rehearsal: Rehearsal, act: Act) -> None:
    rehearsal.play(act)
    if not session.as_json:
        print_last(screen(), rehearsal, session.around.catalog)


def _play(session: Session, saga: Saga, text: bytes, record: Path | None) -> None:
    """A recorded session. Raises Refused: it ends otherwise now."""
    try:
        acts, end = read_session(text)
    except ValueError as error:
        raise Refused(f"this is no recorded session: {error}") from None
    rehearsal = Rehearsal(saga, session.around.operator)
    problems: tuple[str, ...] = ()
    for number, act in enumerate(acts, 1):
        try:
            rehearsal.play(_of_this_version(act, saga))
        except Impossible as error:
            problems = (f"line {number} cannot happen any more: {error}",)
            break
    if not problems and end is not None:
        problems = differences(end, rehearsal.end())
    _record(rehearsal, record)
    if session.as_json:
        print_json(rehearsal_json(rehearsal) | {"differences": list(problems)})
    if problems:
        raise Refused(f"the session ends otherwise with {saga.name} version {saga.version}", problems)
    if not session.as_json:
        told = "as recorded" if end is not None else "the session has no end line, so nothing was compared"
        screen().print(Text(f"{rehearsal.end().phase}: {told} ({len(acts)} acts)", style="green" if end else "yellow"))


def _of_this_version(act: Act, saga: Saga) -> Act:
    """A session is played against whichever version is tried."""
    return Start(act.saga, saga.version, act.data) if isinstance(act, Start) else act


def _replay(session: Session, saga: Saga, text: bytes) -> None:
    """What `show --json` printed. Raises Refused: the definition does something else now."""
    try:
        recording = read_recording(text)
    except ValueError as error:
        raise Refused(str(error)) from None
    if not is_of(recording, saga):
        raise Refused(f"{recording.process_id} is a process of {recording.saga}, not of {saga.name}")
    found = replay(saga, recording)
    if session.as_json:
        print_json([asdict(one) for one in found])
    if found:
        more = f" (the first {DIFFERENCES_MAX})" if len(found) == DIFFERENCES_MAX else ""
        sentence = f"{saga.name} version {saga.version} does something else than {recording.process_id} did{more}:"
        raise Refused(sentence, tuple(str(one) for one in found))
    if not session.as_json:
        inputs = f"{len(recording.history)} inputs"
        screen().print(Text(f"the same: {inputs}, {saga.name} version {saga.version}", style="green"))


def _record(rehearsal: Rehearsal, file: Path | None) -> None:
    if file is None:
        return
    try:
        file.write_bytes(write_session(tuple(rehearsal.acts), rehearsal.end()))
    except OSError as error:
        raise Usage(f"{file} cannot be written: {error.strerror}") from None


def _read(file: Path) -> bytes:
    if file == STANDARD_INPUT:
        return sys.stdin.buffer.read()
    try:
        return file.read_bytes()
    except OSError as error:
        raise Usage(f"{file} cannot be read: {error.strerror}") from None
