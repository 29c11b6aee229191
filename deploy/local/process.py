"""Processes by identity: pid, start time and boot, so that a recycled pid is never taken for ours and never signalled.

Linux only: it reads /proc and uses pidfds, which name a process and not a number.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from deploy.local.errors import StackError

PROC = Path("/proc")
LOG_LIMIT_BYTES = 20_000_000
TAIL_LINES = 15
SECOND_LOOK_SECONDS = 0.05

# Children of this interpreter, kept so that a dead one can be reaped; a stack that another process started is not here.
_children: dict[int, subprocess.Popen[bytes]] = {}


@dataclass(frozen=True, slots=True)
class Identity:
    """Names one process for ever: `started_ticks` is its start in clock ticks since the boot named by `boot`."""

    pid: int
    started_ticks: int
    boot: str


def boot_id() -> str:
    """Return the id of the machine's present boot."""
    return (PROC / "sys/kernel/random/boot_id").read_text().strip()


def identify(pid: int) -> Identity | None:
    """Return the identity of the living process `pid`; None if there is none or it is a zombie."""
    try:
        text = (PROC / str(pid) / "stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The second field is the program's name in parentheses and may hold anything: fields are counted after the
    # last one.
    fields = text.rpartition(")")[2].split()
    return None if fields[0] in "ZX" else Identity(pid, int(fields[19]), boot_id())


def alive(identity: Identity) -> bool:
    """Say whether exactly this process still runs."""
    _reap(identity.pid)
    return identify(identity.pid) == identity


def find_by_command(command: Sequence[str]) -> Identity | None:
    """Return a living process with exactly this command line: one that a person started again by hand, or None."""
    found = _with_command(command)
    if found is None:
        # While it is being executed, a new process has no command line (seen for milliseconds): so a miss is not final.
        time.sleep(SECOND_LOOK_SECONDS)
        found = _with_command(command)
    return found


def _with_command(command: Sequence[str]) -> Identity | None:
    wanted = b"\0".join(part.encode() for part in command) + b"\0"
    for entry in PROC.iterdir():
        if not entry.name.isdigit():
            continue
        try:
            if (entry / "cmdline").read_bytes() == wanted:
                return identify(int(entry.name))
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            continue
    return None


def spawn(command: Sequence[str], log: Path) -> Identity:
    """Start `command` in a session of its own (a Ctrl-C at the terminal does not reach it), appending its output to
    `log`.

    Raises `StackError` if it cannot be started at all.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    _rotate(log)
    with log.open("ab") as output:
        try:
            child = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
            )
        except OSError as error:
            raise StackError(f"{command[0]} cannot be started: {error.strerror}.") from error
    _children[child.pid] = child
    identity = identify(child.pid)
    # A process that ended at once still has its pid until it is reaped; no start time can match this one.
    return identity or Identity(child.pid, -1, boot_id())


def stop(identity: Identity, patience_seconds: float) -> bool:
    """Ask the process to end (SIGTERM); after `patience_seconds` end it (SIGKILL). Return False if it had to be
    killed.
    """
    with _handle(identity) as handle:
        if handle is None:
            return True
        signal.pidfd_send_signal(handle, signal.SIGTERM)
        if _wait(handle, patience_seconds):
            _reap(identity.pid)
            return True
    kill(identity)
    return False


def ask_to_stop(identity: Identity) -> None:
    """Send SIGTERM and return at once; a process that is gone already is no error."""
    with _handle(identity) as handle:
        if handle is not None:
            signal.pidfd_send_signal(handle, signal.SIGTERM)


def kill(identity: Identity) -> None:
    """End the process at once (SIGKILL) and wait until it is gone; a process that is gone already is no error."""
    with _handle(identity) as handle:
        if handle is not None:
            signal.pidfd_send_signal(handle, signal.SIGKILL)
            if not _wait(handle, 30):
                raise StackError(f"Process {identity.pid} does not end even when killed; the system holds it.")
    _reap(identity.pid)


def tail(log: Path, start: int = 0) -> str:
    """Return the last lines that were written to `log` after byte `start`."""
    try:
        with log.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(start if start <= size else 0, size - 16_384))
            lines = file.read().decode(errors="replace").splitlines()
    except FileNotFoundError:
        return ""
    return "\n".join(lines[-TAIL_LINES:])


@contextlib.contextmanager
def _handle(identity: Identity) -> Iterator[int | None]:
    try:
        handle = os.pidfd_open(identity.pid)
    except ProcessLookupError:
        yield None
        return
    try:
        # Checked after the pidfd is open: from here on the pid cannot be another process' without our noticing.
        yield handle if alive(identity) else None
    finally:
        os.close(handle)


def _wait(handle: int, seconds: float) -> bool:
    poll = select.poll()
    poll.register(handle, select.POLLIN)
    return bool(poll.poll(seconds * 1000))


def _reap(pid: int) -> None:
    child = _children.get(pid)
    if child is not None and child.poll() is not None:
        del _children[pid]


def _rotate(log: Path) -> None:
    with contextlib.suppress(FileNotFoundError):
        if log.stat().st_size > LOG_LIMIT_BYTES:
            log.rename(log.with_suffix(".log.1"))
