"""Faults of the outside world, and of one process' clock."""

from __future__ import annotations

import asyncio
import shutil
import subprocess

from deploy.chaos.fault import Fault
from deploy.chaos.scene import Incident, Scene

PROVIDERS = ("payment", "carrier")
FAKETIME_MISSING = "there is no `faketime` on the PATH: install it with `apt-get install faketime`"
SKEW = "+120s"
SKEW_SECONDS = 10.0
SKEW_VARIABLES = ("LD_PRELOAD", "FAKETIME", "DONT_FAKE_MONOTONIC", "FAKETIME_DONT_FAKE_MONOTONIC")
"""Not the shared memory of the `faketime` program, which is gone when it ends."""


def outside_faults() -> tuple[Fault, ...]:
    """Every fault of this family."""
    return (
        *(
            _provider(f"{name}-down", f"{name} answers nothing but 503 for a minute", name, 60, error_rate=1.0)
            for name in PROVIDERS
        ),
        *(
            _provider(f"{name}-silent", f"{name} answers nothing at all for a minute", name, 60, silent=True)
            for name in PROVIDERS
        ),
        *(
            _provider(f"{name}-errors", f"30 % of the calls to {name} fail", name, 30, error_rate=0.3)
            for name in PROVIDERS
        ),
        *(
            _provider(f"{name}-answers-lost", f"{name} does it, and its answer is lost", name, 30, lose_answer=True)
            for name in PROVIDERS
        ),
        *(
            _provider(f"{name}-slow", f"{name} takes 20 s for every answer", name, 30, latency_ms=20_000)
            for name in PROVIDERS
        ),
        _skewed("engine"),
        _skewed("clock"),
        _skewed("payment"),
    )


def _provider(name: str, title: str, provider: str, seconds: float, **how: object) -> Fault:
    async def inject(scene: Scene, incident: Incident) -> None:
        await scene.misbehave(provider, **how)
        await incident.last(seconds, 3)
        incident.lift()
        await scene.behave()

    return Fault(name, "outside world", title, inject)


def _skewed(kind: str) -> Fault:
    async def inject(scene: Scene, incident: Incident) -> None:
        await scene.crew.terminate(kind)
        await scene.crew.start(kind, prefix=("env", *await asyncio.to_thread(skewed_environment)))
        await incident.last(30, 5)
        await scene.crew.terminate(kind)
        incident.lift()
        await scene.crew.start(kind)

    def missing() -> str | None:
        return None if shutil.which("faketime") else FAKETIME_MISSING

    return Fault(f"skewed-{kind}", "clock", f"the clock of {kind} goes two minutes fast", inject, missing)


def skewed_environment() -> tuple[str, ...]:
    """`NAME=value` of what makes a program's clock go fast. Asked of `faketime` and not run under it: that would be a
    parent, which keeps SIGTERM to itself. A clock that is wrong still counts seconds as they pass."""
    command = ("faketime", "--exclude-monotonic", "-f", SKEW, "env")
    said = subprocess.run(command, capture_output=True, text=True, check=True, timeout=SKEW_SECONDS).stdout
    return tuple(line for line in said.splitlines() if line.partition("=")[0] in SKEW_VARIABLES)
