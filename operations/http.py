"""`/metrics`, `/healthz` and `/readyz` of one OS process, served from a thread so that a busy event loop still answers.

`/healthz` answers 200 while the program's main loop is alive; `/readyz` answers 200 once it does its work, else 503
with the reason in one line.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import TYPE_CHECKING, Self
from wsgiref.simple_server import WSGIRequestHandler, make_server

from prometheus_client import CollectorRegistry, make_wsgi_app

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

Probe = Callable[[], str | None]
"""Returns None if all is well, else what is not, in one line."""


class _QuietHandler(WSGIRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        """A scrape every few seconds is not news."""


class OperationsServer:
    """Serves until closed. `port=0` picks a free one; `url` says which."""

    def __init__(
        self,
        registry: CollectorRegistry,
        *,
        health: Probe,
        ready: Probe,
        port: int,
        host: str = "127.0.0.1",
    ) -> None:
        self._server = make_server(host, port, _application(registry, health, ready), handler_class=_QuietHandler)
        self._thread = threading.Thread(target=self._server.serve_forever, name="operations-http", daemon=True)
        self.url = f"http://{host}:{self._server.server_port}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def _application(registry: CollectorRegistry, health: Probe, ready: Probe) -> WSGIApplication:
    metrics: WSGIApplication = make_wsgi_app(registry)
    probes = {"/healthz": health, "/readyz": ready}

    def application(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        path = environ.get("PATH_INFO", "/")
        if path == "/metrics":
            return metrics(environ, start_response)
        probe = probes.get(path)
        if probe is None:
            start_response("404 Not Found", [("Content-Type", "text/plain")])
            return [b"only /metrics, /healthz and /readyz are here\n"]
        problem = probe()
        start_response("200 OK" if problem is None else "503 Service Unavailable", [("Content-Type", "text/plain")])
        return [f"{problem or 'ok'}\n".encode()]

    return application
