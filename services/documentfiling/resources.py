"""What the document-filing automation needs from outside, opened at start and closed at the end."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from services.documentfiling.folders import Folders
from services.documentfiling.uploads_redis import RedisUploads, open_client
from services.sdk import StartRefused
from services.sdk.host import HostSettings

INCOMING_OPTION: Final = "documents_incoming"
COMPLETED_OPTION: Final = "documents_completed"


@asynccontextmanager
async def connect(settings: HostSettings) -> AsyncIterator[Sequence[object]]:
    """Yields the Folders and the Uploads. Raises StartRefused if a folder is not set or not there."""
    folders = folders_of(settings.options)
    async with open_client(settings.redis_url) as client:
        yield (folders, RedisUploads(client))


def folders_of(options: Mapping[str, str]) -> Folders:
    """Raises StartRefused."""
    incoming, completed = _folder(options, INCOMING_OPTION), _folder(options, COMPLETED_OPTION)
    if incoming.is_relative_to(completed) or completed.is_relative_to(incoming):
        raise StartRefused(f"options {INCOMING_OPTION} and {COMPLETED_OPTION} are folders within one another")
    return Folders(incoming, completed)


def _folder(options: Mapping[str, str], name: str) -> Path:
    value = options.get(name)
    if not value:
        raise StartRefused(f"no folder: set COUNTERPOINT_{name.upper()} or --option {name}=FOLDER")
    folder = Path(value).resolve()
    if not folder.is_dir():
        raise StartRefused(f"option {name} is {value!r}, which is not a folder")
    return folder
