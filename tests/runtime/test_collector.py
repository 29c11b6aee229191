"""What the cyclic garbage collector has to look at, in a program and in a cached process."""

from __future__ import annotations

import gc
import subprocess
import sys

import pytest

from contracts.record import OutgoingRecord
from operations.collector import MIDDLE_COLLECTIONS, YOUNG_COLLECTIONS, YOUNG_OBJECTS
from orchestrator.engine import process as states
from orchestrator.engine.process import Outcome, Process, Start, StepState, StoredRecord, Try, decode_process

PROGRAM = """
import gc
from operations.collector import settle_collector
settle_collector()
print(*gc.get_threshold(), gc.get_freeze_count() > 1000, gc.isenabled())
"""


def test_a_settled_program_collects_rarely_and_never_looks_at_what_it_imported() -> None:
    said = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True).stdout
    assert said.split() == [str(YOUNG_OBJECTS), str(YOUNG_COLLECTIONS), str(MIDDLE_COLLECTIONS), "True", "True"]


@pytest.mark.parametrize("kind", [kind for kind in vars(states).values() if isinstance(kind, type)])
def test_no_state_is_looked_at(kind: type) -> None:
    if issubclass(kind, states.Struct):
        assert not kind.__struct_config__.gc


def test_a_process_with_all_its_parts_is_out_of_the_collectors_sight() -> None:
    record = StoredRecord.of(OutgoingRecord("payment.commands", b"o1", b"{}", (("ce_id", b"1"),)))
    outcome = Outcome(type="payment.captured.v1", data=b"{}", try_number=1)
    tries = (Try(number=1, state="succeeded", sent_at_ms=1),)
    step = StepState(status="succeeded", tries=tries, record=record, outcome=outcome)
    start = Start(source="/s", id="1", type="orders.placed.v1", data=b"{}", fingerprint="f", traceparent="t")
    whole = Process(
        id="order-fulfilment:o1", saga="order-fulfilment", version=1, start=start, phase="running", started_at_ms=1,
        updated_at_ms=1, steps={"charge": step},
    )  # fmt: skip
    again = decode_process(states.encode_process(whole))
    assert again == whole
    gc.collect()
    assert not any(map(gc.is_tracked, (again, again.steps, again.steps["charge"], again.steps["charge"].tries)))
