"""Pictures of sagas: valid, complete, and those in the documents up to date."""

from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path
from xml.etree import ElementTree

from contracts.orders import OrderFulfilled, OrderPlaced
from orchestrator.language import (
    Concurrency,
    Rate,
    Saga,
    approval,
    choice,
    command,
    emit,
    fallback,
    for_each,
    otherwise,
    parallel,
    pivot,
    repeat,
    sequence,
    sleep,
    wait_for,
    when,
)
from orchestrator.language.draw import Label, draw_mermaid, duration_text, label_of
from orchestrator.language.draw_svg import WIDTH_MIN, draw_svg
from orchestrator.sagas import all_sagas
from orchestrator.sagas.order_fulfilment import ORDER_FULFILMENT
from orchestrator.testkit import lab_children
from orchestrator.testkit.lab import lab_saga
from tests.verify.planted import saga
from tests.verify.steps import (
    cancelled,
    charge,
    create_label,
    is_large,
    lines,
    refund,
    release,
    reserve,
    reserve_line,
    void_label,
)

PICTURES = Path(__file__).resolve().parents[2] / "docs" / "pictures"
HOUR = timedelta(hours=1)
SVG = "{http://www.w3.org/2000/svg}"


def whole() -> Saga:
    """Every block once."""
    return saga(
        sequence(
            choice(
                when(is_large, approval("sign_off", role="manager <1>", limit=2 * HOUR)),
                otherwise(sleep(timedelta(minutes=5), name="cool_off")),
            ),
            for_each(lines, command(reserve_line, undo=release), bound=20, concurrency=4),
            fallback(command(charge, undo=refund), command(charge, irreversible=True, name="charge_other")),
            repeat(command(create_label, undo=void_label), until=is_large, bound=3),
            parallel(
                command(reserve, undo=release),
                wait_for(OrderFulfilled, key=lambda event: event.order_id, limit=HOUR),
            ),
            pivot(),
            command(create_label, name="second_label"),
        ),
        cancelled=emit(cancelled),
    )


def texts(svg: str) -> list[str]:
    return [node.text or "" for node in ElementTree.fromstring(svg).iter(f"{SVG}text")]


SAID = (
    "sign_off", "manager <1> approves, 2 h", "cool_off", "sleeps 5 min", "if is_large", "otherwise", "reserve_line",
    "for each of lines (at most 20, 4 at a time)", "charge", "charge_other", "ChargePayment, irreversible",
    "repeat until is_large (at most 3 times)", "OrderFulfilled", "waits for OrderFulfilled, 1 h", "point of no return",
    "second_label", "tells OrderCancelled", "completed", "OrderPlaced",
)  # fmt: skip


def test_an_svg_is_valid_and_says_everything() -> None:
    svg = draw_svg(whole())
    said = texts(svg)
    assert set(SAID) <= set(said)
    assert said.count("↺ release: ReleaseStock") == 2
    root = ElementTree.fromstring(svg)
    assert float(root.attrib["viewBox"].split()[2]) == WIDTH_MIN
    assert root.find(f"{SVG}title") is not None


def test_nothing_is_drawn_outside_of_the_picture_and_no_boxes_overlap() -> None:
    for one in (whole(), *all_sagas()):
        root = ElementTree.fromstring(draw_svg(one))
        _, _, width, height = map(float, root.attrib["viewBox"].split())
        boxes = list(_boxes(root, 0, 0))
        assert boxes
        for x, y, right, bottom in boxes:
            assert x >= 0 and y >= 0 and right <= width and bottom <= height
        for place, (x, y, right, bottom) in enumerate(boxes):
            for other_x, other_y, other_right, other_bottom in boxes[place + 1 :]:
                apart = right <= other_x or other_right <= x or bottom <= other_y or other_bottom <= y
                assert apart


def _boxes(node: ElementTree.Element, x: float, y: float) -> list[tuple[float, float, float, float]]:
    """Of steps, in the picture's coordinates."""
    moved = re.match(r"translate\((\S+) (\S+)\)", node.attrib.get("transform", ""))
    if moved:
        x, y = x + float(moved[1]), y + float(moved[2])
    found = []
    if node.attrib.get("class") in ("step", "undo"):
        left, top = x + float(node.attrib["x"]), y + float(node.attrib["y"])
        found.append((left, top, left + float(node.attrib["width"]), top + float(node.attrib["height"])))
    for child in node:
        found += _boxes(child, x, y)
    return found


def test_mermaid_says_everything_too_with_dotted_edges_to_compensations() -> None:
    drawn = draw_mermaid(whole())
    assert drawn.startswith("flowchart TD\n")
    assert "manager #lt;1#gt; approves" in drawn
    nodes = dict(re.findall(r'^    (\w+)\[+"([^"]*)"\]+', drawn, re.MULTILINE))
    by_text = {text: node for node, text in nodes.items()}
    charged, refunded = by_text["charge<br/>ChargePayment"], by_text["refund: RefundPayment"]
    assert f"{charged} -.-> {refunded}" in drawn
    assert re.search(r'\{\{"point of no return"\}\}:::pivot', drawn)
    assert "if is_large" in drawn and "2. if that fails" in drawn
    names = set(re.findall(r"^    (\w+)[\[({]", drawn, re.MULTILINE))
    edges = re.findall(r'^    (\w+) (?:-->|-\.->)(?:\|"[^"]*"\|)? (\w+)$', drawn, re.MULTILINE)
    assert edges and all({one, other} <= names for one, other in edges)


def test_the_pictures_in_the_documents_are_up_to_date() -> None:
    """Write it anew: counterpoint draw order-fulfilment --output docs/pictures/order-fulfilment.svg"""
    committed = PICTURES / f"{ORDER_FULFILMENT.name}.svg"
    assert committed.read_text(encoding="utf-8") == draw_svg(ORDER_FULFILMENT)


def test_durations_are_short() -> None:
    for time, text in (
        (timedelta(days=1, hours=2, minutes=3), "1 d 2 h"),
        (timedelta(minutes=90), "1 h 30 min"),
        (timedelta(seconds=5), "5 s"),
        (timedelta(milliseconds=250), "250 ms"),
    ):
        assert duration_text(time) == text


def test_a_large_saga_makes_the_picture_wider() -> None:
    steps = [command(charge, undo=refund, name=f"charge_{number}") for number in range(9)]
    root = ElementTree.fromstring(draw_svg(saga(parallel(*steps))))
    assert float(root.attrib["viewBox"].split()[2]) > WIDTH_MIN


def test_the_start_is_named() -> None:
    assert OrderPlaced.__name__ in texts(draw_svg(ORDER_FULFILMENT))


def test_a_subsaga_says_whose_process_it_is_and_how_it_is_undone() -> None:
    by_itself, by_command = (
        lab_children.child("ship", lab_children.child_saga()),
        lab_children.child("sure", lab_children.pivoted_child(), undo=True),
    )
    stays = lab_children.child("stay", lab_children.pivoted_child(), irreversible=True)
    assert label_of(by_itself) == Label("ship", "process of lab-child", "lab-child undoes itself")
    assert label_of(by_command) == Label("sure", "process of lab-sure", "revert: Revert")
    assert label_of(stays) == Label("stay", "process of lab-sure, irreversible")
    drawn = lab_saga(sequence(by_itself, by_command))
    for drawing in (draw_mermaid(drawn), draw_svg(drawn)):
        assert "process of lab-child" in drawing and "lab-child undoes itself" in drawing
    for drawing in (draw_mermaid(lab_children.child_saga()), draw_svg(lab_children.child_saga())):
        assert "completed, returns Done" in drawing


def test_limits_are_in_the_boxes_and_of_the_whole_saga_in_the_title() -> None:
    step = command(charge, undo=refund, limit=(Rate(100, per="minute", name="acme"), Concurrency(5)))
    limited = saga(step, limit=Concurrency(20))
    for drawn in (" ".join(texts(draw_svg(limited))), draw_mermaid(limited)):
        assert "at most 100 per minute (acme), at most 5 at once" in drawn
        assert "at most 20 at once" in drawn
    assert "at most" not in draw_mermaid(saga(command(charge, undo=refund)))
