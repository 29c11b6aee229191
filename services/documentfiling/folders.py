"""Moves one file from the incoming to the completed folder: all transitions of a move are here (decision 0123).

The file is copied beside its place, made durable, compared, put in place without replacing anything, and only then
taken out of the incoming folder. So it works from one file system to another, and at every instant the whole file is
at one place at least under its own name. Whatever a crash leaves, the same call finishes or begins anew:

| incoming | completed | what is done |
|---|---|---|
| yes | no | all of it; what an earlier call has copied beside the place is written anew |
| yes | the same content | an earlier call died before its last step: that is done |
| yes | another content | refused: somebody else's file |
| no | yes | it was moved before; its content is compared and told |
| no | no | refused, worth another try: it may come yet |

Folders are opened one by one and never through a symbolic link, so a path cannot lead out. Synchronous: call it in a
thread. Two calls for one path exclude each other, also from two OS processes of one machine.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final

from services.sdk import NotDone

CHUNK_BYTES: Final = 1024 * 1024
PART_PREFIX: Final = ".filing-"
NAME_BYTES_MAX: Final = 255
_FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class Step(StrEnum):
    """What has just been done, in order; tests end the OS process here."""

    READ = "read"
    COPIED = "copied"
    DURABLE = "durable"
    PLACED = "placed"
    PART_REMOVED = "part-removed"
    SOURCE_REMOVED = "source-removed"


Reached = Callable[[Step], None]


def _ignore(_: Step) -> None:
    """Outside of tests nobody looks."""


@dataclass(frozen=True, slots=True)
class Folders:
    incoming: Path
    completed: Path
    reached: Reached = _ignore

    def move(self, path: str, sha256: str | None) -> str:
        """Move `path` (relative, with forward slashes) and return the SHA-256 of its content, in lower-case hex digits.
        `sha256`: what it must be; None: whatever it is.

        Raises:
            NotDone: nothing was changed; its code says why. OSError: what a disk says; a repeat goes on from there.
        """
        parts = parts_of(path)
        with ExitStack() as stack:
            source_folder = _open_folder(stack, self.incoming, parts[:-1], create=False)
            source = None if source_folder is None else _open_file(stack, source_folder, parts[-1])
            if source_folder is None or source is None:
                return self._filed_before(stack, path, parts, sha256)
            found = _digest(source)
            _check(path, found, sha256)
            self.reached(Step.READ)
            target_folder = _open_folder(stack, self.completed, parts[:-1], create=True)
            assert target_folder is not None, "it was made"
            self._place(source, target_folder, path, parts[-1], found)
            _remove(source, source_folder, parts[-1])
            self.reached(Step.SOURCE_REMOVED)
            return found

    def _filed_before(self, stack: ExitStack, path: str, parts: tuple[str, ...], sha256: str | None) -> str:
        folder = _open_folder(stack, self.completed, parts[:-1], create=False)
        filed = None if folder is None else _open_file(stack, folder, parts[-1])
        if filed is None:
            raise NotDone("file-missing", f"{path} is in neither folder", retryable=True)
        found = _digest(filed)
        _check(path, found, sha256)
        return found

    def _place(self, source: int, folder: int, path: str, name: str, sha256: str) -> None:
        """Have the file's content under its name in the completed folder, durably; or raise NotDone."""
        with ExitStack() as stack:
            filed = _open_file(stack, folder, name)
            if filed is not None:
                if _digest(filed) != sha256:
                    raise NotDone("target-taken", f"another file is filed as {path}")
                _forget_part(folder, name)
                os.fsync(folder)
                return
        with _locked_part(folder, part_name(name)) as part:
            _copy(source, part)
            self.reached(Step.COPIED)
            os.fsync(part)
            if _digest(part) != sha256:
                os.unlink(part_name(name), dir_fd=folder)
                raise NotDone("content-changed", f"{path} was changed while it was copied", retryable=True)
            self.reached(Step.DURABLE)
            _put_in_place(folder, part_name(name), name, path)
            self.reached(Step.PLACED)
            os.unlink(part_name(name), dir_fd=folder)
            os.fsync(folder)
            self.reached(Step.PART_REMOVED)


def parts_of(path: str) -> tuple[str, ...]:
    """Raises NotDone for a path that is absolute, or has an empty part, `.` or `..`, or a name of ours."""
    parts = tuple(path.split("/"))
    if any(part in ("", ".", "..") or "\0" in part or part.startswith(PART_PREFIX) for part in parts):
        raise NotDone("bad-path", f"{path!r} is not a path within the folder")
    return parts


def part_name(name: str) -> str:
    """Beside its place, the same for every call: what an earlier one left is written anew and not left behind."""
    plain = PART_PREFIX + name
    if len(plain.encode()) <= NAME_BYTES_MAX:
        return plain
    return PART_PREFIX + hashlib.sha256(name.encode()).hexdigest()


def _open_folder(stack: ExitStack, root: Path, parts: tuple[str, ...], *, create: bool) -> int | None:
    """None if it is not there. Raises NotDone: something on the way is no folder."""
    folder = _kept(stack, os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC))
    for part in parts:
        if create:
            _make_folder(folder, part)
        try:
            folder = _kept(stack, os.open(part, _FOLDER, dir_fd=folder))
        except FileNotFoundError:
            return None
        except OSError as error:
            if error.errno in (errno.ELOOP, errno.ENOTDIR):
                raise NotDone("bad-path", f"{part} in {root.name} is not a folder of its own") from None
            raise
    return folder


def _make_folder(folder: int, name: str) -> None:
    try:
        os.mkdir(name, dir_fd=folder)
    except FileExistsError:
        return
    os.fsync(folder)


def _open_file(stack: ExitStack, folder: int, name: str) -> int | None:
    """None if it is not there. Raises NotDone: it is a link, a folder or a device."""
    try:
        file = _kept(stack, os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder))
    except FileNotFoundError:
        return None
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENXIO):
            raise NotDone("bad-path", f"{name} is not a file of its own") from None
        raise
    if not stat.S_ISREG(os.fstat(file).st_mode):
        raise NotDone("bad-path", f"{name} is not a file of its own")
    return file


def _kept(stack: ExitStack, descriptor: int) -> int:
    stack.callback(os.close, descriptor)
    return descriptor


def _check(path: str, found: str, wanted: str | None) -> None:
    if wanted is not None and found != wanted:
        raise NotDone("content-differs", f"{path} is {found}, and {wanted} was uploaded")


def _chunks(file: int) -> Iterator[bytes]:
    offset = 0
    while chunk := os.pread(file, CHUNK_BYTES, offset):
        offset += len(chunk)
        yield chunk


def _digest(file: int) -> str:
    found = hashlib.sha256()
    for chunk in _chunks(file):
        found.update(chunk)
    return found.hexdigest()


@contextmanager
def _locked_part(folder: int, name: str) -> Iterator[int]:
    """The copy beside the place, empty and for this call alone. Raises NotDone: another call has it."""
    with ExitStack() as stack:
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        part = _kept(stack, os.open(name, flags, 0o600, dir_fd=folder))
        busy = NotDone("being-filed", "another call moves this file", retryable=True)
        try:
            fcntl.flock(part, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise busy from None
        # The other call may have removed it between our opening and our lock.
        if not _is_at(part, folder, name):
            raise busy
        os.ftruncate(part, 0)
        yield part


def _copy(source: int, part: int) -> None:
    os.fchmod(part, stat.S_IMODE(os.fstat(source).st_mode))
    offset = 0
    for chunk in _chunks(source):
        view = memoryview(chunk)
        while view:
            written = os.pwrite(part, view, offset)
            offset += written
            view = view[written:]


def _put_in_place(folder: int, part: str, name: str, path: str) -> None:
    """A rename that replaces nothing: a second name, and then the first is removed."""
    try:
        os.link(part, name, src_dir_fd=folder, dst_dir_fd=folder, follow_symlinks=False)
    except FileExistsError:
        os.unlink(part, dir_fd=folder)
        raise NotDone("target-taken", f"another file was filed as {path} just now", retryable=True) from None
    os.fsync(folder)


def _forget_part(folder: int, name: str) -> None:
    try:
        os.unlink(part_name(name), dir_fd=folder)
    except FileNotFoundError:
        return


def _remove(source: int, folder: int, name: str) -> None:
    """Raises NotDone: the file under this name is another one by now; ours is filed, and the other stays."""
    if not _is_at(source, folder, name):
        raise NotDone("source-replaced", f"{name} was replaced while it was moved", retryable=True)
    os.unlink(name, dir_fd=folder)
    os.fsync(folder)


def _is_at(file: int, folder: int, name: str) -> bool:
    try:
        there = os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return False
    mine = os.fstat(file)
    return (there.st_dev, there.st_ino) == (mine.st_dev, mine.st_ino)
