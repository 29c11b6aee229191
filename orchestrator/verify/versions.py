"""`changed-without-version`: a version of a saga means what it meant when it was recorded.

`orchestrator/sagas/fingerprints.json` records the fingerprint of every version that ever was: {saga: {version: hex}}.
A version that is gone from the build stays in there, so that its number is never used for something else.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from orchestrator.engine.fingerprint import fingerprint
from orchestrator.language.saga import Saga
from orchestrator.verify.finding import Finding

RULE = "changed-without-version"
MIGRATION_RULE = "migration"
"""Also in migrations.py, which compares the versions of a build."""
WRITE = "python -m orchestrator.cli versions --write"
Fingerprints = Mapping[str, Mapping[int, str]]
_FILE: TypeAdapter[dict[str, dict[int, str]]] = TypeAdapter(dict[str, dict[int, str]])


class FingerprintsError(RuntimeError):
    """The fingerprints file is absent or not what it should be; the message says what to do."""


def read_fingerprints(file: Path) -> Fingerprints:
    """Raises FingerprintsError."""
    try:
        return _FILE.validate_json(file.read_bytes())
    except OSError as error:
        raise FingerprintsError(f"there is no readable {file.name}: write it with `{WRITE}`") from error
    except ValidationError as error:
        raise FingerprintsError(
            f"{file.name} is not {{saga: {{version: fingerprint}}}}: take the committed one"
        ) from error


def check_versions(sagas: Iterable[Saga], recorded: Fingerprints) -> tuple[Finding, ...]:
    """Every finding, ordered by file and line. Empty: the sagas may run."""
    return tuple(sorted(_findings(sagas, recorded)))


def _findings(sagas: Iterable[Saga], recorded: Fingerprints) -> Iterator[Finding]:
    every = tuple(sagas)
    built = {(saga.name, saga.version) for saga in every}
    for saga in every:
        for migration in saga.migrates:
            older = migration.from_version
            if older not in recorded.get(saga.name, {}) and (saga.name, older) not in built:
                place = (migration.location.file, migration.location.line, saga.name, MIGRATION_RULE)
                message = f"it migrates from version {older} of {saga.name}, which there has never been"
                yield Finding(*place, message, "name a version that was recorded, or remove the migration", saga.name)
        known = recorded.get(saga.name, {}).get(saga.version)
        place = (saga.location.file, saga.location.line, saga.name, RULE)
        if known is None:
            message = f"version {saga.version} of {saga.name} is not recorded"
            yield Finding(*place, message, f"record it with `{WRITE}`, and commit the file", saga.name)
        elif known != fingerprint(saga):
            message = f"version {saga.version} of {saga.name} means something else than when it was recorded"
            fix = (
                f"leave it as it was while it may still run, put the change into version {saga.version + 1} beside it,"
                f" and `{WRITE}`; if it never ran anywhere, `{WRITE} --replace`"
            )
            yield Finding(*place, message, fix, saga.name)


def record(sagas: Iterable[Saga], recorded: Fingerprints, *, replace: bool) -> Fingerprints:
    """What is recorded, with the versions that are new; those that changed only if `replace` says that they never
    ran."""
    found = {name: dict(versions) for name, versions in recorded.items()}
    for saga in sagas:
        versions = found.setdefault(saga.name, {})
        if replace or saga.version not in versions:
            versions[saga.version] = fingerprint(saga)
    return found


def write_fingerprints(file: Path, fingerprints: Fingerprints) -> None:
    """Raises OSError."""
    ordered = {
        name: {str(version): versions[version] for version in sorted(versions)}
        for name, versions in sorted(fingerprints.items())
    }
    file.write_text(json.dumps(ordered, indent=2) + "\n", encoding="utf-8")
