"""`on-stuck-alerts-only`: what calls for a person cannot itself wait for anybody.

An alert that could fail, be refused or be waited for would need an alert of its own. So it tells events, and a
notifying automation reacts to them by choreography: that has retries and dead letters, and no process waits for it.
"""

from __future__ import annotations

from collections.abc import Iterator

from orchestrator.language.blocks import CommandStep, Emit, Parallel, Pivot, Sequence
from orchestrator.language.flow import Choice, Fallback, ForEach, Repeat, Sleep
from orchestrator.language.waiting import Approval, WaitFor
from orchestrator.verify.finding import Finding
from orchestrator.verify.handlers import Handlers
from orchestrator.verify.places import titled
from orchestrator.verify.subject import Subject

RULE = "on-stuck-alerts-only"
ALLOWED = (Emit, Sleep, Sequence, Choice, Repeat)
WHY: dict[type, str] = {
    CommandStep: "a command may fail, and an alert must not get stuck itself",
    WaitFor: "nothing comes to an alert: it is given up when a person has decided",
    Approval: "what a person decides about a stuck process is not an approval",
    Pivot: "an alert is not part of the process: it has no point of no return",
    Parallel: "one alert after the other is enough, and each begins at once",
    ForEach: "an alert does not depend on a list that a function could fail to make",
    Fallback: "an alert cannot fail, so nothing falls back",
}
FIX = "tell an event with emit(...), and let a notifying automation react to it"


def check(subject: Subject, handlers: Handlers) -> Iterator[Finding]:
    for spot in subject.spots:
        if spot.alerting and not isinstance(spot.block, ALLOWED):
            why = WHY.get(type(spot.block), "only emit, sleep, sequence, choice and repeat cannot get stuck")
            yield subject.at_block(RULE, spot, f"{titled(spot.block)} in on_stuck: {why}", FIX)
