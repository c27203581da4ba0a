"""Which processes live, found by a mark in their command line, since some of them clear their environment."""

from __future__ import annotations

import contextlib
import os
import signal
from pathlib import Path


def living(mark: str) -> dict[int, str]:
    """pid → command line of all processes, zombies apart, that have `mark` in it; this one apart."""
    found = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            state = (entry / "stat").read_text(errors="replace").rpartition(")")[2].split()[0]
        except OSError:
            continue
        if mark in command and state not in "ZX":
            found[int(entry.name)] = command
    return found


def kill(pids: dict[int, str] | list[int]) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def children(pid: int) -> list[int]:
    return [
        int(child)
        for task in Path(f"/proc/{pid}/task").iterdir()
        for child in (task / "children").read_text().split()
    ]


def resident_bytes(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
