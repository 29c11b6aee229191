"""Everything the sandbox knows, in one SQLite file. All SQL is here.

Durability: write-ahead log with `synchronous=FULL`. An effect, its stored answer and its ledger line are one
transaction, on the disk before the answer leaves: a kill of the sandbox loses nothing (for that alone NORMAL would
do), and a power cut cannot make the outside world forget a charge that a service has already told Kafka about. The
fsync is shared by all requests of a batch (`writer.py`).
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from deploy.local.sandbox.provider import Effect, Json

_SCHEMA = """
CREATE TABLE IF NOT EXISTS answers (
    provider TEXT, key TEXT, fingerprint BLOB NOT NULL, status INTEGER NOT NULL, body BLOB NOT NULL,
    PRIMARY KEY (provider, key)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS effects (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, at TEXT NOT NULL, provider TEXT NOT NULL, kind TEXT NOT NULL,
    reference TEXT NOT NULL, idempotency_key TEXT NOT NULL, data BLOB NOT NULL);
CREATE INDEX IF NOT EXISTS effects_by_reference ON effects (reference);
CREATE TABLE IF NOT EXISTS objects (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, provider TEXT NOT NULL, kind TEXT NOT NULL, id TEXT NOT NULL,
    reference TEXT NOT NULL, key TEXT NOT NULL, fields BLOB NOT NULL, UNIQUE (provider, kind, id));
CREATE INDEX IF NOT EXISTS objects_by_reference ON objects (provider, kind, reference);
CREATE INDEX IF NOT EXISTS objects_by_key ON objects (provider, kind, key);
CREATE TABLE IF NOT EXISTS counters (
    provider TEXT, name TEXT, value INTEGER NOT NULL, PRIMARY KEY (provider, name)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS webhooks (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, provider TEXT NOT NULL, id TEXT NOT NULL, body BLOB NOT NULL,
    due REAL NOT NULL DEFAULT 0, attempts INTEGER NOT NULL DEFAULT 0);
CREATE INDEX IF NOT EXISTS webhooks_by_due ON webhooks (due);
"""


@dataclass(frozen=True, slots=True)
class StoredAnswer:
    """The final answer to a key, and the fingerprint of the request that it answers."""

    fingerprint: bytes
    status: int
    body: bytes


def open_books(path: Path) -> sqlite3.Connection:
    """Open the file for writing, making it if need be. Transactions are begun and ended by the caller."""
    path.parent.mkdir(parents=True, exist_ok=True)
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")
    connection.executescript(_SCHEMA)
    return connection


class ProviderBooks:
    """One provider's view of an open transaction; implements `provider.Books`."""

    def __init__(self, connection: sqlite3.Connection, provider: str) -> None:
        """See only what belongs to `provider`."""
        self._connection = connection
        self._provider = provider

    def put(self, kind: str, object_id: str, reference: str, key: str, fields: Json) -> None:
        """Keep an object, new or changed."""
        self._connection.execute(
            "INSERT INTO objects (provider, kind, id, reference, key, fields) VALUES (?, ?, ?, ?, ?, ?)"
            " ON CONFLICT (provider, kind, id) DO UPDATE SET fields = excluded.fields",
            (self._provider, kind, object_id, reference, key, orjson.dumps(fields)),
        )

    def get(self, kind: str, object_id: str) -> Json | None:
        """Return the object, or None."""
        row = self._connection.execute(
            "SELECT fields FROM objects WHERE provider = ? AND kind = ? AND id = ?", (self._provider, kind, object_id)
        ).fetchone()
        return None if row is None else _object(row[0])

    def find(self, kind: str, *, reference: str | None = None, key: str | None = None) -> list[Json]:
        """Return the objects with this reference and this idempotency key (None = any), oldest first."""
        where, values = _where({"provider": self._provider, "kind": kind, "reference": reference, "key": key})
        rows = self._connection.execute(f"SELECT fields FROM objects{where} ORDER BY seq", values)
        return [_object(fields) for (fields,) in rows]

    def count(self, name: str) -> int:
        """Add one to a counter and return it."""
        row = self._connection.execute(
            "INSERT INTO counters VALUES (?, ?, 1) ON CONFLICT DO UPDATE SET value = value + 1 RETURNING value",
            (self._provider, name),
        ).fetchone()
        return int(row[0])

    def answer(self, key: str) -> StoredAnswer | None:
        """Return the stored answer of this key, or None."""
        row = self._connection.execute(
            "SELECT fingerprint, status, body FROM answers WHERE provider = ? AND key = ?", (self._provider, key)
        ).fetchone()
        return None if row is None else StoredAnswer(*row)

    def store_answer(self, key: str, answer: StoredAnswer) -> None:
        """Keep the final answer to this key."""
        self._connection.execute(
            "INSERT INTO answers VALUES (?, ?, ?, ?, ?)",
            (self._provider, key, answer.fingerprint, answer.status, answer.body),
        )

    def list_effect(self, at: str, key: str, effect: Effect) -> None:
        """Write one line of the ledger."""
        self._connection.execute(
            "INSERT INTO effects (at, provider, kind, reference, idempotency_key, data) VALUES (?, ?, ?, ?, ?, ?)",
            (at, self._provider, effect.kind, effect.reference, key, orjson.dumps(effect.data)),
        )

    def queue_webhook(self, webhook_id: str, body: bytes) -> None:
        """Keep what is to be told."""
        self._connection.execute(
            "INSERT INTO webhooks (provider, id, body) VALUES (?, ?, ?)", (self._provider, webhook_id, body)
        )


@dataclass(frozen=True, slots=True)
class DueWebhook:
    """`attempts`: how often it was told in vain."""

    seq: int
    provider: str
    id: str
    body: bytes
    attempts: int


def due_webhooks(
    connection: sqlite3.Connection, providers: tuple[str, ...], now_s: float, limit: int
) -> list[DueWebhook]:
    """Those of these providers that are due, the oldest first."""
    marks = ", ".join("?" for _ in providers)
    rows = connection.execute(
        f"SELECT seq, provider, id, body, attempts FROM webhooks WHERE due <= ? AND provider IN ({marks})"
        " ORDER BY seq LIMIT ?",
        (now_s, *providers, limit),
    )
    return [DueWebhook(*row) for row in rows]


def settle_webhook(connection: sqlite3.Connection, seq: int) -> None:
    """It was told."""
    connection.execute("DELETE FROM webhooks WHERE seq = ?", (seq,))


def postpone_webhook(connection: sqlite3.Connection, seq: int, due_s: float) -> None:
    """It was told in vain; tell it again at `due_s`, seconds since the epoch."""
    connection.execute("UPDATE webhooks SET due = ?, attempts = min(attempts + 1, 30) WHERE seq = ?", (due_s, seq))


LEDGER_MAX = 1_000_000
"""Effects of one answer: some 300 MB. Whoever reconciles must not take a part for the whole, so more are no answer."""


def read_ledger(path: Path, filters: dict[str, str | None], since: str | None) -> bytes | None:
    """Return the ledger as the JSON of `GET /ledger`; None: more than LEDGER_MAX effects. Reads beside the writer, on a
    connection of its own."""
    where, values = _where(filters)
    if since is not None:
        where += (" AND" if where else " WHERE") + " at >= ?"
        values.append(since)
    connection = sqlite3.connect(path)
    try:
        (count,) = connection.execute(f"SELECT count(*) FROM effects{where}", values).fetchone()
        if count > LEDGER_MAX:
            return None
        rows = connection.execute(
            f"SELECT at, provider, kind, reference, idempotency_key, data FROM effects{where} ORDER BY seq", values
        )
        return orjson.dumps({"effects": list(_effects(rows))})
    finally:
        connection.close()


def _effects(rows: sqlite3.Cursor) -> Iterator[Json]:
    for at, provider, kind, reference, key, data in rows:
        yield {
            "at": at,
            "provider": provider,
            "kind": kind,
            "reference": reference,
            "idempotency_key": key,
            "data": orjson.Fragment(data),
        }


def _where(columns: dict[str, str | None]) -> tuple[str, list[Any]]:
    # Column names come from this file and the app's fixed list, never from a request.
    given = {column: value for column, value in columns.items() if value is not None}
    clause = " AND ".join(f"{column} = ?" for column in given)
    return (f" WHERE {clause}" if clause else ""), list(given.values())


def _object(fields: bytes) -> Json:
    loaded: Json = orjson.loads(fields)
    return loaded
