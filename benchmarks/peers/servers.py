"""The peers' servers, each for the length of a `with`: PostgreSQL, and Restate with the program it calls."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import httpx

from benchmarks.peers.install import Installed, PeerMissing, postgres_programs

HOST = "127.0.0.1"
START_SECONDS_MAX = 60.0
STOP_SECONDS_MAX = 20.0
PROGRAM = Path(__file__).parent / "restate_program.py"


def free_ports(count: int) -> list[int]:
    """Ports that nothing listens on now."""
    with contextlib.ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind((HOST, 0))
        return [one.getsockname()[1] for one in sockets]


@contextlib.contextmanager
def postgres() -> Iterator[tuple[str, int]]:
    """URL of an empty database with default (durable) settings, and the server's pid.

    Raises PeerMissing. PostgreSQL refuses to run as root: then it runs as the user that its package has made.
    """
    programs, (port,) = postgres_programs(), free_ports(1)
    folder = Path(tempfile.mkdtemp(prefix="peers-postgres-"))
    user = _postgres_user()
    if user is not None:
        os.chown(folder, user.pw_uid, user.pw_gid)
    identity = {} if user is None else {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
    try:
        initialise = (str(programs / "initdb"), "-D", str(folder / "data"), "-U", "bench", "--auth=trust")
        subprocess.run(initialise, check=True, capture_output=True, cwd=folder, **identity)  # type: ignore[call-overload]  # one of three kinds of identity
        command = (str(programs / "postgres"), "-D", str(folder / "data"), "-p", str(port), "-h", HOST, "-k", "")
        with _running(command, folder / "log", cwd=folder, **identity) as server:
            _wait_for_port(port)
            yield f"postgresql://bench@{HOST}:{port}/postgres", server.pid
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _postgres_user() -> pwd.struct_passwd | None:
    if os.getuid() != 0:
        return None
    try:
        return pwd.getpwnam("postgres")
    except KeyError:
        raise PeerMissing("PostgreSQL does not run as root, and there is no user postgres.") from None


@contextlib.contextmanager
def restate(installed: Installed, folder: Path) -> Iterator[tuple[str, dict[str, int]]]:
    """Address of the ingress, and the pids of server and program. `folder` gets the data; emptied first."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    ingress, admin, node, service = free_ports(4)
    environment = (
        f"RESTATE_INGRESS__BIND_ADDRESS={HOST}:{ingress}",
        f"RESTATE_ADMIN__BIND_ADDRESS={HOST}:{admin}",
        f"RESTATE_BIND_ADDRESS={HOST}:{node}",
        "RESTATE_LISTEN_MODE=tcp",
        "RESTATE_DISABLE_TELEMETRY=true",
        "RESTATE_LOG_FILTER=warn",
    )
    server_command = (
        "env",
        *environment,
        str(installed.restate_server.resolve()),
        "--base-dir",
        str(folder),
        "--no-logo",
    )
    program_command = (str(installed.python), str(PROGRAM), "serve", str(service))
    with (
        _running(program_command, folder / "program.log") as program,
        _running(server_command, folder / "server.log") as running,
    ):
        _wait_for_port(service)
        _wait_for_port(admin)
        _register(f"http://{HOST}:{admin}/deployments", f"http://{HOST}:{service}")
        _wait_for_port(ingress)
        yield f"http://{HOST}:{ingress}", {"restate-server": running.pid, "program": program.pid}


def _register(admin: str, service: str) -> None:
    """Raises TimeoutError if the server does not take the program."""
    deadline = time.monotonic() + START_SECONDS_MAX
    while True:
        with contextlib.suppress(httpx.HTTPError):
            if httpx.post(admin, json={"uri": service}, timeout=10.0).is_success:
                return
        if time.monotonic() > deadline:
            raise TimeoutError(f"Restate did not take the program at {service}")
        time.sleep(0.2)


@contextlib.contextmanager
def _running(command: Sequence[str], log: Path, **options: object) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("wb") as output:
        child: subprocess.Popen[bytes] = subprocess.Popen(  # type: ignore[call-overload]  # options are passed through
            command, stdout=output, stderr=subprocess.STDOUT, **options
        )
    try:
        yield child
    finally:
        child.terminate()
        try:
            child.wait(STOP_SECONDS_MAX)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()


def _wait_for_port(port: int) -> None:
    """Raises TimeoutError."""
    deadline = time.monotonic() + START_SECONDS_MAX
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError), socket.create_connection((HOST, port), timeout=1.0):
            return
        time.sleep(0.1)
    raise TimeoutError(f"nothing listens on port {port} after {START_SECONDS_MAX:.0f} s")
