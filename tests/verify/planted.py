"""How planted sagas are checked: the one finding, and the line that a marker comment names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from contracts.orders import OrderPlaced
from orchestrator.language import Block, Saga
from orchestrator.verify import Finding, Handlers, verify_sagas


def saga(body: Block, **more: Any) -> Saga:
    return Saga(name="planted", version=1, starts_on=OrderPlaced, key=lambda order: order.order_id, body=body, **more)


def line_of(file: str, marker: str) -> int:
    """The line of `file` that ends with the comment `# <- marker`."""
    lines = Path(file).read_text(encoding="utf-8").splitlines()
    (found,) = (number for number, line in enumerate(lines, 1) if line.endswith(f"# <- {marker}"))
    return found


def only_finding(planted: Saga, file: str, marker: str, handlers: Handlers | None = None) -> Finding:
    """The saga breaks one rule once; the finding points at the marked line of the test file."""
    findings = verify_sagas([planted], handlers or Handlers.any())
    assert [str(finding) for finding in findings] == [str(findings[0])] if findings else findings
    (finding,) = findings
    assert (finding.saga, finding.file, finding.line) == (planted.name, file, line_of(file, marker))
    return finding
