"""Filing: killed after any step and called again, the whole file is in the completed folder and nowhere else."""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import shutil
import stat
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from contracts.documents import DocumentFiled, DocumentSigned, DocumentUploaded
from services.documentfiling import handlers as documentfiling
from services.documentfiling.folders import PART_PREFIX, Folders, Step, part_name
from services.documentfiling.uploads_memory import MemoryUploads
from services.sdk import NotDone
from services.sdk.reasons import Reason
from services.sdk.stories import given
from services.sdk.testing import Harness

CONTENT = b"signed, sealed\n" * 80_000
"""More than one chunk."""
SHA256 = hashlib.sha256(CONTENT).hexdigest()
PATH = "2026/contract.pdf"
DIED = 9
UPLOADED = DocumentUploaded(document_id="doc1", owner_email="ada@example.org", path=PATH, sha256=SHA256)
SIGNED = DocumentSigned(document_id="doc1", request_id="sig1", path=PATH, signed_at=datetime(2026, 1, 1, tzinfo=UTC))
FILED = DocumentFiled(document_id="doc1", path=PATH, sha256=SHA256)


@pytest.fixture
def folders(tmp_path: Path) -> Folders:
    return made(tmp_path / "incoming", tmp_path / "completed")


@pytest.fixture
def far_folders(tmp_path: Path) -> Iterator[Folders]:
    """The completed folder is on another file system."""
    memory = Path("/dev/shm")
    if not memory.is_dir() or memory.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("this machine has one file system")
    completed = memory / f"counterpoint-{os.getpid()}"
    yield made(tmp_path / "incoming", completed)
    shutil.rmtree(completed)


def made(incoming: Path, completed: Path) -> Folders:
    for folder in (incoming, completed):
        folder.mkdir()
    return Folders(incoming, completed)


def put(folder: Path, content: bytes = CONTENT, path: str = PATH) -> Path:
    file = folder / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content)
    return file


def all_files(folder: Path) -> list[str]:
    return sorted(str(file.relative_to(folder)) for file in folder.rglob("*") if not file.is_dir())


def assert_filed(folders: Folders, content: bytes = CONTENT) -> None:
    assert all_files(folders.incoming) == []
    assert all_files(folders.completed) == [PATH]
    assert (folders.completed / PATH).read_bytes() == content


def die_after(folders: Folders, step: Step) -> None:
    """Move in another OS process, which ends at once after `step`, as by kill -9."""

    def reached(at: Step) -> None:
        if at is step:
            os._exit(DIED)

    process = multiprocessing.get_context("fork").Process(
        target=replace(folders, reached=reached).move, args=(PATH, None)
    )
    process.start()
    process.join()
    assert process.exitcode == DIED


def test_a_file_is_moved_whole_with_its_mode(folders: Folders) -> None:
    put(folders.incoming).chmod(0o640)

    assert folders.move(PATH, SHA256) == SHA256
    assert_filed(folders)
    assert stat.S_IMODE((folders.completed / PATH).stat().st_mode) == 0o640


def test_a_file_is_moved_from_one_file_system_to_another(far_folders: Folders) -> None:
    put(far_folders.incoming)

    assert far_folders.move(PATH, None) == SHA256
    assert_filed(far_folders)


@pytest.mark.parametrize("step", list(Step))
@pytest.mark.parametrize("which", ["folders", "far_folders"])
def test_what_a_crash_leaves_is_whole_and_finished(step: Step, which: str, request: pytest.FixtureRequest) -> None:
    found: Folders = request.getfixturevalue(which)
    put(found.incoming)

    die_after(found, step)

    whole = [file for file in (found.incoming / PATH, found.completed / PATH) if file.exists()]
    assert whole and all(file.read_bytes() == CONTENT for file in whole)
    assert found.move(PATH, SHA256) == SHA256
    assert_filed(found)
    assert found.move(PATH, SHA256) == SHA256


@pytest.mark.parametrize("first", list(Step))
@pytest.mark.parametrize("second", [Step.READ, Step.COPIED, Step.PLACED])
def test_a_second_crash_is_as_harmless(folders: Folders, first: Step, second: Step) -> None:
    put(folders.incoming)
    die_after(folders, first)
    left = (folders.incoming / PATH).exists()
    placed = (folders.completed / PATH).exists()
    if left and (second is Step.READ or not placed):
        die_after(folders, second)

    assert folders.move(PATH, SHA256) == SHA256
    assert_filed(folders)


def test_a_half_written_copy_of_another_content_is_written_anew(folders: Folders) -> None:
    put(folders.incoming)
    put(folders.completed, b"x" * (len(CONTENT) + 5), f"2026/{part_name('contract.pdf')}")

    folders.move(PATH, SHA256)
    assert_filed(folders)


def refused(folders: Folders, path: str = PATH, sha256: str | None = None) -> tuple[str, bool]:
    with pytest.raises(NotDone) as raised:
        folders.move(path, sha256)
    return raised.value.code, raised.value.retryable


def test_another_file_is_never_replaced(folders: Folders) -> None:
    put(folders.incoming)
    put(folders.completed, b"somebody else's")

    assert refused(folders) == ("target-taken", False)
    assert (folders.incoming / PATH).read_bytes() == CONTENT
    assert (folders.completed / PATH).read_bytes() == b"somebody else's"
    assert all_files(folders.completed) == [PATH]


def test_another_file_that_comes_in_between_is_never_replaced(folders: Folders) -> None:
    put(folders.incoming)

    def reached(step: Step) -> None:
        if step is Step.DURABLE:
            put(folders.completed, b"quicker")

    assert refused(replace(folders, reached=reached)) == ("target-taken", True)
    assert refused(folders) == ("target-taken", False)
    assert (folders.completed / PATH).read_bytes() == b"quicker"
    assert (folders.incoming / PATH).read_bytes() == CONTENT
    assert all_files(folders.completed) == [PATH]


def test_what_was_not_uploaded_is_not_filed(folders: Folders) -> None:
    put(folders.incoming, b"something else")

    assert refused(folders, sha256=SHA256) == ("content-differs", False)
    assert all_files(folders.completed) == []
    assert (folders.incoming / PATH).read_bytes() == b"something else"


def test_a_file_that_changes_while_it_is_copied_is_not_filed(folders: Folders) -> None:
    source = put(folders.incoming)

    def reached(step: Step) -> None:
        if step is Step.READ:
            with source.open("r+b") as file:
                file.write(b"SIGNED")

    assert refused(replace(folders, reached=reached)) == ("content-changed", True)
    assert all_files(folders.completed) == []
    assert source.exists()


def test_a_file_that_is_replaced_while_it_is_moved_stays(folders: Folders) -> None:
    source = put(folders.incoming)

    def reached(step: Step) -> None:
        if step is Step.PLACED:
            put(folders.incoming, b"a newer one", "newer")
            (folders.incoming / "newer").rename(source)

    assert refused(replace(folders, reached=reached)) == ("source-replaced", True)
    assert source.read_bytes() == b"a newer one"
    assert (folders.completed / PATH).read_bytes() == CONTENT


def test_two_calls_for_one_file_exclude_each_other(folders: Folders) -> None:
    put(folders.incoming)
    others: list[tuple[str, bool]] = []

    def reached(step: Step) -> None:
        if step is Step.COPIED:
            others.append(refused(folders))

    replace(folders, reached=reached).move(PATH, SHA256)
    assert others == [("being-filed", True)]
    assert_filed(folders)


def test_a_file_that_is_nowhere_may_come_yet(folders: Folders) -> None:
    assert refused(folders) == ("file-missing", True)
    put(folders.incoming)
    folders.move(PATH, SHA256)
    assert_filed(folders)


@pytest.mark.parametrize(
    "path",
    ["../secret", "a/../../secret", "/etc/hostname", "a//b", "./a", "a/.", "..", "", "a\0b", f"{PART_PREFIX}a"],
)
def test_a_path_that_leads_out_is_refused(folders: Folders, path: str) -> None:
    put(folders.incoming.parent, b"secret", "secret")

    assert refused(folders, path) == ("bad-path", False)
    assert all_files(folders.completed) == []


@pytest.mark.parametrize("path", ["link", "folder/contract.pdf", "pipe", "directory"])
def test_links_pipes_and_folders_are_not_files(folders: Folders, path: str) -> None:
    outside = folders.incoming.parent / "outside"
    put(outside, b"secret", "contract.pdf")
    (folders.incoming / "link").symlink_to(outside / "contract.pdf")
    (folders.incoming / "folder").symlink_to(outside)
    (folders.incoming / "directory").mkdir()
    os.mkfifo(folders.incoming / "pipe")

    assert refused(folders, path) == ("bad-path", False)
    assert all_files(folders.completed) == []
    assert (outside / "contract.pdf").exists()


def test_a_completed_folder_that_leads_elsewhere_is_refused(folders: Folders) -> None:
    put(folders.incoming)
    outside = folders.incoming.parent / "outside"
    outside.mkdir()
    (folders.completed / "2026").symlink_to(outside)

    assert refused(folders) == ("bad-path", False)
    assert all_files(outside) == []


def fresh(tmp_path: Path) -> list[object]:
    """A world of its own for each playing of a story."""
    number = sum(1 for _ in tmp_path.iterdir())
    folders = made(tmp_path / f"incoming-{number}", tmp_path / f"completed-{number}")
    put(folders.incoming)
    return [folders, MemoryUploads()]


async def test_a_signed_document_is_filed_once_wherever_the_service_dies(tmp_path: Path) -> None:
    story = given(UPLOADED, SIGNED).when(documentfiling.service, lambda: fresh(tmp_path))
    await story.then(FILED, effects=lambda folders, _: (all_files(folders.incoming), all_files(folders.completed)))


async def test_a_document_that_was_uploaded_to_nobodys_knowledge_is_filed_as_it_is(tmp_path: Path) -> None:
    await given(SIGNED).when(documentfiling.service, lambda: fresh(tmp_path)).then(FILED)


async def test_a_document_that_is_not_what_was_uploaded_is_for_a_person(tmp_path: Path) -> None:
    uploaded = UPLOADED.model_copy(update={"sha256": "0" * 64})
    story = given(uploaded, SIGNED).when(documentfiling.service, lambda: fresh(tmp_path))
    await story.then_dead_letter(Reason.HANDLER_FAILED)


async def test_a_file_that_comes_late_is_waited_for(folders: Folders) -> None:
    async with Harness(documentfiling.service, [folders, MemoryUploads()]) as harness:
        sleep = harness.clock.sleep

        async def put_then_sleep(seconds: float) -> None:
            if len(harness.clock.slept_s) == 4:
                put(folders.incoming)
            await sleep(seconds)

        object.__setattr__(harness._around, "sleep", put_then_sleep)
        (filed,) = await harness.deliver(SIGNED)

    assert filed.message == FILED
    assert_filed(folders)
