"""What the composition root gives to the commands: nothing else here knows the environment, the clock or chance."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from contracts.catalog import Catalog
from orchestrator.cli.ports import Connections
from orchestrator.language import Saga


@dataclass(frozen=True, slots=True)
class Surroundings:
    """`operator`: who is at the keyboard. `interactive`: a person can be asked. `fingerprints`: the file of the sagas'
    recorded fingerprints; without one, versions are not checked."""

    environment: Mapping[str, str]
    folder: Path
    operator: str
    interactive: bool
    now_ms: Callable[[], int]
    new_id: Callable[[], str]
    connections: Connections
    sagas: tuple[Saga, ...]
    catalog: Catalog
    fingerprints: Path | None = None
