"""One `cloister run` at a time on a results folder."""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket
from collections.abc import Iterator
from pathlib import Path

from cloister.errors import Busy
from cloister.results.durable import clear_errors

_NAME = ".lock"


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Holds the folder; Busy, with the holder's process id, if somebody else does.

    The lock is the kernel's (flock), so it ends with its process, however that ends; the file stays.
    """
    with clear_errors("lock", folder):
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(folder / _NAME, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise _busy(folder, os.pread(descriptor, 200, 0)) from None
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()} {socket.gethostname()}\n".encode(), 0)
        yield
    finally:
        os.close(descriptor)


def _busy(folder: Path, content: bytes) -> Busy:
    pid, _, host = content.decode(errors="replace").strip().partition(" ")
    holder = f"process {pid} on {host}" if pid.isdigit() else "another process"
    return Busy(
        f"results folder {folder} is in use by {holder}",
        hint="Wait for that run to end, or give this one another results folder.",
    )
