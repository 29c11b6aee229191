"""`counterpoint draw`: pictures, without a stack."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from orchestrator.language.draw import draw_mermaid
from orchestrator.language.draw_svg import draw_svg
from orchestrator.sagas.order_fulfilment import ORDER_FULFILMENT


def test_a_picture_is_printed(counterpoint: Any) -> None:
    result = counterpoint("draw", "order-fulfilment")
    assert (result.exit_code, result.stdout) == (0, draw_svg(ORDER_FULFILMENT))
    ElementTree.fromstring(result.stdout)
    mermaid = counterpoint("draw", "order-fulfilment", "--format", "mermaid")
    assert mermaid.stdout == draw_mermaid(ORDER_FULFILMENT)


def test_or_written_to_a_file(counterpoint: Any, tmp_path: Path) -> None:
    file = tmp_path / "saga.svg"
    result = counterpoint("draw", "order-fulfilment", "--output", str(file))
    assert (result.exit_code, result.stdout) == (0, "")
    assert file.read_text(encoding="utf-8") == draw_svg(ORDER_FULFILMENT)
    result = counterpoint("draw", "order-fulfilment", "--output", str(tmp_path))
    assert result.exit_code == 1
    assert "cannot be written" in result.stderr


def test_json_has_the_picture(counterpoint: Any) -> None:
    found = json.loads(counterpoint("draw", "order-fulfilment", "--json").stdout)
    assert found == {"saga": "order-fulfilment", "format": "svg", "picture": draw_svg(ORDER_FULFILMENT)}


def test_an_unknown_saga_or_format(counterpoint: Any) -> None:
    result = counterpoint("draw", "order-fulfillment")
    assert result.exit_code == 3
    assert "there is no saga order-fulfillment; there are order-fulfilment" in result.stderr
    assert counterpoint("draw", "order-fulfilment", "--format", "png").exit_code == 2
