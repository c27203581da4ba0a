"""ClusterShell's task API with a fan-out as large as the cluster; its workers are `ssh` and `scp`."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

from ClusterShell.NodeSet import NodeSet
from ClusterShell.Task import Task, task_self

from peers.multiplexed import close_masters, ssh_options
from peers.protocol import Bed, Peer, TakeLines


class ClusterShell:
    def connect(self, bed: Bed, *, keep: bool) -> None:
        self._bed = bed
        self._nodes = NodeSet.fromlist(bed.addresses)
        self._task = task_self()
        self._task.set_info("fanout", len(bed.nodes))
        options = shlex.join(ssh_options(bed, keep=keep))
        self._task.set_info("ssh_options", options)
        self._task.set_info("scp_options", options)
        if keep:
            self._run("true")

    def run(self, commands: Sequence[str]) -> list[dict[str, str]]:
        return [self._run(command) for command in commands]

    def _run(self, command: str) -> dict[str, str]:
        self._task.shell(command, nodes=self._nodes)
        self._finish()
        return {
            str(address): bytes(output).decode()
            for output, addresses in self._task.iter_buffers()
            for address in addresses
        }

    def _finish(self) -> None:
        task: Task = self._task
        task.run()
        if task.max_retcode() not in (0, None) or task.num_timeout():
            raise RuntimeError(f"a node failed with status {task.max_retcode()}")

    def copy(self, source: Path) -> None:
        self._task.copy(str(source), ".", nodes=self._nodes)
        self._finish()

    def collect(self, path: str, folder: Path) -> None:
        self._task.rcopy(path, str(folder), nodes=self._nodes)
        self._finish()
        for address in self._bed.addresses:
            (folder / f"{path}.{address}").rename(folder / address)

    def stream(self, command: str, take: TakeLines) -> None:
        for address, output in self._run(command).items():
            take(address, output.splitlines())

    def close(self) -> None:
        close_masters(self._bed)


def peer() -> Peer:
    return ClusterShell()
