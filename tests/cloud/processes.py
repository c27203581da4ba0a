"""Finding and ending all processes of nodes, whatever they have forked, and by what they are marked."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterable
from pathlib import Path

MARK = "CLOUD_NODE"
ENDS_WITHIN_S = 10.0
PAUSE_S = 0.005

# sshd writes its title over its environment, so it is known by its command line instead, which has
# the path of the node's configuration in it.
Belongs = Callable[[bytes, bytes], bool]


def of_node(mark: str, folder: Path) -> Belongs:
    entry, path = f"{MARK}={mark}".encode(), f"{folder}/".encode()
    return lambda environment, command: entry in environment.split(b"\0") or path in command


def of_server(server: str, nodes: Path) -> Belongs:
    entry, path = f"{MARK}={server}/".encode(), f"{nodes}/".encode()
    return lambda environment, command: (
        environment.startswith(entry) or b"\0" + entry in environment or path in command
    )


def end(belongs: Iterable[Belongs]) -> None:
    """Kill until nothing is left; what forks meanwhile is found in the next round."""
    wanted = list(belongs)
    limit = time.monotonic() + ENDS_WITHIN_S
    while (left := found(wanted)) and time.monotonic() < limit:
        signal_all(left, signal.SIGKILL)
        time.sleep(PAUSE_S)


def stop(belongs: Belongs) -> set[int]:
    """Until all of them stand still; what was forked meanwhile is found in the next round."""
    stopped: set[int] = set()
    while new := found([belongs]) - stopped:
        signal_all(new, signal.SIGSTOP)
        stopped |= new
    return stopped


def signal_all(pids: Iterable[int], number: int) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


def found(wanted: list[Belongs]) -> set[int]:
    """Those that are marked, and all their descendants; never this process, and no zombies."""
    parents: dict[int, int] = {}
    marked: set[int] = set()
    for process in Path("/proc").glob("[0-9]*"):
        pid = int(process.name)
        if pid != os.getpid():
            parent, belongs = _look(process, wanted)
            if parent is not None:
                parents[pid] = parent
            if belongs:
                marked.add(pid)
    return _with_descendants(marked, parents)


def _look(process: Path, wanted: list[Belongs]) -> tuple[int | None, bool]:
    try:
        state, parent = process.joinpath("stat").read_text().rpartition(")")[2].split()[:2]
        if state in "ZX":
            return None, False
        command = process.joinpath("cmdline").read_bytes()
        environment = process.joinpath("environ").read_bytes()
    except OSError:
        # It has ended, or it is somebody else's and so no node's.
        return None, False
    return int(parent), any(one(environment, command) for one in wanted)


def _with_descendants(marked: set[int], parents: dict[int, int]) -> set[int]:
    children: dict[int, list[int]] = {}
    for pid, parent in parents.items():
        children.setdefault(parent, []).append(pid)
    every, waiting = set(marked), list(marked)
    while waiting:
        new = [pid for pid in children.get(waiting.pop(), []) if pid not in every]
        every.update(new)
        waiting.extend(new)
    return every
