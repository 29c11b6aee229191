"""What the peers need, fetched once into one folder: a Python environment of their own, and Restate's server."""

from __future__ import annotations

import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
RESTATE_SERVER = "@restatedev/restate-server@1.7.12"
POSTGRES_FOLDERS = Path("/usr/lib/postgresql")
"""Where Debian's packages put each version's programs, which are not on the PATH."""


class PeerMissing(Exception):
    """A peer cannot be run on this machine; the message says what to install."""


@dataclass(frozen=True, slots=True)
class Installed:
    python: Path
    restate_server: Path


def install(folder: Path) -> Installed:
    """Raises PeerMissing, or subprocess.CalledProcessError if an installer fails (its output is on the screen)."""
    python = folder / "venv/bin/python"
    stamp = folder / "venv/.installed"
    requirements = HERE / "requirements.txt"
    if not stamp.exists() or stamp.read_bytes() != requirements.read_bytes():
        subprocess.run((sys.executable, "-m", "venv", str(folder / "venv")), check=True)
        wanted = ("--require-hashes", "-r", str(requirements))
        pip = (str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check")
        subprocess.run((*pip, *wanted), check=True)
        stamp.write_bytes(requirements.read_bytes())
    if not _restate_servers(folder):
        if shutil.which("npm") is None:
            raise PeerMissing("Restate's server comes from npm, which is not on the PATH; install Node.js.")
        npm = ("npm", "install", "--no-audit", "--no-fund", "--loglevel=error", "--prefix", str(folder / "node"))
        subprocess.run((*npm, RESTATE_SERVER), check=True)
    return Installed(python, _restate_servers(folder)[0])


def _restate_servers(folder: Path) -> list[Path]:
    """The server itself, of this machine's kind; the package's own command only starts it."""
    return list(folder.glob("node/node_modules/@restatedev/restate-server-*/bin/restate-server"))


def postgres_programs() -> Path:
    """The folder with `initdb` and `postgres`, of the newest version. Raises PeerMissing."""
    on_path = shutil.which("initdb")
    if on_path is not None:
        return Path(on_path).parent
    versions = sorted(POSTGRES_FOLDERS.glob("*/bin/initdb"), key=lambda found: float(found.parts[-3]))
    if not versions:
        raise PeerMissing("DBOS needs PostgreSQL, which is not here; install Debian's package postgresql.")
    return versions[-1].parent
