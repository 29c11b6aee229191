"""Faults of our own programs: ended, killed, two at a time, restarted in turn, scaled, asleep for too long."""

from __future__ import annotations

import itertools

from deploy.chaos.crew import KINDS, ROLES, leaving
from deploy.chaos.fault import Fault
from deploy.chaos.scene import Incident, Scene
from deploy.local.site import SERVICES
from orchestrator.runtime.subscription_kafka import SESSION_LIMIT_MS
from services.sdk.kafka_subscription import SESSION_MS

DOWN_SECONDS = 2.0
"""How long a program stays away."""
SLEEP_MARGIN_SECONDS = 4.0
"""Longer than its session lasts, a program sleeps by so much: then the group has given its shards away."""
SESSION_SECONDS = {**dict.fromkeys(ROLES, SESSION_LIMIT_MS / 1000), **dict.fromkeys(SERVICES, SESSION_MS / 1000)}
SLEEPERS = ("router", "engine", "clock", "payment")
SCALED = ("router", "engine", "inventory", "payment", "shipping")


def process_faults() -> tuple[Fault, ...]:
    """Every fault of this family."""
    return (
        *(_kill(kind) for kind in KINDS),
        *(_terminate(kind) for kind in KINDS),
        *(_kill(*pair) for pair in itertools.combinations(KINDS, 2)),
        Fault("rolling-restart", "processes", "every program restarted, one after the other", _rolling_restart),
        Fault("scale", "processes", "1 -> 3 -> 2 of every program but the clock", _scale),
        *(_sleep(kind) for kind in SLEEPERS),
    )


def _kill(*kinds: str) -> Fault:
    async def inject(scene: Scene, incident: Incident) -> None:
        scene.crew.kill(*kinds)
        await incident.last(DOWN_SECONDS, 0.5)
        incident.lift()
        await scene.crew.start(*kinds)

    return Fault(f"kill-{'-and-'.join(kinds)}", "processes", f"kill -9 of {' and '.join(kinds)}", inject)


def _terminate(kind: str) -> Fault:
    async def inject(scene: Scene, incident: Incident) -> None:
        await scene.crew.terminate(kind)
        await incident.last(DOWN_SECONDS, 0.5)
        incident.lift()
        await scene.crew.start(kind)

    return Fault(f"terminate-{kind}", "processes", f"SIGTERM of {kind}; it ends with 0 and is started again", inject)


async def _rolling_restart(scene: Scene, incident: Incident) -> None:
    for kind in KINDS:
        await scene.crew.terminate(kind)
        await scene.crew.start(kind)
    incident.note(f"{len(KINDS)} programs restarted")
    incident.lift()


async def _scale(scene: Scene, incident: Incident) -> None:
    """Up by two of each, and down by the first of each: the shards move twice. What will not come back leaves its
    groups when it ends; the first of each do, and their shards wait for them, or for the end of their sessions."""
    more = tuple(f"{kind}-{number}" for kind in SCALED for number in (2, 3))
    for name in more:
        scene.crew.spawn(name, extra=leaving(name))
    await scene.crew.ready(*more)
    incident.note(f"{len(scene.crew.names())} programs")
    await incident.last(10, 2)
    await scene.crew.terminate(*SCALED)
    incident.note(f"then {len(scene.crew.names())}")
    await incident.last(10, 2)
    incident.lift()
    await scene.crew.start(*SCALED)
    await scene.crew.terminate(*more)


def _sleep(kind: str) -> Fault:
    async def inject(scene: Scene, incident: Incident) -> None:
        """A second one takes its work over; then it wakes up and must notice that nothing is its own any more."""
        await scene.crew.start(f"{kind}-2", extra=leaving(f"{kind}-2"))
        scene.crew.pause(kind)
        await incident.last(0, SESSION_SECONDS[kind] + SLEEP_MARGIN_SECONDS)
        incident.lift()
        scene.crew.resume(kind)
        await incident.last(10, 3)
        incident.demand(scene.crew.alive(kind), f"{kind} did not survive its sleep")
        await scene.crew.ready(kind)
        await scene.crew.terminate(f"{kind}-2")

    seconds = SESSION_SECONDS[kind] + SLEEP_MARGIN_SECONDS
    title = f"SIGSTOP of {kind} for {seconds:.0f} s, beside a second one; then SIGCONT"
    return Fault(f"zombie-{kind}", "processes", title, inject)
