"""Starts the sshds of prepared nodes through one command of wardens, and waits until all listen."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from cloister.errors import ProviderError
from cloister.plan.observed import Node
from cloister.providers.local.folders import ClusterFolder
from cloister.providers.local.listeners import listeners, who_listens
from cloister.providers.local.sshd import Machine, sshd_arguments

_WARDEN = Path(__file__).with_name("warden.py")
_START_BASE_S = 15.0
_START_PER_NODE_S = 0.5
_PAUSE_S = 0.01
_LOG_LINES = 5


def start_sshds(
    machine: Machine,
    cluster: ClusterFolder,
    uid: str,
    nodes: Sequence[Node],
    listening: Callable[[Node], None],
) -> None:
    """Return when every node's sshd listens; ProviderError with its log when one does not."""
    reports = _start_wardens(machine, cluster, uid, nodes)
    try:
        _wait(cluster, {node.name: node for node in nodes}, reports, listening)
    finally:
        os.close(reports)


def _start_wardens(
    machine: Machine, cluster: ClusterFolder, uid: str, nodes: Sequence[Node]
) -> int:
    """The descriptor from which to read which sshds ended. The wardens survive this command."""
    reading, writing = os.pipe()
    jobs = [
        {
            "name": node.name,
            "folder": str(cluster.node(node.name).path),
            "log": str(cluster.node(node.name).log),
            "arguments": sshd_arguments(machine, cluster.node(node.name)),
        }
        for node in nodes
    ]
    try:
        starter = subprocess.Popen(
            [sys.executable, "-I", "-S", str(_WARDEN), str(cluster.path), uid],
            stdin=subprocess.PIPE,
            stdout=writing,
            stderr=subprocess.PIPE,
            cwd=cluster.path,
            env={"PATH": os.environ.get("PATH", os.defpath), "CLOISTER_CLUSTER": uid},
            start_new_session=True,
        )
    except OSError as error:
        os.close(reading)
        raise ProviderError(f"starting the wardens of local nodes: {error}") from error
    finally:
        os.close(writing)
    _, complaint = starter.communicate(json.dumps(jobs).encode())
    if starter.returncode != 0:
        os.close(reading)
        raise ProviderError(
            "starting the wardens of local nodes: "
            + complaint.decode(errors="replace").strip()[-500:]
        )
    return reading


def _wait(
    cluster: ClusterFolder,
    waiting: dict[str, Node],
    reports: int,
    listening: Callable[[Node], None],
) -> None:
    limit_s = _START_BASE_S + _START_PER_NODE_S * len(waiting)
    deadline = time.monotonic() + limit_s
    pending = b""
    while waiting:
        ready, _, _ = select.select([reports], [], [], _PAUSE_S)
        if ready:
            data = os.read(reports, 65536)
            lines = (pending + data).split(b"\n")
            pending = lines.pop()
            for line in lines:
                raise _ended(cluster, waiting, json.loads(line))
            if not data:
                raise ProviderError(f"starting {_names(waiting)}: the wardens were killed")
        present = {(entry.address, entry.port) for entry in listeners()}
        for node in [node for node in waiting.values() if (node.address, node.port) in present]:
            del waiting[node.name]
            listening(node)
        if time.monotonic() > deadline:
            raise ProviderError(
                f"starting {_names(waiting)}: no sshd listens after {limit_s:.0f} s"
                + _last_lines(cluster, next(iter(waiting)))
            )


def _ended(
    cluster: ClusterFolder, waiting: Mapping[str, Node], report: dict[str, int | str]
) -> ProviderError:
    name = str(report["name"])
    if "problem" in report:
        return ProviderError(f"starting node {name}: {report['problem']}")
    status = os.waitstatus_to_exitcode(int(report["status"]))
    message = f"starting node {name}: its sshd ended at once (status {status})"
    node = waiting.get(name)
    holder = _holder(node) if node else ""
    return ProviderError(
        message + holder + _last_lines(cluster, name),
        hint="somebody else took the address meanwhile; launch again" if holder else "",
    )


def _holder(node: Node) -> str:
    for entry in listeners():
        if entry.port == node.port and (entry.everywhere or entry.address == node.address):
            return f"; on {node.address}:{node.port}, {who_listens(entry)} listens"
    return ""


def _last_lines(cluster: ClusterFolder, name: str) -> str:
    """As the end of a sentence: the log is gone when the failed launch has been undone."""
    try:
        text = cluster.node(name).log.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    lines = text.splitlines()[-_LOG_LINES:]
    return "; its log ends:\n" + "\n".join(f"    {line}" for line in lines) if lines else ""


def _names(nodes: Mapping[str, Node]) -> str:
    names = list(nodes)
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
