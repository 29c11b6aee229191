"""How each kind of fault strikes, and how all of it heals."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable

from contracts.record import OutgoingRecord
from contracts.topics import INBOX
from tests.simulation.hosts import OrchestratorHost
from tests.simulation.junk import scatter
from tests.simulation.program import Program
from tests.simulation.scenario import Fault
from tests.simulation.world import Slot, World

NOTICED_S = 8.0
"""When a group notices that a member is gone (its session ends)."""
LONG_GONE = 15


class Missed(str):
    """What a strike says that struck nobody."""


def place_of(crossing: str) -> str:
    """The kind of a crossing, without the numbers in it."""
    return re.sub(r" \d+| counterpoint\.\S+", "", crossing)


class Strikes:
    """`strike` is the world's."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._crossing: Program | None = None
        self._kinds: dict[str, Callable[[Fault], str]] = {
            "kill-orchestrator": self._kill_orchestrator,
            "kill-service": self._kill_service,
            "service-long-gone": self._service_long_gone,
            "stop-orchestrator": self._stop_orchestrator,
            "stop-service": self._stop_service,
            "zombie": self._zombie,
            "second-orchestrator": self._second_orchestrator,
            "second-replica": self._second_replica,
            "lost-ack": self._lost_ack,
            "cut": self._cut,
            "log-away": self._log_away,
            "store-away": self._store_away,
            "store-answer-lost": self._store_answer_lost,
            "store-twice": self._store_twice,
            "store-back": self._store_back,
            "store-gone": self._store_gone,
            "inbox-away": self._inbox_away,
            "inbox-answer-lost": self._inbox_answer_lost,
            "junk": lambda fault: scatter(world, fault.pick),
            "inbox-back": self._inbox_back,
            "service-back": self._service_back,
            "duplicate": self._duplicate,
        }
        world.strike = self.strike

    def strike(self, fault: Fault, program: Program) -> None:
        """`program` is the one that crosses."""
        self._crossing = program
        if not self._world.calm:
            self._world.say(f"*** {fault}")
            happened = self._kinds[fault.kind](fault)
            self._world.say(f"*** {happened}")
            if not isinstance(happened, Missed):
                self._world.seen[f"strike {fault.kind}"] += 1

    def heal(self) -> None:
        """No more faults; everything that is down comes up, everybody is well."""
        world = self._world
        world.calm = world.temper.calm = True
        world.waiting.clear()
        world.armed.clear()
        world.broker.faults.away = world.images.away = False
        world.broker.wake()
        world.images.lost_answers = world.images.repeated = 0
        for store in world.service_stores.values():
            store.inbox.away, store.lost_answers = False, 0
        for slot in list(world.slots.values()):
            if slot.line is not None:
                slot.line.cuts.clear()
            if slot.program is not None and slot.program.frozen:
                slot.program.kill()
            world.start(slot)
        self._rebalance()

    # Whom it strikes.

    def _slots(self, orchestrators: bool) -> list[Slot]:
        return [
            slot
            for slot in self._world.slots.values()
            if isinstance(slot.host, OrchestratorHost) == orchestrators and slot.program and slot.program.alive
        ]

    def _pick(self, fault: Fault, orchestrators: bool) -> Slot | None:
        slots = self._slots(orchestrators)
        struck = next((slot for slot in slots if fault.where and slot.program is self._crossing), None)
        if struck is not None:
            return struck
        return slots[fault.pick % len(slots)] if slots else None

    def _later(self, seconds: float, call: Callable[[], object]) -> None:
        self._world.loop.call_later(seconds, call)

    def _rebalance(self) -> None:
        """What dead members had is dealt out to the others."""
        broker = self._world.broker
        for group in broker.groups():
            asyncio.get_running_loop().create_task(group.rebalance(broker.places(group.topics)))

    def _down(self, slot: Slot | None, after_s: float) -> str:
        if slot is None or slot.program is None:
            return Missed("nobody to strike")
        who = "orchestrator" if isinstance(slot.host, OrchestratorHost) else "service"
        self._world.seen[f"{who} killed at {place_of(slot.program.at)}"] += 1
        slot.program.kill()
        self._later(after_s, lambda: self._world.start(slot))
        if after_s > NOTICED_S:
            self._later(NOTICED_S, self._rebalance)
        return f"{slot.program.name} is killed, and comes back in {after_s:.2f} s"

    # The kinds.

    def _kill_orchestrator(self, fault: Fault) -> str:
        return self._down(self._pick(fault, True), fault.span_s)

    def _kill_service(self, fault: Fault) -> str:
        return self._down(self._pick(fault, False), fault.span_s)

    def _service_long_gone(self, fault: Fault) -> str:
        return self._down(self._pick(fault, False), LONG_GONE * fault.span_s)

    def _stop_orchestrator(self, fault: Fault) -> str:
        return self._stop(self._pick(fault, True), fault.span_s)

    def _stop_service(self, fault: Fault) -> str:
        return self._stop(self._pick(fault, False), fault.span_s)

    def _stop(self, slot: Slot | None, after_s: float) -> str:
        if slot is None or slot.host is None or slot.program is None:
            return Missed("nobody to stop")
        program = slot.program
        slot.host.stop()

        def again() -> None:
            if slot.program is program:
                program.kill()
                self._world.start(slot)

        self._later(1.0 + after_s, again)
        return f"{program.name} is asked to stop"

    def _zombie(self, fault: Fault) -> str:
        """It stops in the middle of what it does; others take over; it goes on, and learns of it only later."""
        slot = self._pick(fault, True)
        if slot is None or slot.program is None or slot.line is None:
            return Missed("nobody to freeze")
        program = slot.program
        program.freeze()
        for group, member in slot.line.members:
            if member in group.members:
                member.expelled = True
                group.members.remove(member)
        self._second(f"orchestrator-z{fault.at}", fault.span_s + 30)
        self._later(fault.span_s, program.thaw)
        self._later(fault.span_s + 5.0, lambda: self._bury(slot, program))
        return f"{program.name} stands still for {fault.span_s:.2f} s, and another takes over"

    def _bury(self, slot: Slot, program: Program) -> None:
        program.kill()
        if slot.program is program:
            self._world.start(slot)

    def _second_orchestrator(self, fault: Fault) -> str:
        return self._second(f"orchestrator-x{fault.at}", fault.span_s + 1)

    def _second(self, name: str, stay_s: float) -> str:
        world = self._world
        if name in world.slots:
            return Missed("it is here already")
        slot = world.add_orchestrator(name)
        self._later(stay_s, lambda: slot.host and slot.host.stop())
        self._later(stay_s + 30, lambda: self._remove(slot))
        return f"{name} joins for {stay_s:.1f} s"

    def _second_replica(self, fault: Fault) -> str:
        world = self._world
        service = world.services[fault.pick % len(world.services)]
        instance = f"x{fault.at}"
        if f"{service.name}-{instance}" in world.slots:
            return Missed("it is here already")
        slot = world.add_service(service, instance)
        self._later(fault.span_s + 1, lambda: slot.host and slot.host.stop())
        self._later(fault.span_s + 30, lambda: self._remove(slot))
        return f"{slot.name} joins for {fault.span_s + 1:.1f} s"

    def _remove(self, slot: Slot) -> None:
        self._world.slots.pop(slot.name, None)
        if slot.program is not None and slot.program.alive:
            slot.program.kill()
            self._later(NOTICED_S, self._rebalance)

    def _lost_ack(self, fault: Fault) -> str:
        return self._cut_append(fault, 1.0)

    def _cut(self, fault: Fault) -> str:
        return self._cut_append(fault, (fault.pick % 100) / 100)

    def _cut_append(self, fault: Fault, share: float) -> str:
        slot = self._pick(fault, fault.pick % 3 > 0)
        if slot is None or slot.line is None:
            return Missed("nobody appends")
        slot.line.cuts.append(share)
        return f"of the next append of {slot.name} {share:.0%} are stored, and it fails"

    def _log_away(self, fault: Fault) -> str:
        faults = self._world.broker.faults
        faults.away = True

        def back() -> None:
            faults.away = False
            self._world.broker.wake()

        self._later(fault.span_s, back)
        return f"the log is away for {fault.span_s:.2f} s"

    def _store_away(self, fault: Fault) -> str:
        images = self._world.images
        images.away = True
        self._later(fault.span_s, lambda: setattr(images, "away", False))
        return f"the store is away for {fault.span_s:.2f} s"

    def _store_answer_lost(self, fault: Fault) -> str:
        self._world.images.lost_answers += 1 + fault.pick % 3
        return "checkpoints are stored, and their answers lost"

    def _store_twice(self, fault: Fault) -> str:
        self._world.images.repeated += 1 + fault.pick % 3
        return "the client sends checkpoints twice"

    def _store_back(self, fault: Fault) -> str:
        how = self._world.images.rewind(fault.pick)
        return f"the store goes back in time: {how}" if how else Missed("the store has no image yet")

    def _store_gone(self, fault: Fault) -> str:
        self._world.images.wipe()
        return "the store has lost everything"

    def _inbox_away(self, fault: Fault) -> str:
        stores = list(self._world.service_stores.values())
        store = stores[fault.pick % len(stores)]
        store.inbox.away = True
        self._later(fault.span_s, lambda: setattr(store.inbox, "away", False))
        return "a service's store is away"

    def _inbox_answer_lost(self, fault: Fault) -> str:
        stores = list(self._world.service_stores.values())
        stores[fault.pick % len(stores)].lost_answers += 1 + fault.pick % 3
        return "a service's store loses answers"

    def _inbox_back(self, fault: Fault) -> str:
        """A service's store goes back in time. It is a system of record, so that this may cost repeats, and answers of
        `effect=none` that do not hold any more: only where providers honour keys and never fail (decision 0083)."""
        if self._world.scenario.pace.order_trouble:
            return Missed("nobody to strike")
        stores = [store for name, store in self._world.service_stores.items() if name != "lab"]
        how = stores[fault.pick % len(stores)].rewind(fault.pick // 7) if stores else ""
        return how or Missed("nobody to strike")

    def _service_back(self, fault: Fault) -> str:
        """A service is away so long that deadlines pass."""
        return self._down(self._pick(fault, False), 60 + LONG_GONE * fault.span_s)

    def _duplicate(self, fault: Fault) -> str:
        """Somebody publishes once more what is in the log."""
        broker = self._world.broker
        records = [
            record
            for place in broker.places(frozenset(self._world.partitions))
            if place.topic.endswith((".events", ".commands")) and place.topic != "orchestrator.events"
            for record in broker._partitions[place].records
        ]
        if not records:
            return Missed("nothing to repeat")
        chosen = records[fault.pick % len(records)]
        assert chosen.topic != INBOX and chosen.value is not None
        again = OutgoingRecord(chosen.topic, chosen.key, chosen.value, chosen.headers, chosen.partition)
        ack = broker.put_from(again, None)
        if (chosen.topic, chosen.partition, chosen.offset) in self._world.junk and ack.offset is not None:
            self._world.junk.add((*ack.place, ack.offset))
        return f"{chosen.topic}/{chosen.partition}/{chosen.offset} is published once more"
