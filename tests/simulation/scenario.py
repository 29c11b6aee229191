"""What a seed stands for: sagas and orders, a schedule of faults, and how quick and how troubled everybody is."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from contracts.ids import partition_of
from contracts.orders import Address, OrderLine, OrderPlaced
from contracts.topics import SHARDS
from orchestrator.language.saga import Saga
from orchestrator.testkit.grammar import random_saga
from orchestrator.testkit.lab import Begun
from tests.simulation.chance import Chance

FAULTS_MAX = (0, 1, 2, 4, 8, 16)
HORIZON = (60, 300, 900)
"""Crossings of the network within which the faults strike."""
KINDS = (
    *("kill-orchestrator",) * 5,
    *("kill-service",) * 4,
    *("zombie",) * 3,
    *("second-orchestrator",) * 3,
    *("second-replica",) * 2,
    *("lost-ack", "lost-ack", "cut", "cut"),
    *("log-away", "store-away", "store-answer-lost", "store-twice"),
    *("store-back",) * 4,
    *("store-gone",) * 2,
    *("inbox-away", "inbox-answer-lost", "inbox-back", "inbox-back"),
    *("duplicate",) * 3,
    *("junk",) * 2,
    *("stop-orchestrator", "stop-service", "service-long-gone", "service-back"),
)
WHERE = (
    *("",) * 6,
    *("append", "append, acknowledged", "checkpoint", "checkpoint, answered", "commit", "commit, acknowledged"),
    *("timers, found", "timers, found", "load", "load, answered", "positions, answered", "poll"),
    *("exchange", "exchange, answered", "provider", "provider, answered", "inbox take"),
)
"""Between which two awaits: the crossing that a fault waits for."""


@dataclass(frozen=True, slots=True)
class Fault:
    """It strikes at the first crossing of the network from number `at` on that is of the kind `where` (empty: any), and
    then whoever is crossing, if it can. Else `pick` chooses the victim. `span_s` is how long it lasts."""

    at: int
    kind: str
    where: str
    pick: int
    span_s: float

    def __str__(self) -> str:
        where = f" of the kind {self.where!r}" if self.where else ""
        return f"{self.kind} at crossing {self.at}{where} ({self.span_s:.1f} s, pick {self.pick})"


@dataclass(frozen=True, slots=True)
class Pace:
    """Intervals of the loops, in seconds, and how troubled participants are."""

    checkpoint_s: float
    clock_s: float
    commit_s: float
    drain_s: float
    concurrency: int
    cache: int
    segment_inputs: int
    touched: int
    room: int
    timers: int
    """Limits of the product that a small world would never reach: inputs of a checkpoint, processes that a replay
    remembers, inputs not yet stored, timers of a shard under way."""
    lab_trouble: float
    order_trouble: float
    sloppy: float
    """How often somebody publishes a record of a domain topic once more, later."""
    broker_jitter_ms: int
    """The broker's clock may step back so far."""
    talk: int
    """How much is said to processes that nobody has asked for."""
    kept_s: float
    """How long an early message waits for its process."""


@dataclass(frozen=True, slots=True)
class Scenario:
    """`replace(scenario, faults=...)` is how a failing run is shrunk."""

    seed: int
    saga: Saga
    orders: tuple[OrderPlaced, ...]
    jobs: tuple[Begun, ...]
    ghosts: tuple[str, ...]
    """Jobs that people speak of, and that never begin."""
    pace: Pace
    faults: tuple[Fault, ...]
    operator_actions: int

    @property
    def process_ids(self) -> tuple[str, ...]:
        orders = tuple(f"order-fulfilment:{order.order_id}" for order in self.orders)
        return (*orders, *(f"lab:{job.job_id}" for job in self.jobs))

    @property
    def shards(self) -> tuple[int, ...]:
        processes = (*self.process_ids, *(f"lab:{ghost}" for ghost in self.ghosts))
        return tuple(sorted({partition_of(process, SHARDS) for process in processes}))


def scenario_of(seed: int) -> Scenario:
    chance = Chance(seed)
    random = chance.stream("scenario")
    orders, jobs = random.choice(((1, 0), (0, 1), (2, 0), (0, 2), (1, 1), (2, 2), (4, 0), (0, 4), (3, 3)))
    return Scenario(
        seed=seed,
        saga=random_saga(chance.stream("saga")),
        orders=tuple(_order(random, number) for number in range(orders)),
        jobs=tuple(Begun(job_id=_near("lab", f"j{number}", random), note="") for number in range(jobs)),
        ghosts=(_near("lab", "ghost", random),) if jobs and random.random() < 0.2 else (),
        pace=_pace(random),
        faults=_faults(chance.stream("faults")),
        operator_actions=random.choice((0, 3, 8)),
    )


def _near(saga: str, name: str, random: Random) -> str:
    """A key whose process lives on one of two shards: what shares a shard shares its faults."""
    wanted = random.choice((7, 7, 40))
    number = next(n for n in range(10_000) if partition_of(f"{saga}:{name}-{n}", SHARDS) == wanted)
    return f"{name}-{number}"


def _pace(random: Random) -> Pace:
    return Pace(
        checkpoint_s=random.choice((0.05, 0.3, 1.0)),
        clock_s=random.choice((0.3, 1.0, 2.0)),
        commit_s=random.choice((0.5, 2.0)),
        drain_s=random.choice((0.3, 5.0)),
        concurrency=random.choice((1, 4, 256)),
        cache=random.choice((1, 1_000)),
        segment_inputs=random.choice((1, 3, 256)),
        touched=random.choice((0, 10_000)),
        room=random.choice((0, 3, 50_000)),
        timers=random.choice((1, 100)),
        lab_trouble=random.choice((0.0, 0.15, 0.5, 0.7)),
        order_trouble=random.choice((0.0, 0.0, 0.15, 0.4)),
        sloppy=random.choice((0.0, 0.0, 0.05, 0.3)),
        broker_jitter_ms=random.choice((0, 0, 40)),
        talk=random.choice((0, 1, 1, 2)),
        kept_s=random.choice((5.0, 60.0, 60.0)),
    )


def _faults(random: Random) -> tuple[Fault, ...]:
    horizon, kinds = random.choice(HORIZON), random.sample(KINDS, random.choice((2, 5, 12)))
    faults = [
        Fault(
            at=random.randrange(10, horizon),
            kind=random.choice(kinds),
            where=random.choice(WHERE),
            pick=random.randrange(1_000),
            span_s=_span_s(random),
        )
        for _ in range(random.choice(FAULTS_MAX))
    ]
    return tuple(sorted(faults, key=lambda fault: fault.at))


def _span_s(random: Random) -> float:
    return random.choice((0.01, 0.1, 1.0, 10.0, 45.0)) * (0.5 + random.random())


def _order(random: Random, number: int) -> OrderPlaced:
    sku = random.choice(("milk", "milk", "scarce", "absent-tea"))
    quantity, price = random.choice((1, 2, 3)), 100 * (number + 1)
    return OrderPlaced(
        order_id=_near("order-fulfilment", f"o{number}", random),
        customer_id="c1",
        lines=(OrderLine(sku=sku, quantity=quantity, unit_price_cents=price),),
        total_cents=quantity * price,
        currency="USD",
        ship_to=Address(
            name="Ada",
            street="1 Elm Street",
            city="Dayton",
            postal_code="00000" if random.random() < 0.1 else "45402",
            country="US",
        ),
        payment_method="pm_declined" if random.random() < 0.1 else "pm_card",
    )
