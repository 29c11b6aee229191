"""Our own programs on a stack, with fakes in their place: readiness, failure, crash, adoption, and the files."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from deploy.local import launch, process
from deploy.local.errors import StackError
from deploy.local.launch import Patience
from deploy.local.ports import WantedPorts
from deploy.local.progress import Progress
from deploy.local.site import COMPANIONS, INFRASTRUCTURE, PROGRAMS, SERVICES
from deploy.local.stack import PartStatus, Stack
from deploy.local.state import Settings, read_state

pytestmark = pytest.mark.stack

FAKE = (sys.executable, str(Path(__file__).with_name("fake_program.py")))
COMMANDS = dict.fromkeys(PROGRAMS, FAKE)
NO_TOPICS = (sys.executable, "-c", "import sys; print('applied', *sys.argv[1:])")


def settings(**fail: str) -> Settings:
    arguments = {name: ("--fail", mode) for name, mode in fail.items()}
    return Settings(commands=COMMANDS, arguments=arguments, topics=NO_TOPICS)


@pytest.fixture
def told() -> list[Progress]:
    return []


@pytest.fixture
def stack(infrastructure: Stack, told: list[Progress]) -> Iterator[Stack]:
    yield Stack(infrastructure.site.data, settings=settings(), report=told.append)
    for name in PROGRAMS:
        infrastructure.kill(name)


def part(stack: Stack, name: str) -> PartStatus:
    (found,) = (status for status in stack.status() if status.name == name)
    return found


def test_up_starts_all_and_says_where_everything_is(stack: Stack, told: list[Progress]) -> None:
    endpoints = stack.up()
    on_disk = json.loads(stack.site.endpoints.read_text())
    assert on_disk == endpoints.model_dump(mode="json")
    assert set(on_disk) == {"kafka", "redis", "sandbox", "gateway", "processes"}
    assert on_disk["gateway"] is None, "it is not among the started"
    started = {"orchestrator", *SERVICES}
    assert set(on_disk["processes"]) == {*INFRASTRUCTURE, *started}
    assert {name for name, one in on_disk["processes"].items() if one["metrics"]} == started
    assert [(one.name, one.event) for one in told if one.event == "already-running"] == [
        (name, "already-running") for name in ("redis-orchestrator", "redis-services", "sandbox", "kafka")
    ]
    ready = [one.name for one in told if one.event == "ready"]
    assert ready[0] == "topics"
    assert set(ready) == {"topics", *started}
    assert stack.site.log("topics").read_text() == f"applied --endpoints {stack.site.endpoints}\n"
    assert all(status.ready for status in stack.status() if status.name not in COMPANIONS)


def test_commands_are_complete_and_absolute(stack: Stack) -> None:
    stack.up(only=["payment", "orchestrator"])
    commands = stack.endpoints.processes
    where = ("--endpoints", str(stack.site.endpoints), "--metrics-port")
    assert tuple(commands["payment"].command[len(FAKE) :][:3]) == where
    assert commands["payment"].command[-2:] == ["--instance", "payment-1"]
    assert commands["orchestrator"].command[-2:] == ["--instance", "orchestrator-1"]
    for one in commands.values():
        assert Path(one.command[0]).is_absolute()


def test_up_again_changes_nothing(stack: Stack) -> None:
    before = stack.up(only=["payment"])
    assert stack.up(only=["payment"]) == before


def test_services_that_were_left_out_do_not_run(stack: Stack) -> None:
    Stack(stack.site.data, services=["inventory", "shipping"], settings=settings()).up()
    assert part(stack, "payment").state == "stopped"
    assert part(stack, "inventory").ready
    assert "payment" not in stack.endpoints.processes


def test_a_program_that_ends_while_it_starts_takes_the_others_of_that_call_with_it(stack: Stack) -> None:
    failing = Stack(stack.site.data, settings=settings(payment="die"))
    with pytest.raises(StackError, match="payment ended while it was starting") as error:
        failing.up()
    assert error.value.tail.splitlines()[-1] == "I cannot go on"
    assert {status.name for status in stack.status() if status.state == "running"} == set(INFRASTRUCTURE)
    assert set(stack.endpoints.processes) == set(INFRASTRUCTURE)


def test_a_program_that_is_never_ready(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launch, "_PROGRAM_PATIENCE", Patience(1.0, 1.0))
    with pytest.raises(StackError, match=r"shipping was not ready after 1 s \(waiting for stock\)"):
        Stack(stack.site.data, settings=settings(shipping="never-ready")).up(only=["shipping"])
    assert part(stack, "shipping").state == "stopped"


def test_topics_that_cannot_be_applied_stop_the_start(stack: Stack) -> None:
    topics = (sys.executable, "-c", "print('no broker'); raise SystemExit(4)")
    with pytest.raises(StackError, match=r"could not be applied \(exit code 4\)") as error:
        Stack(stack.site.data, settings=Settings(commands=COMMANDS, topics=topics)).up(only=["payment"])
    assert error.value.tail == "no broker"
    assert part(stack, "payment").state == "stopped"


def test_a_crash_stays_visible_until_somebody_starts_it_again(stack: Stack) -> None:
    before = stack.up(only=["payment"]).processes["payment"]
    os.kill(before.pid, signal.SIGKILL)
    process.kill(read_state(stack.site.state).processes["payment"].identity)  # waits
    assert part(stack, "payment") == PartStatus("payment", "dead", False, before.pid, before.metrics)
    # Another object on the same folder, without settings, does as before.
    Stack(stack.site.data).start("payment")
    after = stack.endpoints.processes["payment"]
    assert (after.command, after.metrics) == (before.command, before.metrics)
    assert after.pid != before.pid
    assert part(stack, "payment").ready


def test_a_part_that_was_started_again_by_its_command_is_that_part(stack: Stack) -> None:
    before = stack.up(only=["payment"]).processes["payment"]
    stack.kill("payment")
    stack.start("payment")
    again = stack.endpoints.processes["payment"]
    os.kill(again.pid, signal.SIGKILL)
    process.kill(read_state(stack.site.state).processes["payment"].identity)
    by_hand = subprocess.Popen(before.command, cwd="/", stdout=subprocess.DEVNULL)
    try:
        give_up = time.monotonic() + 10
        while not part(stack, "payment").ready:
            assert time.monotonic() < give_up
        assert part(stack, "payment").pid == by_hand.pid
        stack.stop("payment")
        assert by_hand.wait(timeout=5) == -signal.SIGTERM
    finally:
        by_hand.kill()
        by_hand.wait()


def test_stop_kills_what_does_not_listen(stack: Stack, told: list[Progress], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launch, "_PROGRAM_PATIENCE", Patience(10.0, 0.3))
    Stack(stack.site.data, settings=settings(payment="ignore-term")).up(only=["payment"])
    stack.stop("payment")
    assert told[-1].event == "killed"
    assert part(stack, "payment").state == "stopped"
    stack.stop("payment")
    assert told[-1].event == "not-running"


def test_a_recycled_pid_is_not_stopped(stack: Stack) -> None:
    stack.up(only=["payment"])
    stack.kill("payment")
    innocent = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    try:
        state = json.loads(stack.site.state.read_text())
        record = {"pid": innocent.pid, "started_ticks": 1, "boot": process.boot_id(), "command": ["x"], "metrics": None}
        state["processes"]["payment"] = record
        stack.site.state.write_text(json.dumps(state))
        assert part(stack, "payment").state == "dead"
        stack.stop("payment")
        stack.kill("payment")
        assert innocent.poll() is None
    finally:
        innocent.kill()
        innocent.wait()


def test_a_program_without_its_foundation_says_so(tmp_path: Path) -> None:
    alone = Stack(tmp_path, settings=settings())
    with pytest.raises(StackError, match=r"payment needs kafka, which is not running"):
        alone.up(only=["payment"])
    assert not alone.site.endpoints.exists()


def test_a_port_that_was_taken_meanwhile(stack: Stack) -> None:
    stack.up(only=["payment"])
    stack.kill("payment")
    port = read_state(stack.site.state).ports["payment"]
    blocker = subprocess.Popen(
        [sys.executable, "-m", "http.server", str(port), "--bind", "127.0.0.1"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        while launch.http_probe("127.0.0.1", port, "/")() is not None:
            assert blocker.poll() is None
        with pytest.raises(StackError, match=f"Port {port} of payment is taken"):
            stack.start("payment")
    finally:
        blocker.kill()
        blocker.wait()


def test_running_parts_are_not_moved(stack: Stack, free_port: Callable[[], int]) -> None:
    with pytest.raises(StackError, match="kafka already runs on port"):
        Stack(stack.site.data, ports=WantedPorts(kafka=free_port())).up(only=["kafka"])


def test_names_that_are_none(stack: Stack) -> None:
    for work in (lambda: stack.start("billing"), lambda: stack.stop("billing"), lambda: stack.up(only=["billing"])):
        with pytest.raises(StackError, match="There is no part named 'billing'"):
            work()


def test_a_running_stack_cannot_be_erased(stack: Stack) -> None:
    with pytest.raises(StackError, match="still runs"):
        stack.erase()
    assert stack.site.state.exists()
