"""What /proc says about processes: descendants, CPU time, and who carries a mark."""

from __future__ import annotations

import contextlib
import os
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


def _stats() -> Iterator[tuple[int, list[str]]]:
    """Pid, and the fields of /proc/PID/stat from `state` (the third, see proc(5)) on."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                # The second field is the name in brackets and may hold anything.
                yield int(entry.name), (entry / "stat").read_text().rpartition(")")[2].split()


def tree_of(roots: Iterable[int]) -> dict[int, float]:
    """These processes and their descendants, each with the CPU seconds of itself and its dead children."""
    children: dict[int, list[int]] = defaultdict(list)
    cpu_s: dict[int, float] = {}
    for pid, fields in _stats():
        children[int(fields[1])].append(pid)
        cpu_s[pid] = _cpu_s(pid, fields)
    found: dict[int, float] = {}
    todo = list(roots)
    while todo:
        pid = todo.pop()
        if pid in cpu_s and pid not in found:
            found[pid] = cpu_s[pid]
            todo += children[pid]
    return found


def marked(mark: str) -> list[int]:
    """Processes with NAME=VALUE in their environment, but for this one."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            with contextlib.suppress(OSError):
                if mark.encode() in (entry / "environ").read_bytes().split(b"\0"):
                    found.append(int(entry.name))
    return found


def cpu_of(pids: Iterable[int]) -> float:
    """CPU seconds of these processes and of their dead children."""
    wanted = set(pids)
    return sum(_cpu_s(pid, fields) for pid, fields in _stats() if pid in wanted)


def _cpu_s(pid: int, fields: list[str]) -> float:
    own, of_dead_children = (sum(map(int, part)) for part in (fields[11:13], fields[13:15]))
    try:
        # In nanoseconds, of the first thread. A session of sshd lives on less than one clock tick, so
        # the ticks of `stat` would make a hundred open sessions cost nothing.
        own_s = int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) / 1e9
    except (OSError, ValueError, IndexError):
        own_s = own / _TICKS_PER_S
    return own_s + of_dead_children / _TICKS_PER_S
