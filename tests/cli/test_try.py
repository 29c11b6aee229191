"""`try`: a saga step by step in memory, recorded sessions, and histories replayed against another definition."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from contracts.orders import OrderCancelled, OrderPlaced
from contracts.payment import ChargePayment
from orchestrator.cli.try_saga import split_answers
from orchestrator.language import Retry, Saga, Signal, approval, command, parallel, pivot, sequence, wait_for
from orchestrator.rehearsal.acts import Approval, SessionError, read_session
from orchestrator.rehearsal.sample import NoSample, sample
from orchestrator.sagas.order_fulfilment import (
    ORDER_FULFILMENT,
    charge,
    create_label,
    dispatch,
    refund,
    release,
    reserve,
    void_label,
)
from tests.cli.conftest import ORDER

SAGA = "order-fulfilment"
FAILS = (
    'success reserve; refusal charge; success create_label {"label_id": "L;9"};'
    " success reserve/undo; success create_label/undo"
)


@pytest.fixture
def order(tmp_path: Path) -> str:
    file = tmp_path / "order.json"
    file.write_bytes(ORDER.to_json())
    return str(file)


def overcharge(order: OrderPlaced) -> ChargePayment:
    """One cent too much."""
    return ChargePayment(
        order_id=order.order_id,
        amount_cents=order.total_cents + 1,
        currency=order.currency,
        payment_method=order.payment_method,
    )


def changed(**steps: Any) -> Saga:
    """The order saga with other steps of the same names, as version 2."""
    found = {
        "reserve": command(reserve, undo=release),
        "charge": command(charge, undo=refund, retry=Retry(attempts=5)),
        "create_label": command(create_label, undo=void_label),
    } | steps
    last = replace(ORDER_FULFILMENT.body, children=(parallel(*found.values()), *ORDER_FULFILMENT.body.children[1:]))  # type: ignore[type-var,union-attr,call-arg]
    return replace(ORDER_FULFILMENT, version=2, body=last)


def test_the_first_step_shows_commands_what_is_awaited_and_what_would_be_undone(counterpoint: Any, order: str) -> None:
    text = counterpoint("try", SAGA, "--start", order, stdin="success reserve\nquit\n").stdout
    assert '"amount_cents": 300' in text and '"payment_method": "pm_card"' in text
    assert "waiting for charge, sent 100 ms ago" in text
    assert "next timer, in 29.9 s: no answer from charge (charge/silence)" in text
    first, second = (line for line in text.splitlines() if line.startswith("if it gave up now"))
    assert first.endswith("reserve and charge and create_label, if it turns out to be done")
    assert "undo of reserve (inventory.release.v1), then charge and create_label" in second


def test_answers_end_it_and_the_payloads_follow_the_contracts(counterpoint: Any, order: str) -> None:
    found = counterpoint.json("try", SAGA, "--start", order, "--answers", FAILS)
    assert (found["process"]["phase"], found["process"]["step"]) == ("compensated", "charge")
    bodies = {entry["input"]["type"]: entry["input"]["data"] for entry in found["history"]}
    assert bodies["inventory.reserved.v1"]["lines"] == [{"sku": "milk", "quantity": 2, "warehouse": "warehouse-1"}]
    assert bodies["shipping.label-created.v1"]["label_id"] == "L;9"
    assert found["awaited"] == [] and found["would_undo"]["undos"] == []


def test_silence_lets_time_pass_to_the_next_timer_or_until_the_step_is_given_up(counterpoint: Any, order: str) -> None:
    once = counterpoint.json("try", SAGA, "--start", order, "--answers", "silence")
    assert [one["of"] for one in once["awaited"]] == ["reserve/1", "charge/1", "create_label/1"]
    assert once["history"][-1]["input"]["data"]["timer_id"] == "charge/silence"
    text = "success reserve; success create_label; silence charge; success charge/undo; success reserve/undo"
    given_up = counterpoint.json("try", SAGA, "--start", order, "--answers", f"{text}; success create_label/undo")
    assert (given_up["process"]["phase"], given_up["process"]["reason"]) == ("compensated", "silent")
    late = counterpoint.json(
        "try", SAGA, "--start", order, "--answers", f"{text}; success create_label/undo; late charge"
    )
    assert [one["of"] for one in late["awaited"]] == ["charge/undo/2"]


def test_a_failure_with_unknown_effect_is_undone_and_one_without_effect_is_tried_again(
    counterpoint: Any, order: str
) -> None:
    unknown = counterpoint.json("try", SAGA, "--start", order, "--answers", "failure charge unknown")
    assert "charge/undo/1" in [one["of"] for one in unknown["awaited"]]
    again = counterpoint.json(
        "try", SAGA, "--start", order, "--answers", "failure charge none; silence; success charge/2"
    )
    assert [one["of"] for one in again["awaited"]] == ["reserve/1", "create_label/1"]
    final = counterpoint.json("try", SAGA, "--start", order, "--answers", "failure charge none final")
    assert final["process"]["phase"] == "compensating"


def test_an_operator_decides_about_a_stuck_process(counterpoint: Any, order: str) -> None:
    stuck = "success reserve; success charge; success create_label; failure dispatch none final"
    found = counterpoint.json("try", SAGA, "--start", order, "--answers", stuck)
    assert (list(found["stuck"]), found["would_undo"]["past_pivot"]) == (["dispatch"], True)
    retried = counterpoint.json("try", SAGA, "--start", order, "--answers", f"{stuck}; retry; success")
    assert retried["process"]["phase"] == "completed"
    outcome = (
        '{"order_id":"o1","label_id":"l","tracking_number":"t","carrier":"c","dispatched_at":"2026-01-01T00:00:00Z"}'
    )
    skipped = counterpoint.json("try", SAGA, "--start", order, "--answers", f"{stuck}; skip dispatch {outcome}")
    assert skipped["process"]["phase"] == "completed"
    bad = counterpoint("try", SAGA, "--start", order, "--answers", f'{stuck}; skip dispatch {{"order_id": 7}}')
    assert bad.exit_code == 1 and "order_id: Input should be a valid string" in bad.stderr


def test_cancelling_undoes_everything(counterpoint: Any, order: str) -> None:
    found = counterpoint.json("try", SAGA, "--start", order, "--answers", "success reserve; cancel")
    assert found["process"]["phase"] == "compensating"


def test_a_person_is_told_what_cannot_be_and_asked_again(counterpoint: Any, order: str) -> None:
    person = counterpoint.changed(interactive=True)
    said = 'dance\nsuccess\nlate charge\nsuccess nobody\nsuccess charge {oops\nsuccess charge {"amount_cents": "x"}\n'
    result = person("try", SAGA, "--start", order, stdin=f"{said}help\nstate\nrefusal dispatch\nquit\n")
    assert result.exit_code == 0
    for part in (
        "what is 'dance'?",
        "which command? Awaited: reserve/1, charge/1, create_label/1",
        "which command? Not awaited any more: none",
        "this cannot be read",
        "amount_cents: Input should be a valid integer",
        "a technical failure; final",
        "try> ",
    ):
        assert part in result.stderr, f"{part}\n{result.stderr}"


def test_without_a_person_the_first_nonsense_ends_it(counterpoint: Any, order: str) -> None:
    for said in ("success dispatch", "event x", "signal x", "approve", "retry", "silence dispatch", "late"):
        result = counterpoint("try", SAGA, "--start", order, "--answers", said, "--json")
        assert (result.exit_code, result.stdout) == (1, ""), said
        assert f"{said}: " in result.stderr


def test_what_is_tried_must_be_said_once_and_be_there(counterpoint: Any, order: str, tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.json"
    wrong.write_text('{"order_id": "a:b"}')
    for words, code, part in (
        ([SAGA], 2, "one of --start"),
        ([SAGA, "--start", "-"], 2, "with --answers"),
        ([SAGA, "--script", order, "--answers", "x"], 2, "--answers go with --start"),
        ([SAGA, "--start", str(tmp_path / "none.json")], 2, "cannot be read"),
        ([SAGA, "--start", str(wrong)], 1, "this is no orders.placed.v1: order_id: "),
        (["moon-landing", "--start", order], 3, "there is no saga moon-landing"),
        ([SAGA, "--start", order, "--version", "7"], 3, "there is no version 7"),
        ([SAGA, "--script", order], 1, "this is no recorded session: line 1"),
        ([SAGA, "--recorded", order], 1, "not what `counterpoint show --json` prints"),
    ):
        result = counterpoint("try", *words)
        assert result.exit_code == code and part in result.stderr, (words, result.stderr)


# Recorded sessions.


def test_a_recorded_session_ends_as_it_did(counterpoint: Any, order: str, tmp_path: Path) -> None:
    session = tmp_path / "session.jsonl"
    assert counterpoint("try", SAGA, "--start", order, "--answers", FAILS, "--record", str(session)).exit_code == 0
    lines = [json.loads(line) for line in session.read_text().splitlines()]
    assert (lines[0]["do"], lines[-1]["do"], lines[-1]["phase"]) == ("start", "end", "compensated")
    played = counterpoint("try", SAGA, "--script", str(session))
    assert (played.exit_code, played.stdout) == (0, "compensated: as recorded (6 acts)\n")
    assert counterpoint.json("try", SAGA, "--script", str(session))["differences"] == []


def test_a_session_that_ends_otherwise_says_how(counterpoint: Any, order: str, tmp_path: Path) -> None:
    session = tmp_path / "session.jsonl"
    counterpoint("try", SAGA, "--start", order, "--answers", FAILS, "--record", str(session))
    with_retry = changed(charge=command(charge, undo=refund, retry=Retry(on=(ChargePayment.refuses[0],))))
    result = counterpoint.changed(sagas=(ORDER_FULFILMENT, with_retry))("try", SAGA, "--script", str(session))
    assert result.exit_code == 1
    assert "ends otherwise with order-fulfilment version 2" in result.stderr
    assert "no command reserve/undo/1 was sent" in result.stderr
    irreversible = changed(
        charge=command(charge, irreversible=True, name="charge"), create_label=command(create_label, irreversible=True)
    )
    short = tmp_path / "short.jsonl"
    short.write_text(session.read_text().splitlines(keepends=True)[0] + '{"do":"end","phase":"completed"}\n')
    told = counterpoint.changed(sagas=(irreversible,))("try", SAGA, "--script", str(short))
    assert "phase: 'completed' was recorded, now it is 'running'" in told.stderr
    assert "message 1: none was recorded, now it is inventory.reserve.v1 order-fulfilment:o1/reserve/1" in told.stderr


def test_a_session_is_read_strictly() -> None:
    start = '{"do":"start","saga":"s","version":1,"data":{}}'
    for text in (
        "",
        '{"do":"silence","timer":"t"}',
        f"{start}\n{start}",
        f'{start}\n{{"do":"dance"}}',
        f'{start}\n{{"do":"cancel","x":1}}',
    ):
        with pytest.raises(SessionError):
            read_session(text.encode())
    acts, end = read_session(f"{start}\n\n".encode())
    assert (len(acts), end) == (1, None)


# Histories.


@pytest.mark.parametrize("story", ["running", "compensated", "stuck_past_pivot", "stuck_undo"])
def test_a_history_is_the_same_under_the_same_definition(
    counterpoint: Any, world: Any, tmp_path: Path, story: str
) -> None:
    shown = tmp_path / "show.json"
    shown.write_text(json.dumps(counterpoint.json("show", getattr(world, story)())))
    result = counterpoint("try", SAGA, "--recorded", str(shown))
    assert result.exit_code == 0, result.stderr
    assert "the same: " in result.stdout


def test_a_history_against_a_changed_definition_tells_the_fields(counterpoint: Any, world: Any, tmp_path: Path) -> None:
    shown = tmp_path / "show.json"
    shown.write_text(json.dumps(counterpoint.json("show", world.compensated())))
    other = counterpoint.changed(
        sagas=(ORDER_FULFILMENT, changed(charge=command(overcharge, undo=refund, name="charge")))
    )
    result = other("try", SAGA, "--recorded", str(shown))
    assert result.exit_code == 1
    assert "version 2 does something else than order-fulfilment:o1 did" in result.stderr
    assert "#0 orders.placed.v1: charge/1 amount_cents: recorded 300, now 301" in result.stderr
    assert other("try", SAGA, "--recorded", str(shown), "--version", "1").exit_code == 0
    missing = counterpoint.changed(sagas=(changed(create_label=command(create_label, undo=void_label, name="label")),))
    result = missing("try", SAGA, "--recorded", str(shown), "--json")
    steps = {(one["step"], one["recorded"], one["now"]) for one in json.loads(result.stdout)}
    assert ("create_label/1", "shipping.create-label.v1 is sent", "nothing") in steps
    assert ("label/1", "nothing", "shipping.create-label.v1 is sent") in steps
    assert any(one["field"] == "result" for one in json.loads(result.stdout))


def test_another_sagas_history_is_refused(counterpoint: Any, world: Any, tmp_path: Path) -> None:
    shown = tmp_path / "show.json"
    shown.write_text(json.dumps(counterpoint.json("show", world.running())))
    other = counterpoint.changed(sagas=(replace(ORDER_FULFILMENT, name="restock"),))
    result = other("try", "restock", "--recorded", str(shown))
    assert result.exit_code == 1 and "is a process of order-fulfilment, not of restock" in result.stderr


# Blocks that wait.


class GoodsSeen(Signal, name="goods-seen"):
    pallets: int


class Decision(BaseModel):
    limit_cents: int


def test_signals_and_approvals_are_given_at_the_prompt(counterpoint: Any, order: str) -> None:
    waits = Saga(
        name="waits",
        version=1,
        starts_on=OrderPlaced,
        key=lambda order: order.order_id,
        body=sequence(
            wait_for(GoodsSeen, limit=timedelta(hours=1), name="goods"),
            approval("release-it", role="clerk", limit=timedelta(hours=1), form=Decision),
            pivot(),
            command(dispatch, name="dispatch", irreversible=True),
        ),
    )
    body = waits.body.children[:2]  # type: ignore[union-attr]
    waits = replace(waits, body=sequence(*body))
    careful = counterpoint.changed(sagas=(waits,))
    said = 'signal goods-seen {"pallets": 3}; approve release-it'
    found = careful.json("try", "waits", "--start", order, "--answers", said)
    assert found["process"]["phase"] == "completed"
    assert found["history"][-1]["input"]["data"]["form"] == {"limit_cents": 1}
    assert careful.json("try", "waits", "--start", order, "--answers", "state")["waiting"] == ["goods"]
    rejected = careful.json("try", "waits", "--start", order, "--answers", "signal goods-seen; reject release-it")
    assert rejected["process"]["phase"] == "compensated"


def test_an_approval_by_the_wrong_role_is_ignored_and_the_answer_says_so(counterpoint: Any, order: str) -> None:
    soon = approval("sign_off", role="manager", limit=timedelta(hours=2), escalation=(timedelta(hours=1), "director"))
    saga = Saga(name="signed", version=1, starts_on=OrderPlaced, key=lambda order: order.order_id, body=soon)
    careful = counterpoint.changed(sagas=(saga,))
    text = careful("try", "signed", "--start", order, "--answers", "approve sign_off as clerk").stdout
    assert "manager decides at sign_off: say approve sign_off or reject sign_off" in text
    assert "ignored, wrong-role: this role may not decide here" in text and text.count("manager decides") == 2
    early = careful.json("try", "signed", "--start", order, "--answers", "approve as director")
    assert (early["history"][-1]["reason"], early["deciding"]) == ("wrong-role", {"sign_off": ["manager"]})
    late = "silence; reject sign_off as clerk; approve sign_off as director"
    found = careful.json("try", "signed", "--start", order, "--answers", late)
    assert [entry["reason"] for entry in found["history"]] == [None, None, "wrong-role", None]
    assert (found["process"]["phase"], found["deciding"]) == ("completed", {})
    assert found["history"][-1]["input"]["data"]["roles"] == ["director"]
    whom = careful("try", "signed", "--start", order, "--answers", "approve sign_off as")
    assert (whom.exit_code, "Write: as ROLE" in whom.stderr) == (1, True)


def test_a_role_is_kept_in_a_recorded_session(counterpoint: Any, order: str, tmp_path: Path) -> None:
    signed = approval("sign_off", role="manager", limit=timedelta(hours=2), form=Decision)
    saga = Saga(name="signed", version=1, starts_on=OrderPlaced, key=lambda order: order.order_id, body=signed)
    careful, session = counterpoint.changed(sagas=(saga,)), tmp_path / "session.jsonl"
    said = 'approve sign_off as clerk {"limit_cents": 7}; approve sign_off as manager {"limit_cents": 8}'
    careful("try", "signed", "--start", order, "--answers", said, "--record", str(session))
    acts, end = read_session(session.read_bytes())
    assert [(act.role, act.form) for act in acts if isinstance(act, Approval)] == [
        ("clerk", {"limit_cents": 7}),
        ("manager", {"limit_cents": 8}),
    ]
    assert end is not None and end.phase == "completed"
    assert careful("try", "signed", "--script", str(session)).exit_code == 0
    session.write_text(session.read_text().replace('"role":"manager"', '"role":"clerk"'))
    assert careful("try", "signed", "--script", str(session)).exit_code == 1


def test_an_event_may_call_the_process_off(counterpoint: Any, order: str, tmp_path: Path) -> None:
    called_off = replace(ORDER_FULFILMENT, cancelled_by=(OrderCancelled, lambda event: event.order_id))
    careful = counterpoint.changed(sagas=(called_off,))
    said = "success reserve; event orders.cancelled.v1"
    found = careful.json("try", SAGA, "--start", order, "--answers", said)
    assert found["process"]["phase"] == "compensating"
    shown = tmp_path / "show.json"
    shown.write_text(json.dumps(found["process"] | {"history": found["history"]}))
    assert careful("try", SAGA, "--recorded", str(shown)).exit_code == 0


# Payloads from contracts.


def test_answers_are_split_outside_of_json() -> None:
    assert list(split_answers('a; b {"x": "};\\";"} ;; c\nd')) == ["a", 'b {"x": "};\\";"}', "c", "d"]


def test_a_sample_repeats_what_is_known_and_says_what_does_not_fit() -> None:
    known = ({"order_id": "o7", "amount_cents": "not a number"}, {"currency": "EUR"})
    made = sample(ChargePayment, known, "2026-01-01T00:00:00.000Z")
    assert made == {"order_id": "o7", "amount_cents": 1, "currency": "EUR", "payment_method": "payment_method-1"}
    with pytest.raises(NoSample, match="amount_cents"):
        sample(ChargePayment, known, "2026-01-01T00:00:00.000Z", {"amount_cents": -1})
