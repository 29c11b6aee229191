"""The laboratory's automation: real handlers of the real SDK over a provider that honours no keys."""

from __future__ import annotations

from contracts.catalog import standard_catalog
from orchestrator.testkit.lab import Begun, Do, Done, DoneElse, Refused, Revert, Reverted, Told
from orchestrator.testkit.lab_children import ChildBegun
from orchestrator.testkit.lab_waits import Arrived, Halted, Noticed
from services.sdk import Delivery, Service
from services.sdk.retry import Retry
from tests.simulation.outside import LabProvider

CATALOG = standard_catalog().including(
    [Arrived, Begun, ChildBegun, Do, Done, DoneElse, Halted, Noticed, Refused, Revert, Reverted, Told]
)
service = Service("lab", contexts=("lab",), catalog=CATALOG)


@service.handles(Do, retry=Retry(attempts=2, first=0.5), unfinished="unknown", timeout_s=150.0)
async def do(command: Do, provider: LabProvider, delivery: Delivery) -> Done | Refused:
    return await provider.do(command.job_id, command.step, delivery.idempotency_key)


@service.handles(Revert, retry=Retry(attempts=2, first=0.5), unfinished="repeat", timeout_s=150.0)
async def revert(command: Revert, provider: LabProvider, delivery: Delivery) -> Reverted:
    await provider.revert(delivery.undoes, delivery.idempotency_key)
    return Reverted(job_id=command.job_id, step=command.step)
