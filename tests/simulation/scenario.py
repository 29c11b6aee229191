"""What a seed stands for: sagas and orders, a schedule of faults, and how quick and how troubled everybody is."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from random import Random

from contracts.ids import partition_of
from contracts.orders import Address, OrderLine, OrderPlaced
from contracts.topics import SHARDS
from orchestrator.engine.limiter import limiter_id
from orchestrator.language.blocks import Block, CommandStep, Subsaga, children_of
from orchestrator.language.flow import ForEach
from orchestrator.language.limits import limiter_of
from orchestrator.language.saga import Saga
from orchestrator.testkit.grammar import random_alerts, random_saga
from orchestrator.testkit.lab import Begun
from orchestrator.testkit.lab_children import ChildBegun
from orchestrator.testkit.limited import with_limits
from orchestrator.testkit.structure import count_of
from tests.simulation.chance import Chance

FAULTS_MAX = (0, 1, 2, 4, 8, 16)
LIMITED_SHARE, ALERTS_SHARE, FORGOTTEN_SHARE, SNAPSHOTS_SHARE, INTRUDER_SHARE = 0.3, 0.4, 0.2, 0.25, 0.15
"""Of the seeds: with limits, with `on_stuck`, with processes that are forgotten soon, with snapshots; and of those with
children, with one that somebody else starts."""
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
LOSSY_KINDS = ("store-gone", "store-gone", "store-back", "kill-orchestrator", "zombie", "second-orchestrator", "cut")
LOSSY_WHERE = (*WHERE, "cover", "cover, answered", "restore", "finish_restore", "snapshots, read", "set_cut_state")
"""Of the faults that strike where snapshots are taken."""


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
    intruders: tuple[ChildBegun, ...]
    """Somebody else starts what a job may start as its child."""
    holders: tuple[str, ...]
    """Processes of nobody here that take a place of a limit, and never give it back."""
    snapshots: bool
    """Orchestrators take snapshots every few seconds, and restore from them."""
    pace: Pace
    faults: tuple[Fault, ...]
    operator_actions: int

    @property
    def process_ids(self) -> tuple[str, ...]:
        orders = tuple(f"order-fulfilment:{order.order_id}" for order in self.orders)
        return (*orders, *(f"lab:{job.job_id}" for job in self.jobs))

    @property
    def shards(self) -> tuple[int, ...]:
        others = (*(f"lab:{ghost}" for ghost in self.ghosts), *self.holders, *self.limiters)
        children = [child for job in self.jobs for child in _children_of(self.saga.body, job.job_id)]
        children += [f"{saga.name}:{one.child_id}" for saga in self.children for one in self.intruders]
        return tuple(sorted({partition_of(process, SHARDS) for process in (*self.process_ids, *others, *children)}))

    @property
    def children(self) -> tuple[Saga, ...]:
        """Sagas that the saga starts processes of."""
        found = {block.child.name: block.child for block in _blocks(self.saga.body) if isinstance(block, Subsaga)}
        return tuple(found.values())

    @property
    def limiters(self) -> tuple[str, ...]:
        """Ids of the limiters that the jobs ask."""
        steps = [step for step in self.saga.steps() if isinstance(step, CommandStep)]
        limits = [*self.saga.limits, *(limit for step in steps for limit in step.limits)]
        return tuple(sorted({limiter_id(*limiter_of(limit, "lab")) for limit in limits})) if self.jobs else ()


def _blocks(block: Block) -> Iterator[Block]:
    yield block
    for child in children_of(block):
        yield from _blocks(child)


def _children_of(block: Block, job_id: str, elements: int = 0) -> Iterator[str]:
    """Ids of all processes that a job may start (the grammar's keys: see lab_children.py)."""
    if isinstance(block, Subsaga):
        name = f"{block.child.name}:{job_id}-{block.name}"
        yield from (name, *(f"{name}-{number}" for number in range(elements)))
    if isinstance(block, ForEach):
        elements = max(elements, count_of(block))
    for child in children_of(block):
        yield from _children_of(child, job_id, elements)


def scenario_of(seed: int) -> Scenario:
    chance = Chance(seed)
    random = chance.stream("scenario")
    orders, jobs = random.choice(((1, 0), (0, 1), (2, 0), (0, 2), (1, 1), (2, 2), (4, 0), (0, 4), (3, 3)))
    scenario = Scenario(
        seed=seed,
        saga=_saga(chance),
        orders=tuple(_order(random, number) for number in range(orders)),
        jobs=tuple(Begun(job_id=_near("lab", f"j{number}", random), note="") for number in range(jobs)),
        ghosts=(_near("lab", "ghost", random),) if jobs and random.random() < 0.2 else (),
        intruders=(),
        holders=(),
        snapshots=False,
        pace=_pace(random),
        faults=_faults(chance.stream("faults")),
        operator_actions=random.choice((0, 3, 8)),
    )
    return _with_others(_with_snapshots(scenario, chance.stream("lossy faults")), chance.stream("others"))


def _saga(chance: Chance) -> Saga:
    saga, random = random_saga(chance.stream("saga")), chance.stream("around the saga")
    if random.random() < LIMITED_SHARE:
        saga = with_limits(random, saga)
    if random.random() < FORGOTTEN_SHARE:
        saga = replace(saga, keep_ended=timedelta(seconds=random.choice((20, 120, 600))))
    return replace(saga, on_stuck=random_alerts(random)) if random.random() < ALERTS_SHARE else saga


def _with_others(scenario: Scenario, random: Random) -> Scenario:
    """Who else is there: takes a place, or starts what should be a child."""
    holders = [_near("lab", f"holder{number}", random) for number in range(random.choice((0, 0, 1, 3)))]
    wanted = scenario.limiters and any(one.startswith("limiter:concurrency:") for one in scenario.limiters)
    kids = [block.name for block in _blocks(scenario.saga.body) if isinstance(block, Subsaga)]
    intruders: list[ChildBegun] = []
    if kids and scenario.jobs and random.random() < INTRUDER_SHARE:
        job_id = random.choice(scenario.jobs).job_id
        intruders.append(ChildBegun(child_id=f"{job_id}-{random.choice(kids)}", job_id=job_id))
    return replace(
        scenario,
        holders=tuple(f"lab:{holder}" for holder in holders) if wanted else (),
        intruders=tuple(intruders),
    )


def _with_snapshots(scenario: Scenario, random: Random) -> Scenario:
    """For a share of the seeds: with faults that concern the store and its owners."""
    if random.random() >= SNAPSHOTS_SHARE:
        return scenario
    faults = [
        Fault(
            at=random.randrange(10, 3 * random.choice(HORIZON)),
            kind=random.choice(LOSSY_KINDS),
            where=random.choice(LOSSY_WHERE),
            pick=random.randrange(1_000),
            span_s=random.choice((0.1, 1.0, 10.0, 45.0)),
        )
        for _ in range(random.choice((2, 5, 10)))
    ]
    both = sorted((*scenario.faults[:4], *faults), key=lambda fault: fault.at)
    return replace(scenario, snapshots=True, faults=tuple(both))


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
