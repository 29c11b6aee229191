"""`python -m services.scheduler ...` over a memory store: what it prints, and its exit codes."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import typer
from structlog.testing import capture_logs
from typer.testing import CliRunner

from contracts.catalog import standard_catalog
from operations.endpoints import EndpointsError
from services.scheduler import __main__ as program
from services.scheduler.commands import Session, add_commands
from services.scheduler.declarations import declared_json, parse_declarations
from services.scheduler.store import RUNS_MAX, Move, Run, ScheduleStore
from services.scheduler.store_memory import MemoryStore
from services.scheduler.timing import DAY_MS

NOW_MS = 1_767_225_600_000
LOCAL = Path(__file__).resolve().parents[2] / "deploy" / "local" / "schedules.toml"
FILE = """
[[schedule]]
id = "nightly"
cron = "0 3 * * *"
zone = "Europe/Berlin"
[[schedule]]
id = "past"
at = 2025-01-01T00:00:00Z
"""


class Line:
    """The command line over one store."""

    def __init__(self) -> None:
        self.store = MemoryStore(lambda: 0.0)
        self.down = False
        self.now_ms = NOW_MS
        self.logged: list[Any] = []

    async def prepare(self) -> None:
        lease = await self.store.hold("scheduler-1 abc", 60_000)
        assert lease is not None
        schedules = parse_declarations(FILE, standard_catalog())
        await self.store.declare(lease, {one.id: declared_json(one) for one in schedules})
        await self.store.settle(lease, [Move(one.id, None, NOW_MS, one.definition) for one in schedules])

    def __call__(self, *words: str) -> Any:
        @asynccontextmanager
        async def open_store(_: Path | None) -> AsyncIterator[ScheduleStore]:
            if self.down:
                raise EndpointsError("no stack")
            yield self.store

        app = typer.Typer()
        app.callback()(lambda: None)
        add_commands(app)
        tokens = iter(f"t{number}" for number in range(10))
        session = Session(open_store, lambda: self.now_ms, lambda: next(tokens), "ada")
        with capture_logs() as self.logged:
            return CliRunner().invoke(app, list(words), obj=session)

    def json(self, *words: str) -> Any:
        result = self(*words, "--json")
        assert result.exit_code == 0, result.output
        return json.loads(result.stdout)


@pytest.fixture
def line() -> Line:
    made = Line()
    asyncio.run(made.prepare())
    return made


def test_list(line: Line) -> None:
    found = line.json("list")
    assert found["leader"] == "scheduler-1 abc"
    nightly, past = found["schedules"]
    assert nightly == {
        "id": "nightly",
        "state": "active",
        "when": "cron 0 3 * * * in Europe/Berlin",
        "misfire": "once",
        "event": "schedules.tick.v1",
        "next": "2026-01-01T02:00:00.000Z",
        "last": None,
        "ticks": 0,
        "told": None,
    }
    assert (past["state"], past["next"]) == ("over", None)
    text = line("list").stdout
    assert "nightly" in text and "2026-01-01T02:00:00.000Z" in text


def test_next_in_utc_and_in_the_zone(line: Line) -> None:
    assert line.json("next", "nightly", "--count", "2") == [
        {"due_at": "2026-01-01T02:00:00.000Z", "local": "2026-01-01T03:00:00+01:00"},
        {"due_at": "2026-01-02T02:00:00.000Z", "local": "2026-01-02T03:00:00+01:00"},
    ]
    assert "never due again" in line("next", "past").stderr
    assert line("next", "other").exit_code == 3
    assert line("next", "nightly", "--count", "0").exit_code == 2


def test_pause_and_resume(line: Line) -> None:
    told = line.json("pause", "nightly")
    assert told == {"schedule": "nightly", "what": "pause", "at": "2026-01-01T00:00:00.000Z", "by": "ada"}
    (entry,) = line.logged
    assert (entry["what"], entry["schedule"], entry["operator"], entry["result"]) == ("pause", "nightly", "ada", "done")
    row = line.json("list")["schedules"][0]
    assert (row["state"], row["next"]) == ("paused", None)
    assert row["told"] == "pause by ada at 2026-01-01T00:00:00.000Z"
    again = line("pause", "nightly")
    assert (again.exit_code, again.stderr.splitlines()[-1]) == (1, "nightly is paused already")
    line.now_ms += DAY_MS
    assert line("resume", "nightly").exit_code == 0
    assert line.json("list")["schedules"][0]["next"] == "2026-01-02T02:00:00.000Z"
    assert line("resume", "nightly").exit_code == 1
    assert line("pause", "other").exit_code == 3


def test_a_schedule_ahead_of_the_clock_is_shown_and_brought_back(line: Line) -> None:
    line.now_ms -= DAY_MS
    assert line.json("list")["schedules"][0]["state"] == "ahead"
    assert line("resume", "nightly").exit_code == 0
    assert line.json("list")["schedules"][0]["state"] == "active"


def test_run_now_up_to_the_bound(line: Line) -> None:
    waiting = [Run("nightly", f"other-{number}", NOW_MS) for number in range(RUNS_MAX - 1)]
    asyncio.run(asked(line, waiting))
    assert line("run-now", "nightly").exit_code == 0
    full = line("run-now", "nightly")
    assert (full.exit_code, "runs wait already" in full.stderr) == (1, True)
    assert line("run-now", "other").exit_code == 3


async def asked(line: Line, runs: list[Run]) -> None:
    for one in runs:
        await line.store.ask(one, "run-now by bob")


def test_a_stack_that_is_away(line: Line) -> None:
    line.down = True
    for words in (("list",), ("next", "nightly"), ("pause", "nightly"), ("run-now", "nightly")):
        result = line(*words)
        assert (result.exit_code, result.stderr.strip()) == (4, "no stack")
    line.down, line.store.away = False, True
    assert line("list").exit_code == 4


def test_check(line: Line, tmp_path: Path) -> None:
    good = line.json("check", str(LOCAL))
    assert [one["id"] for one in good["schedules"]] == ["nightly-stock-report"]
    assert "nightly-stock-report: cron 0 3 * * * in Europe/Berlin" in line("check", str(LOCAL)).stdout
    bad = tmp_path / "bad.toml"
    bad.write_text('[[schedule]]\nid = "s"\ncron = "61 * * * *"')
    result = line("check", str(bad), "--json")
    assert result.exit_code == 1
    (mistake,) = json.loads(result.stdout)["mistakes"]
    assert mistake.startswith(f"{bad}: schedule[0] (s).cron: '61' is no minute")
    assert mistake in result.stderr


def run(*words: str) -> tuple[int, str]:
    result = CliRunner().invoke(program.app, list(words))
    return result.exit_code, result.output


def test_the_program_refuses_to_start_without_a_good_file_and_a_stack(tmp_path: Path) -> None:
    code, output = run("--endpoints", str(tmp_path / "none.json"))
    assert (code, "COUNTERPOINT_SCHEDULES" in output) == (1, True)
    bad = tmp_path / "bad.toml"
    bad.write_text('[[schedule]]\nid = "s"\ncron = "* * * *"')
    code, output = run("--file", str(bad))
    assert (code, "has 4 fields" in output) == (1, True)
    code, output = run("--file", str(LOCAL), "--endpoints", str(tmp_path / "none.json"))
    assert (code, "make up" in output) == (1, True)
    assert run("--lease-seconds", "1")[0] == 2
    code, output = run("--endpoints", str(tmp_path / "none.json"), "list")
    assert (code, "make up" in output) == (4, True)
