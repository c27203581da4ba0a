"""Which process made a call: by the port it called from."""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path

# The kernel's list can lack a line if it changes while it is read.
ATTEMPTS = 5
PAUSE_S = 0.005


def caller(port: int, server_port: int) -> int | None:
    """The process that holds the connection between these ports of 127.0.0.1, if it still does."""
    for _ in range(ATTEMPTS):
        inode = _inode(port, server_port)
        if inode is not None and (found := _holder(inode)) is not None:
            return found
        time.sleep(PAUSE_S)
    return None


def _holder(inode: str) -> int | None:
    wanted = f"socket:[{inode}]"
    return next((pid for pid in _newest_first() if _holds(pid, wanted)), None)


def _inode(port: int, server_port: int) -> str | None:
    """https://www.kernel.org/doc/html/latest/networking/proc_net_tcp.html"""
    ends = [f"0100007F:{port:04X}", f"0100007F:{server_port:04X}"]
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        # Connections that have ended stay in the list for a minute, as sockets of nobody.
        if fields[1:3] == ends and fields[9] != "0":
            return fields[9]
    return None


def _newest_first() -> list[int]:
    pids = [int(process.name) for process in Path("/proc").glob("[0-9]*")]
    return sorted((pid for pid in pids if pid != os.getpid()), reverse=True)


def _holds(pid: int, wanted: str) -> bool:
    with contextlib.suppress(OSError):
        for entry in Path(f"/proc/{pid}/fd").iterdir():
            with contextlib.suppress(OSError):
                if str(entry.readlink()) == wanted:
                    return True
    return False
