"""One command at a time changes a cluster; a second one waits, and is told for whom."""

from __future__ import annotations

import dataclasses
import errno
import fcntl
import json
import os
import pwd
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from cloister.cluster.state import locks_folder
from cloister.errors import Busy, CloisterError

_PAUSE_S = 0.05


@dataclasses.dataclass(frozen=True, kw_only=True)
class Holder:
    """Who works on the cluster; `since` is in Unix seconds."""

    command: str
    pid: int
    user: str
    since: float

    def __str__(self) -> str:
        since = time.strftime("%H:%M:%S", time.localtime(self.since))
        return f"`{self.command}` of {self.user} (process {self.pid}, since {since})"


@contextmanager
def holding(
    name: str,
    command: str,
    *,
    state: Path,
    wait_s: float = 0.0,
    say: Callable[[str], None] = lambda text: None,
    what: str = "",
) -> Iterator[None]:
    """Hold the cluster's lock, waiting up to `wait_s` for another holder; Busy after that.

    what: as a person calls that which `name` locks, if it is no cluster.

    The kernel releases it when this process ends, however that happens.
    """
    path = locks_folder(state) / f"{name}.lock"
    descriptor = _acquired(path, what or f"cluster {name}", wait_s, say)
    try:
        _sign(descriptor, command)
        yield
    finally:
        # Removed while it is held, so that nothing stays behind; see _try.
        path.unlink(missing_ok=True)
        os.close(descriptor)


def _acquired(path: Path, what: str, wait_s: float, say: Callable[[str], None]) -> int:
    deadline = time.monotonic() + wait_s
    told = False
    while (descriptor := _try(path)) is None:
        holder = _holder(path)
        if time.monotonic() >= deadline:
            raise Busy(
                f"{what} is busy: {holder or 'another command'} works on it",
                hint="wait for it to end, or give --wait a longer time",
            )
        if not told:
            say(f"waiting for {holder or 'another command'} to finish with {what}")
            told = True
        time.sleep(_PAUSE_S)
    return descriptor


def _try(path: Path) -> int | None:
    """The locked file's descriptor; None if somebody else holds it."""
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise CloisterError(
            f"locking in {path.parent}: {error.strerror}",
            hint="CLOISTER_STATE names another folder for what cloister keeps",
        ) from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(descriptor)
        if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
            return None
        raise
    if _is_at(descriptor, path):
        return descriptor
    # The last holder removed the file between our opening and locking it.
    os.close(descriptor)
    return None


def _is_at(descriptor: int, path: Path) -> bool:
    with suppress(FileNotFoundError):
        return os.path.samestat(os.fstat(descriptor), path.stat())
    return False


def _sign(descriptor: int, command: str) -> None:
    holder = Holder(command=command, pid=os.getpid(), user=_user(), since=time.time())
    os.ftruncate(descriptor, 0)
    # Only for people to read: a full disk is no reason not to destroy a cluster.
    with suppress(OSError):
        os.pwrite(descriptor, json.dumps(dataclasses.asdict(holder)).encode(), 0)


def _user() -> str:
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return f"user {os.geteuid()}"


def _holder(path: Path) -> Holder | None:
    """None when nobody holds it any more, or has not signed it yet."""
    try:
        data: dict[str, Any] = json.loads(path.read_text())
        return Holder(**data)
    except (OSError, ValueError, TypeError):
        return None
