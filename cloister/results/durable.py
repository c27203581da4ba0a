"""Writing files so that a crash, a full disk or a second process never leaves half of one."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from cloister.durable import write_whole
from cloister.errors import CloisterError

_CHUNK_BYTES = 1 << 20
_SYNCS_AT_ONCE = 16


@contextlib.contextmanager
def clear_errors(doing: str, path: Path) -> Iterator[None]:
    """OSError as a CloisterError that says what was done to which file."""
    try:
        yield
    except OSError as error:
        why = error.strerror or str(error)
        where = Path(os.fsdecode(error.filename)) if error.filename else path
        raise CloisterError(
            f"cannot {doing} {where}: {why}",
            hint="Free some space or name another results folder; what was saved before is whole.",
        ) from error


def write_atomically(path: Path, content: bytes) -> None:
    """After this the file has all of `content`, even if the power fails; before, the old or none."""
    with clear_errors("write", path):
        write_whole(path, content, durably=True)


def sync_all(paths: Iterable[Path]) -> None:
    """Make files and folders durable, all at once: the file system then writes its journal once for many.

    Measured on ext4 with 18 of them: 90 ms one after the other, 10 ms at once.
    """
    with ThreadPoolExecutor(_SYNCS_AT_ONCE) as pool:
        # As a list, so that an error of any of them is raised here.
        list(pool.map(_sync, paths))


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def digest(path: Path) -> tuple[int, str]:
    """Size and SHA-256 of a regular file, never through a link."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    with open(descriptor, "rb", buffering=0) as file:  # noqa: PTH123 - a Path cannot open a descriptor
        size, found = 0, hashlib.sha256()
        while chunk := file.read(_CHUNK_BYTES):
            size += len(chunk)
            found.update(chunk)
    return size, found.hexdigest()
