"""The broker's jars: fetched once with Maven, checked against `jars.sha256`, kept in a cache that all stacks share."""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

from deploy.local.errors import StackError
from deploy.local.locking import held

HERE = Path(__file__).parent
POM = HERE / "pom.xml"
CHECKSUMS = HERE / "jars.sha256"
FETCH_SECONDS = 600
SIZE_MB = 45


def kafka_version() -> str:
    """Return the broker version that pom.xml names."""
    found = re.search(r"<artifactId>kafka_2\.13</artifactId>\s*<version>([^<]+)<", POM.read_text())
    if found is None:
        raise StackError(f"{POM} names no version of kafka_2.13.")
    return found.group(1)


def jars_folder(cache: Path) -> Path:
    """Return where the jars of exactly this pom.xml and these checksums belong."""
    digest = hashlib.sha256(POM.read_bytes() + CHECKSUMS.read_bytes()).hexdigest()[:8]
    return cache / f"kafka-{kafka_version()}-{digest}"


def ensure_jars(cache: Path, java: str, say: Callable[[str], None]) -> Path:
    """Return the folder of the jars, fetching them if they are not there yet.

    Two runs at once fetch once: the second waits. Raises `StackError` if Maven is missing or fails, or a jar is not
    the one that `jars.sha256` names.
    """
    folder = jars_folder(cache)
    if folder.is_dir():
        return folder
    with held(cache / "kafka.lock", FETCH_SECONDS, "another run fetches Kafka"):
        if not folder.is_dir():
            say(f"fetching Kafka {kafka_version()} ({SIZE_MB} MB, once)")
            _fetch(folder, java)
    return folder


def check_jars(folder: Path) -> None:
    """Raise `StackError` unless `folder` holds exactly the jars of `jars.sha256`."""
    lines = [line.split() for line in CHECKSUMS.read_text().splitlines()]
    wanted = {name: checksum for checksum, name in lines}
    found = {jar.name: hashlib.sha256(jar.read_bytes()).hexdigest() for jar in folder.glob("*.jar")}
    wrong = sorted(name for name in wanted.keys() | found.keys() if wanted.get(name) != found.get(name))
    if wrong:
        raise StackError(f"Fetched jars differ from {CHECKSUMS.name}: {', '.join(wrong[:5])}; they were thrown away.")


def _fetch(folder: Path, java: str) -> None:
    maven = shutil.which("mvn")
    if maven is None:
        raise StackError(
            "Kafka's jars are fetched with Maven, but there is no `mvn` on the PATH; install Maven 3.6 or newer."
        )
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".kafka-") as temporary:
        # Without a `java` on the PATH Maven would not find the one that we found.
        home = Path(java).resolve().parents[1]
        command = ["env", f"JAVA_HOME={home}", maven, "-q", "-B", "-f", str(POM), "dependency:copy-dependencies"]
        options = ["-DincludeScope=runtime", f"-DoutputDirectory={temporary}/jars"]
        _run(command + options)
        check_jars(Path(temporary) / "jars")
        (Path(temporary) / "jars").rename(folder)


def _run(command: list[str]) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=FETCH_SECONDS, check=False)
    except subprocess.TimeoutExpired as error:
        raise StackError(
            f"Maven did not fetch Kafka's jars within {FETCH_SECONDS} s; is its repository reachable?"
        ) from error
    if done.returncode != 0:
        lines = (done.stdout + done.stderr).splitlines()
        raise StackError("Maven could not fetch Kafka's jars; is its repository reachable?", tail="\n".join(lines[-8:]))
