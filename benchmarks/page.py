"""`python -m benchmarks.page`: writes the tables of `docs/performance.md` from `.local/bench/report.json`.

Only what stands between the two marks of the page is replaced; the words around it are written by hand.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

BEGIN, END = "<!-- figures: begin -->", "<!-- figures: end -->"


def main(
    report: Annotated[Path, typer.Option(help="What `make bench` has written.")] = Path(".local/bench/report.json"),
    page: Annotated[Path, typer.Option(help="The page whose figures are renewed.")] = Path("docs/performance.md"),
) -> None:
    """Renew the figures of the page. Exits 1 if the page has no place for them."""
    text = page.read_text()
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        typer.echo(f"{page} lacks the line {BEGIN} or {END}", err=True)
        raise typer.Exit(1)
    figures = "\n".join(_figures(json.loads(report.read_text())))
    page.write_text(f"{before}{BEGIN}\n\n{figures}\n\n{END}{after}")


def _figures(report: dict[str, Any]) -> Iterator[str]:
    machine, flow = report["machine"], report["throughput"]
    yield (
        f"Measured {report['measured_at']} on {machine['cores']} cores, {machine['system']}, "
        f"Python {machine['python']}; {report['orders']:,} orders, one in five declined and undone."
    )
    yield ""
    yield from _table(
        ("throughput", "value"),
        [
            ("durable steps a second", f"{flow['steps_per_second']:,}"),
            ("processes a second", f"{flow['processes_per_second']:,}"),
            ("raw: the same records carried by bare clients, steps a second", f"{report['raw']['steps_per_second']:,}"),
            ("share of raw", f"{report['share_of_raw']:.0%}"),
        ],
    )
    yield ""
    used = flow["processor_us_per_step"]
    yield from _table(("processor time of one step", "µs"), [(name, f"{micros:,}") for name, micros in used.items()])
    yield ""
    yield from _table(("latency, ms", "p50", "p99", "p99.9"), list(_latencies(report["latency"])))
    if "peers" in report:
        yield ""
        yield from _table(
            ("engine", "steps a second", "process p50 / p99, ms", "settings"), list(_peers(report["peers"]))
        )


def _latencies(found: list[dict[str, Any]]) -> Iterator[tuple[str, ...]]:
    for one in found:
        rate = one["starts_per_second"]
        yield (f"whole process, {rate} starts/s", *_cells(one["process_ms"]))
        for kind, times in one["hop_ms"].items():
            yield (f"one hop through the {kind}, {rate} starts/s", *_cells(times))


def _cells(times: dict[str, int]) -> tuple[str, ...]:
    return tuple(str(times[name]) for name in ("p50", "p99", "p99.9"))


def _peers(peers: dict[str, dict[str, Any]]) -> Iterator[tuple[str, ...]]:
    for name, peer in peers.items():
        if "missing" in peer:
            yield (name, "not run", "", peer["missing"])
            continue
        light = peer["light_load"]
        took = f"{light['process_p50_ms']:.1f} / {light['process_p99_ms']:.1f}"
        yield (name, f"{peer['steps_per_second']:,}", took, peer["settings"])


def _table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> Iterator[str]:
    yield "| " + " | ".join(head) + " |"
    yield "|" + "---|" * len(head)
    for row in rows:
        yield "| " + " | ".join(row) + " |"


if __name__ == "__main__":
    typer.run(main)
