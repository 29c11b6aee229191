"""Misbehaviour on request, and what a crash of the sandbox leaves."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Protocol

import httpx
import pytest

from deploy.local.sandbox.faults import Fault, Faults, Verdict


class Sandbox(Protocol):
    url: str
    data: Path

    def start(self) -> None: ...
    def kill(self) -> None: ...
    def stop(self, seconds: float) -> bool: ...
    def log(self) -> str: ...


def charge(client: httpx.Client, order: str, method: str = "pm_card") -> httpx.Response:
    body = {"order_id": order, "amount_cents": 5, "currency": "EUR", "payment_method": method}
    return client.post("/payment/charges", json=body, headers={"Idempotency-Key": f"{order}/charge/1"})


def ledger(client: httpx.Client, **filters: str) -> list[dict[str, Any]]:
    listed: list[dict[str, Any]] = client.get("/ledger", params=filters).json()["effects"]
    return listed


def fault(client: httpx.Client, **body: Any) -> None:
    client.post("/faults", json=body).raise_for_status()


def test_faults_are_listed_replaced_and_cleared(client: httpx.Client) -> None:
    fault(client, provider="payment", error_rate=1)
    fault(client, provider="payment", latency_ms=3)
    fault(client, provider="carrier", silent=True)
    listed = client.get("/faults").json()["faults"]
    assert [one["provider"] for one in listed] == ["carrier", "payment"]
    assert listed[1] == {
        "provider": "payment",
        "error_rate": 0.0,
        "latency_ms": 3,
        "silent": False,
        "lose_answer": False,
    }
    assert len(client.delete("/faults", params={"provider": "payment"}).json()["faults"]) == 1
    assert client.delete("/faults").json() == {"faults": []}


@pytest.mark.parametrize(
    "body", [{"provider": "nobody"}, {"provider": "payment", "error_rate": 2}, {"provider": "payment", "oops": 1}, {}]
)
def test_a_fault_that_cannot_be_is_refused(client: httpx.Client, body: dict[str, Any]) -> None:
    assert client.post("/faults", json=body).status_code == 400
    assert client.get("/faults").json() == {"faults": []}


def test_errors_do_nothing_and_are_not_stored(client: httpx.Client) -> None:
    fault(client, provider="payment", error_rate=1)
    assert [charge(client, "e1").status_code for _ in range(2)] == [503, 503]
    client.delete("/faults")
    assert charge(client, "e1").status_code == 201
    assert len(ledger(client, reference="e1")) == 1


def test_an_error_rate_hits_its_share_and_the_same_requests_in_every_run() -> None:
    def run() -> list[Verdict]:
        faults = Faults(seed=1)
        faults.put(Fault(provider="payment", error_rate=0.3))
        return [faults.judge("payment") for _ in range(1000)]

    verdicts = run()
    assert verdicts == run()
    assert 250 < sum(verdict.refused for verdict in verdicts) < 350
    assert Faults().judge("payment") == Verdict()


def test_latency_comes_before_the_work(client: httpx.Client) -> None:
    fault(client, provider="payment", latency_ms=300)
    began = time.monotonic()
    with pytest.raises(httpx.ReadTimeout), httpx.Client(base_url=client.base_url, timeout=0.1) as hasty:
        charge(hasty, "l1")
    assert ledger(client, reference="l1") == []
    assert charge(client, "l1").status_code == 201
    assert time.monotonic() - began > 0.3


def test_silence_does_nothing_and_touches_one_provider_only(client: httpx.Client) -> None:
    fault(client, provider="payment", silent=True)
    with httpx.Client(base_url=client.base_url, timeout=0.2) as hasty:
        with pytest.raises(httpx.ReadTimeout):
            charge(hasty, "s1")
        with pytest.raises(httpx.ReadTimeout):
            hasty.get("/payment/charges", params={"order_id": "s1"})
    assert client.get("/carrier/labels", params={"order_id": "s1"}).status_code == 200
    assert ledger(client, reference="s1") == []


def test_a_lost_answer_is_work_done_and_the_repeat_is_answered(client: httpx.Client, sandbox: Sandbox) -> None:
    fault(client, provider="payment", lose_answer=True)
    with pytest.raises((httpx.RemoteProtocolError, httpx.ReadError)):
        charge(client, "a1")
    assert len(ledger(client, reference="a1")) == 1
    assert charge(client, "a1").headers["Idempotency-Replayed"] == "true"
    # A declined card changes nothing, but its answer is lost as well.
    with pytest.raises((httpx.RemoteProtocolError, httpx.ReadError)):
        charge(client, "a2", "pm_declined")
    assert charge(client, "a2", "pm_declined").status_code == 402
    assert "Traceback" not in sandbox.log()


def test_a_crash_forgets_nothing(client: httpx.Client, sandbox: Sandbox) -> None:
    answer = charge(client, "c1").json()
    assert charge(client, "c2", "pm_flaky").status_code == 503
    with pytest.raises(httpx.TransportError):
        charge(client, "c3", "pm_lost")
    fault(client, provider="carrier", silent=True)
    before = ledger(client)

    sandbox.kill()
    sandbox.start()

    assert ledger(client) == before
    assert charge(client, "c1").json() == answer
    assert [charge(client, "c2", "pm_flaky").status_code for _ in range(2)] == [503, 201]
    assert charge(client, "c3", "pm_lost").status_code == 201
    assert client.get("/faults").json() == {"faults": []}
    assert len(ledger(client)) == len(before) + 1


def test_every_answer_that_left_before_a_crash_under_load_is_in_the_ledger(
    client: httpx.Client, sandbox: Sandbox
) -> None:
    answered: list[str] = []

    def keep_charging(worker: int) -> None:
        for number in range(10_000):
            try:
                charge(client, f"k{worker}-{number}").raise_for_status()
            except httpx.TransportError:
                return
            answered.append(f"k{worker}-{number}")

    with ThreadPoolExecutor(4) as pool:
        running = [pool.submit(keep_charging, worker) for worker in range(4)]
        time.sleep(0.5)
        sandbox.kill()
        for one in running:
            one.result(timeout=20)
    sandbox.start()

    listed = [effect["reference"] for effect in ledger(client, kind="charge")]
    assert answered
    assert set(answered) <= set(listed)
    assert len(listed) == len(set(listed))


def test_requests_that_are_held_do_not_hold_up_the_end(client: httpx.Client, sandbox: Sandbox) -> None:
    with ThreadPoolExecutor(1) as pool, httpx.Client(base_url=client.base_url, timeout=20) as patient:
        held = pool.submit(charge, patient, "h1", "pm_silent")
        time.sleep(0.3)
        assert sandbox.stop(8)
        with pytest.raises(httpx.TransportError):
            held.result(timeout=5)
    assert "Traceback" not in sandbox.log()
    sandbox.start()
    assert ledger(client, reference="h1") == []


def test_one_sandbox_a_folder(sandbox: Sandbox, free_port: Callable[[], int]) -> None:
    command = [sys.executable, "-m", "deploy.local.sandbox", "--port", str(free_port()), "--data", str(sandbox.data)]
    second = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    assert second.returncode == 1
    assert "another sandbox uses these books" in second.stderr
