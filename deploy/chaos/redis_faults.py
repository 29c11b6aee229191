"""What can be done to a Redis of the stack: copies of its files, other settings. Files are touched only while it is
down."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path

from redis.asyncio import Redis

from deploy.local.stack import Stack

SETTINGS_FILE = "redis.conf"
CALL_SECONDS = 5.0


class RedisServer:
    """One of `redis-orchestrator` and `redis-services`."""

    def __init__(self, stack: Stack, name: str) -> None:
        self._stack = stack
        self.name = name
        self._folder = stack.site.folder(name)
        self._copies = stack.site.data / f"{name}-copies"

    def copy(self, label: str) -> None:
        """Copy its files as they are now. A write under way may be half there: Redis cuts it off when it loads them."""
        target = self._copies / label
        shutil.rmtree(target, ignore_errors=True)
        target.mkdir(parents=True)
        for entry in self._files():
            (shutil.copytree if entry.is_dir() else shutil.copy2)(entry, target / entry.name)

    def replace(self, label: str | None) -> None:
        """Make the copy its files; None: it has none. Only while it is down."""
        for entry in list(self._files()):
            shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
        if label is not None:
            for entry in (self._copies / label).iterdir():
                (shutil.copytree if entry.is_dir() else shutil.copy2)(entry, self._folder / entry.name)

    async def kill(self) -> None:
        await asyncio.to_thread(self._stack.kill, self.name)

    async def start(self) -> None:
        """Start it and wait until it answers."""
        await asyncio.to_thread(self._stack.start, self.name)

    async def configure(self, name: str, value: str) -> None:
        """`CONFIG SET`, which a restart forgets."""
        redis = Redis.from_url(self.url, socket_timeout=CALL_SECONDS)
        try:
            await redis.config_set(name, value)
        finally:
            await redis.aclose()

    @property
    def url(self) -> str:
        """Where it listens."""
        redis = self._stack.endpoints.redis
        return redis.orchestrator if self.name == "redis-orchestrator" else redis.services

    def _files(self) -> list[Path]:
        return [entry for entry in self._folder.iterdir() if entry.name != SETTINGS_FILE]
