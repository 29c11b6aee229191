"""Processes by identity: what is not exactly ours is never signalled."""

from __future__ import annotations

import dataclasses
import os
import signal
import sys
import time
from pathlib import Path

import pytest

from deploy.local import process
from deploy.local.errors import StackError

SLEEP = (sys.executable, "-c", "import time; time.sleep(60)")
STUBBORN = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('on', flush=True); time.sleep(60)"


def wait_for_output(log: Path, text: str) -> None:
    give_up = time.monotonic() + 10
    while text not in process.tail(log):
        assert time.monotonic() < give_up
        time.sleep(0.02)


def test_a_process_is_alive_until_it_is_killed(tmp_path: Path) -> None:
    identity = process.spawn(SLEEP, tmp_path / "log")
    assert process.alive(identity)
    process.kill(identity)
    assert not process.alive(identity)
    process.kill(identity)  # and again: no error


@pytest.mark.parametrize("change", [{"started_ticks": 1}, {"boot": "another"}])
def test_a_recycled_pid_is_not_ours_and_is_not_touched(tmp_path: Path, change: dict[str, object]) -> None:
    innocent = process.spawn(SLEEP, tmp_path / "log")
    ours = dataclasses.replace(innocent, **change)
    try:
        assert not process.alive(ours)
        process.ask_to_stop(ours)
        assert process.stop(ours, 1)
        process.kill(ours)
        assert process.alive(innocent)
    finally:
        process.kill(innocent)


def test_stop_says_whether_it_had_to_kill(tmp_path: Path) -> None:
    obedient = process.spawn(SLEEP, tmp_path / "log")
    assert process.stop(obedient, 10)
    stubborn = process.spawn((sys.executable, "-c", STUBBORN), tmp_path / "stubborn")
    wait_for_output(tmp_path / "stubborn", "on")
    assert not process.stop(stubborn, 0.2)
    assert not process.alive(stubborn)


def test_a_child_that_died_is_dead_though_nobody_reaped_it(tmp_path: Path) -> None:
    identity = process.spawn(SLEEP, tmp_path / "log")
    os.kill(identity.pid, signal.SIGKILL)
    assert process.stop(identity, 5)
    assert process.identify(identity.pid) is None


def test_a_process_has_a_session_of_its_own(tmp_path: Path) -> None:
    identity = process.spawn(SLEEP, tmp_path / "log")
    try:
        assert os.getsid(identity.pid) == identity.pid
    finally:
        process.kill(identity)


def test_a_process_is_found_by_its_whole_command_line(tmp_path: Path) -> None:
    command = (*SLEEP, str(tmp_path))
    assert process.find_by_command(command) is None
    identity = process.spawn(command, tmp_path / "log")
    try:
        give_up = time.monotonic() + 10
        while (found := process.find_by_command(command)) is None:
            assert time.monotonic() < give_up
        assert found == identity
        assert process.find_by_command(command[:-1]) != identity
    finally:
        process.kill(identity)


def test_a_program_that_is_not_there_is_one_clear_sentence(tmp_path: Path) -> None:
    with pytest.raises(StackError, match=r"/no/such/program cannot be started: No such file"):
        process.spawn(("/no/such/program",), tmp_path / "log")


def test_the_tail_begins_where_this_run_did(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("old\n")
    assert process.tail(log, 4) == ""
    log.write_text("old\n" + "".join(f"line {number}\n" for number in range(100)))
    assert process.tail(log, 4).splitlines() == [f"line {number}" for number in range(100 - process.TAIL_LINES, 100)]
    assert process.tail(tmp_path / "none") == ""


def test_a_long_log_is_put_aside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "LOG_LIMIT_BYTES", 10)
    log = tmp_path / "log.log"
    log.write_text("x" * 11)
    process.kill(process.spawn(SLEEP, log))
    assert log.with_suffix(".log.1").read_text() == "x" * 11
    assert log.read_text() == ""


def test_a_process_that_was_just_started_is_found_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # About every second one has no command line yet at this moment.
    monkeypatch.setattr(process, "SECOND_LOOK_SECONDS", 0.3)
    for number in range(6):
        command = (*SLEEP, str(tmp_path), str(number))
        identity = process.spawn(command, tmp_path / "log")
        assert process.find_by_command(command) == identity
        process.kill(identity)
