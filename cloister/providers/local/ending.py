"""Ends processes for certain: nothing survives by forking faster than it is found."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable, Collection, Mapping

from cloister.errors import ProviderError
from cloister.providers.local.processes import ClusterProcess, Process, all_processes, ancestors

_LIMIT_S = 15.0
_PAUSE_S = 0.01
_STOP_ROUNDS_MAX = 10
_ADOPTED_ROUNDS_MAX = 2000

Find = Callable[[Mapping[int, Process]], Collection[ClusterProcess]]


def end_processes(find: Find, *, clock: Callable[[], float] = time.monotonic) -> int:
    """Kill what `find` finds in a table of processes until it finds nothing; how many there were.

    Wardens come last, and only without children: while one lives, whatever its node forks remains
    provably the node's, and a program that forks and ends is in no table of processes for certain.
    ProviderError if something is left, or if this very command is among it.
    """
    ended: set[tuple[int, int]] = set()
    ended |= _freeze(find)
    deadline = clock() + _LIMIT_S
    while found := _found(find):
        if clock() > deadline:
            left = ", ".join(str(entry.process) for entry in found[:5])
            raise ProviderError(
                f"ending {len(found)} processes: still there {_LIMIT_S:.0f} s after SIGKILL: {left}",
                hint="a process that waits for a device or a network file system ends when that answers",
            )
        others = [entry for entry in found if not _is_waiting_warden(entry)]
        for entry in others or [entry for entry in found if _is_childless(entry.process)]:
            _send(entry.process, signal.SIGKILL)
            ended.add((entry.process.pid, entry.process.started))
        time.sleep(_PAUSE_S)
    return len(ended)


def resume(find: Find) -> None:
    """Let the processes of nodes whose sshd is stopped go on: a killed `end_processes` leaves them so."""
    found = find(all_processes())
    stopped = {e.node for e in found if e.part == "sshd" and e.process.state in "Tt"}
    for entry in found:
        if entry.node in stopped and entry.process.state in "Tt":
            _send(entry.process, signal.SIGCONT)


def _is_childless(warden: Process) -> bool:
    """Kill what the warden has adopted until it has nothing; false if that does not end it in time.

    Between two readings a program that forks and ends has become another process, but one of them is
    always the warden's child: killed right after a reading, it is gone sooner or later.
    """
    for _ in range(_ADOPTED_ROUNDS_MAX):
        children = _children(warden.pid)
        if not children or _started(warden.pid) != warden.started:
            return True
        for pid in children:
            _send_to_child(pid, warden)
    return False


def _children(pid: int) -> list[int]:
    try:
        with open(f"/proc/{pid}/task/{pid}/children", "rb") as file:  # noqa: PTH123
            return [int(child) for child in file.read().split()]
    except OSError:
        return []


def _send_to_child(pid: int, warden: Process) -> None:
    """SIGKILL to the process if it is still the child of that very warden: numbers are used again."""
    with contextlib.suppress(ProcessLookupError):
        handle = os.pidfd_open(pid)
        try:
            fields = _stat(pid)
            if fields and int(fields[1]) == warden.pid and _started(warden.pid) == warden.started:
                signal.pidfd_send_signal(handle, signal.SIGKILL)
        finally:
            os.close(handle)


def _freeze(find: Find) -> set[tuple[int, int]]:
    """Stop everything first, so that nothing forks while it is being killed."""
    stopped: set[tuple[int, int]] = set()
    for _ in range(_STOP_ROUNDS_MAX):
        found = [entry for entry in _found(find) if not _is_waiting_warden(entry)]
        fresh = [
            entry for entry in found if (entry.process.pid, entry.process.started) not in stopped
        ]
        if not fresh:
            break
        for entry in fresh:
            _send(entry.process, signal.SIGSTOP)
            stopped.add((entry.process.pid, entry.process.started))
    return stopped


def _found(find: Find) -> list[ClusterProcess]:
    table = all_processes()
    found = list(find(table))
    own = set(ancestors(os.getpid(), table))
    if any(entry.process.pid in own for entry in found):
        raise ProviderError(
            "ending the processes of a node: this command itself runs on it",
            hint="run it from outside of the cluster",
        )
    return found


def _is_waiting_warden(entry: ClusterProcess) -> bool:
    """A warden that has no node yet is still starting others: it goes with the rest."""
    return entry.part == "warden" and bool(entry.node)


def _send(process: Process, number: signal.Signals) -> None:
    """Only to the very process that was found: a pidfd does not move to a reused process id."""
    with contextlib.suppress(ProcessLookupError):
        handle = os.pidfd_open(process.pid)
        try:
            if _started(process.pid) == process.started:
                signal.pidfd_send_signal(handle, number)
        finally:
            os.close(handle)


def _started(pid: int) -> int | None:
    fields = _stat(pid)
    return int(fields[19]) if fields else None


def _stat(pid: int) -> list[bytes]:
    """The fields of /proc/PID/stat from the state on; none if there is no such process."""
    with contextlib.suppress(OSError), open(f"/proc/{pid}/stat", "rb") as file:  # noqa: PTH123
        return file.read().rpartition(b")")[2].split()
    return []
