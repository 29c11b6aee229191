"""`state.json`, the runner's notes; and how it is written, as is `endpoints.json` (whose content `operations` defines).

Both are replaced whole (temporary file, then rename), so a reader never sees half of one.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from deploy.local.errors import StackError
from deploy.local.process import Identity


class ProcessRecord(BaseModel):
    """One process that the runner started and did not stop."""

    model_config = ConfigDict(frozen=True)

    pid: int
    started_ticks: int
    boot: str
    command: tuple[str, ...]
    metrics: str | None = None

    @property
    def identity(self) -> Identity:
        """What names the process for ever."""
        return Identity(self.pid, self.started_ticks, self.boot)


class Settings(BaseModel):
    """What a stack does otherwise than `make up`; kept in its data folder, so `start NAME` later does the same.

    `commands` replaces the start of a program's command (`[python, "-m", "services", "payment"]`); the usual options
    follow it. `arguments` are appended to a program's command. `topics` is the command that applies the topics (its
    `--endpoints` is appended); None = the product's own, () = none.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    commands: Mapping[str, tuple[str, ...]] = {}
    arguments: Mapping[str, tuple[str, ...]] = {}
    topics: tuple[str, ...] | None = None
    kafka_heap_mb: int = 512
    roles: str = "router,engine,clock"


class State(BaseModel):
    """All that the runner knows of a stack between two calls."""

    model_config = ConfigDict(frozen=True)

    ports: Mapping[str, int] = {}
    processes: Mapping[str, ProcessRecord] = {}
    settings: Settings = Settings()

    def with_process(self, name: str, record: ProcessRecord) -> State:
        """Return the state in which `name` runs as `record`."""
        return self.model_copy(update={"processes": {**self.processes, name: record}})

    def without_process(self, name: str) -> State:
        """Return the state in which `name` was stopped."""
        left = {other: record for other, record in self.processes.items() if other != name}
        return self.model_copy(update={"processes": left})


def read_state(path: Path) -> State:
    """Return the state in `path`, an empty one if there is no such file. Raises `StackError` if it cannot be read."""
    try:
        return State.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return State()
    except ValidationError as error:
        raise StackError(
            f"{path} is damaged ({error.error_count()} errors); stop its processes and delete it."
        ) from error


def write_atomically(path: Path, model: BaseModel) -> None:
    """Replace `path` by `model` as JSON in one step."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text(json.dumps(model.model_dump(mode="json"), indent=2) + "\n")
    temporary.replace(path)
