"""What a test sees of a cluster without asking cloister: processes that name it, in any way."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from cloister.cluster import Cluster


def processes_naming(text: str) -> list[int]:
    """Processes with the text in command line, environment, or working folder; not this one's own line."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        pid = int(process.name)
        if pid in (os.getpid(), os.getppid()):
            continue
        try:
            content = (process / "cmdline").read_bytes() + (process / "environ").read_bytes()
            content += os.fsencode((process / "cwd").readlink())
        except OSError:
            continue
        if text.encode() in content:
            found.append(pid)
    return found


def is_alive(pid: int) -> bool:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return False
    return stat.rpartition(")")[2].split()[0] not in "ZX"


def until(condition: Callable[[], object], within_s: float = 10.0) -> None:
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.01)


def ssh(cluster: Cluster, node: str, *command: str, **options) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["ssh", "-F", str(cluster.ssh_config), *options.pop("flags", ()), node, *command],
        capture_output=True,
        text=True,
        timeout=30,
        **options,
    )


def sshd_of(cluster: Cluster, node: str) -> int:
    """The process id of the node's listening sshd, as sshd itself wrote it."""
    return int((cluster.folder / "nodes" / node / "sshd.pid").read_text())
