"""Where a stack lives: its data folder, and the paths in it. All paths of the local stack are made here."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

INFRASTRUCTURE = ("kafka", "redis-orchestrator", "redis-services", "sandbox")
SERVICES = ("inventory", "payment", "shipping")
"""Those of the order flow: what every stack has unless it is told otherwise."""
HOSTED = {
    "automations": ("lead-alert", "lead-crm", "document-signature", "document-filing", "invoicing"),
}
"""Parts that host several automations in one OS process: here they have little to do, and memory is dear."""
COMPANIONS = ("scheduler", "stock-report", "gateway", *HOSTED)
"""`make up` starts them, too; the orders of the demo, the chaos runs and the benchmarks do without."""
PROGRAMS = ("orchestrator", *SERVICES, *COMPANIONS)
NAMES = (*INFRASTRUCTURE, *PROGRAMS)


def project_root() -> Path:
    """Return the checkout that holds this package, or the working folder when it was installed from a wheel."""
    root = Path(__file__).resolve().parents[2]
    return root if (root / "pyproject.toml").is_file() else Path.cwd()


@dataclass(frozen=True, slots=True)
class Site:
    """One stack's folder. Everything about a stack is in it, so the folder's path is the stack's only name."""

    data: Path
    cache: Path
    python: str = sys.executable

    @property
    def state(self) -> Path:
        """The runner's own notes: ports, and the identity of every process it started."""
        return self.data / "state.json"

    @property
    def lock(self) -> Path:
        """Held while one runner changes the stack."""
        return self.data / "stack.lock"

    @property
    def endpoints(self) -> Path:
        """What programs and people read to find the stack."""
        return self.data / "endpoints.json"

    @property
    def schedules(self) -> Path:
        """The file of the scheduler: that of the checkout, or of the installed package."""
        return Path(__file__).with_name("schedules.toml")

    @property
    def sources(self) -> Path:
        """What the gateway takes; from the same place."""
        return Path(__file__).with_name("gateway.toml")

    @property
    def documents_incoming(self) -> Path:
        """Where documents wait for their signature."""
        return self.data / "documents" / "incoming"

    @property
    def documents_completed(self) -> Path:
        """Where they are filed."""
        return self.data / "documents" / "completed"

    def log(self, name: str) -> Path:
        """Return the log of part `name`."""
        return self.data / "logs" / f"{name}.log"

    def folder(self, name: str) -> Path:
        """Return the folder in which part `name` keeps its data."""
        return self.data / name


def site_at(data: Path | str) -> Site:
    """Return the site of `data`; a relative path is taken from the project's root, so `.local` means the same
    anywhere.
    """
    root = project_root()
    return Site(data=(root / data).resolve(), cache=root / ".local" / "cache")
