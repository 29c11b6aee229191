"""Everybody outside who says things to the processes: the events, signals and decisions that they wait for; too early,
in time, twice, too late, by the wrong person, or never.
"""

from __future__ import annotations

from contracts.envelope import Envelope, encode_headers
from contracts.message import Event
from contracts.process import ApprovalGiven, CancelRequested, SignalSent
from contracts.record import OutgoingRecord
from orchestrator.engine.process import StepState
from orchestrator.language.waiting import Approval, Signal, WaitFor
from orchestrator.runtime.inbox_writer import input_record
from orchestrator.testkit.callers import Call, Callers
from orchestrator.testkit.fold import Fed
from orchestrator.testkit.limited import PLACES, WHOLE, place_request
from tests.simulation.oracle import Followed
from tests.simulation.world import World

SOURCE = "/shop/stock"
FATES = (
    ("in time",) * 6 + ("twice",) * 3 + ("late",) * 2 + ("never",) * 2 + ("wrong", "wrong", "escalated", "escalated")
)
EARLY_WITHIN_S = 30.0
"""Early calls come in the first seconds of a run, in which the processes are started too."""
FLOOD = 20
"""Early calls of one process, more than are kept."""
LATE_S = 60.0
IDLE = StepState()


class Strangers:
    """`of(process)` is who speaks to it."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._random = world.chance.stream("strangers")
        self._callers: dict[str, Callers] = {}
        self._asked: dict[str, int] = {}
        world.oracle.on_fed = self._heard

    def of(self, process_id: str) -> Callers:
        found = self._callers.get(process_id)
        if found is None:
            (plan,) = (one for one in self._world.book.plans() if one.saga.name == process_id.partition(":")[0])
            stream = self._world.chance.stream(f"callers {process_id}")
            found = self._callers[process_id] = Callers(plan, process_id, stream)
        return found

    def speak_early(self) -> None:
        """What comes before anybody asks: some of it before the process exists, some of it after it has ended."""
        scenario, random = self._world.scenario, self._random
        for holder in scenario.holders:
            request = place_request(random.choice((PLACES, WHOLE)), holder, random.choice((5_000, 400_000)))
            if (request.key or b"").decode() in scenario.limiters:
                self._world.loop.call_later(random.random(), self._world.broker.put_from, request, None)
        for job_id in (*(job.job_id for job in scenario.jobs), *scenario.ghosts):
            process_id = f"lab:{job_id}"
            talk = scenario.pace.talk if job_id not in scenario.ghosts else 1
            for _ in range(random.choice((0, 0, 1, 3, 3)) * talk if random.random() < 0.95 else FLOOD):
                call = self.of(process_id).early()
                if call is not None:
                    self._say_in(EARLY_WITHIN_S * random.random() ** 2, process_id, call, "early")
            if scenario.saga.cancelled_by is not None and random.random() < 0.3:
                self._say_in(EARLY_WITHIN_S * random.random(), process_id, self.of(process_id).halt(), "halt")

    def _heard(self, followed: Followed, fed: Fed) -> None:
        """Somebody hears that a process waits for him."""
        after = fed.after
        if after is None or fed.decision.result != "applied" or after.saga != "lab":
            return
        before = {} if fed.before is None else fed.before.steps
        for path, step in after.steps.items():
            if step.status == "waiting" and before.get(path, IDLE).status != "waiting":
                self._answer(after.id, path)

    def _answer(self, process_id: str, path: str) -> None:
        world, callers = self._world, self.of(process_id)
        number = self._asked[f"{process_id}/{path}"] = self._asked.get(f"{process_id}/{path}", 0) + 1
        random = world.chance.stream(f"wait {process_id}/{path}/{number}")
        block = callers.block(path)
        limit_s = block.limit.total_seconds()
        fate = "in time" if world.calm else random.choice(FATES)
        in_time_s = limit_s * random.choice((0.01, 0.3, 0.9)) * random.random()
        if fate == "escalated" and isinstance(block, Approval) and block.escalation is not None:
            span_s = limit_s - block.escalation.after.total_seconds()
            self._say_in(limit_s - 0.7 * span_s, process_id, callers.fitting(path, escalated=True), "escalated")
        elif fate == "wrong":
            self._say_wrong(in_time_s / 2, process_id, path)
            self._say_in(in_time_s, process_id, callers.fitting(path), "after a wrong one")
        elif fate == "late":
            after_s = limit_s + LATE_S * random.random() ** 3
            self._say_in(after_s, process_id, callers.fitting(path), "late")
        elif fate == "never":
            world.seen["call never"] += 1
        else:
            call = callers.fitting(path)
            self._say_in(in_time_s, process_id, call, "in time")
            if fate == "twice":
                again_s = in_time_s + random.choice((0.01, limit_s)) * random.random()
                self._say_in(again_s, process_id, call, "again")

    def _say_wrong(self, after_s: float, process_id: str, path: str) -> None:
        """A decision that does not count; or an event that names this process, and by its key is for another."""
        block, others = self.of(process_id).block(path), self._world.scenario.jobs
        if isinstance(block, Approval):
            self._say_in(after_s, process_id, self.of(process_id).wrong(path), "wrong")
            return
        other = next((f"lab:{job.job_id}" for job in others if f"lab:{job.job_id}" != process_id), None)
        assert isinstance(block, WaitFor)
        if other is not None and issubclass(block.wants, Event):
            call = self.of(other).fitting(path)
            self._say_in(after_s, other, call, "misdirected", named=process_id)

    def _say_in(self, after_s: float, process_id: str, call: Call, how: str, *, named: str | None = None) -> None:
        world = self._world
        world.pending += 1

        def speak() -> None:
            world.pending -= 1
            world.seen[f"call {how}"] += 1
            self.say(process_id, call, how, named=named)

        world.loop.call_later(after_s, speak)

    def say(self, process_id: str, call: Call, how: str, *, named: str | None = None) -> None:
        """Now. `named`: the process that an event claims to be for."""
        world, message = self._world, call.message
        world.say(f"somebody says to {process_id}, {how}: {call}")
        if isinstance(message, Signal):
            payload = message.model_dump(mode="json")
            sent = SignalSent(process_id=process_id, signal=message.signal, payload=payload, sender="bob")
            record = input_record(sent, call.id, ("lab", world.scenario.saga.version))
        elif isinstance(message, ApprovalGiven | CancelRequested):
            record = input_record(message, call.id)
        else:
            envelope = Envelope(id=call.id, source=SOURCE, type=message.type, process_id=named)
            record = OutgoingRecord(message.topic, message.key.encode(), message.to_json(), encode_headers(envelope))
        world.broker.put_from(record, None)
