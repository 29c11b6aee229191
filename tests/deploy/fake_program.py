"""Stands in for an orchestrator or a service: serves /readyz on --metrics-port, or fails in the way it is told to."""

from __future__ import annotations

import argparse
import http.server
import json
import signal
import sys
from pathlib import Path


class Ready(http.server.BaseHTTPRequestHandler):
    status = 200

    def do_GET(self) -> None:
        self.send_response(self.status if self.path == "/readyz" else 404)
        self.end_headers()
        self.wfile.write(b"waiting for stock" if self.status == 503 else b"ok")

    def log_message(self, format: str, *args: object) -> None:
        pass


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--metrics-port", type=int, required=True)
    parser.add_argument("--endpoints", type=Path, required=True)
    parser.add_argument("--fail", choices=["die", "never-ready", "ignore-term"])
    options, _ = parser.parse_known_args()
    # What the real ones do first.
    print("kafka at", json.loads(options.endpoints.read_text())["kafka"], flush=True)
    if options.fail == "die":
        sys.exit("I cannot go on")
    if options.fail == "never-ready":
        Ready.status = 503
    if options.fail == "ignore-term":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    http.server.HTTPServer(("127.0.0.1", options.metrics_port), Ready).serve_forever()


if __name__ == "__main__":
    main()
