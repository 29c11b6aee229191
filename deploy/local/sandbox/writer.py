"""The only writer: one thread that does all requests one after the other, and commits many with one fsync.

One thread means that no two requests ever see each other half done; a batch means that the disk is waited for once.
"""

from __future__ import annotations

import asyncio
import queue
import sqlite3
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from deploy.local.sandbox.books import open_books

BATCH_LIMIT = 256
QUEUE_LIMIT = 10_000

Result = TypeVar("Result")
Work = Callable[[sqlite3.Connection], Any]


@dataclass(frozen=True, slots=True)
class _Job:
    work: Work
    done: asyncio.Future[Any]


class Writer:
    """Runs work inside transactions. Made and used on one event loop; `close` ends its thread."""

    def __init__(self, path: Path) -> None:
        """Use the books at `path`; `start` opens them."""
        self._path = path
        self._jobs: queue.Queue[_Job | None] = queue.Queue(QUEUE_LIMIT)
        self._thread = threading.Thread(target=self._run, name="sandbox-writer", daemon=True)
        self._loop: asyncio.AbstractEventLoop | None = None

    def start(self) -> None:
        """Make the file if need be, and start the thread."""
        open_books(self._path).close()
        self._loop = asyncio.get_running_loop()
        self._thread.start()

    def close(self) -> None:
        """End the thread after the work that is queued."""
        self._jobs.put(None)
        self._thread.join(timeout=10)

    async def do(self, work: Callable[[sqlite3.Connection], Result]) -> Result:
        """Run `work` in a transaction; return its result only when that is on the disk.

        Raises what `work` raised, after undoing what it did, or `sqlite3.Error` if the commit failed. Cancelling the
        caller does not cancel the work: whoever hangs up may still have changed the world.
        """
        assert self._loop is not None, "start() comes first"
        done: asyncio.Future[Result] = self._loop.create_future()
        self._jobs.put_nowait(_Job(work, done))
        return await done

    def _run(self) -> None:
        connection = open_books(self._path)
        try:
            while (job := self._jobs.get()) is not None:
                batch, last = self._batch(job)
                results = _commit(connection, batch)
                assert self._loop is not None
                self._loop.call_soon_threadsafe(_resolve, batch, results)
                if last:
                    return
        finally:
            connection.close()

    def _batch(self, first: _Job) -> tuple[list[_Job], bool]:
        batch = [first]
        while len(batch) < BATCH_LIMIT:
            try:
                job = self._jobs.get_nowait()
            except queue.Empty:
                break
            if job is None:
                return batch, True
            batch.append(job)
        return batch, False


def _commit(connection: sqlite3.Connection, batch: list[_Job]) -> list[Any]:
    try:
        connection.execute("BEGIN IMMEDIATE")
        results = [_attempt(connection, job.work) for job in batch]
        connection.execute("COMMIT")
    except sqlite3.Error as error:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        return [error] * len(batch)
    return results


def _attempt(connection: sqlite3.Connection, work: Work) -> Any:
    connection.execute("SAVEPOINT request")
    try:
        result = work(connection)
    except Exception as error:  # noqa: BLE001 - handed to the caller, who raises it
        connection.execute("ROLLBACK TO request")
        result = error
    connection.execute("RELEASE request")
    return result


def _resolve(batch: list[_Job], results: list[Any]) -> None:
    for job, result in zip(batch, results, strict=True):
        if job.done.done():
            continue
        if isinstance(result, Exception):
            job.done.set_exception(result)
        else:
            job.done.set_result(result)
