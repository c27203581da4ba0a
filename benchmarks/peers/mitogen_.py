"""mitogen: a Python interpreter on each node, reached through `ssh`, that calls functions."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import mitogen.core
import mitogen.master

from peers import mitogen_node
from peers.multiplexed import ssh_options
from peers.protocol import Bed, Node, Peer, TakeLines

# router.ssh() waits for the node, so threads make connecting parallel.
_CONNECTING_MAX = 32


class Mitogen:
    def connect(self, bed: Bed, *, keep: bool) -> None:
        self._broker = mitogen.master.Broker()
        self._router = mitogen.master.Router(self._broker)
        options = ssh_options(bed, keep=False)

        def one(node: Node) -> mitogen.core.Context:
            return self._router.ssh(
                hostname=node.address,
                username=node.user,
                python_path="/usr/bin/python3",
                check_host_keys="enforce",
                compression=False,
                ssh_args=options,
            )

        with ThreadPoolExecutor(min(_CONNECTING_MAX, len(bed.nodes))) as threads:
            opened = list(threads.map(one, bed.nodes))
        self._contexts = dict(zip(bed.addresses, opened, strict=True))

    def _call(self, function: Any, *arguments: Any) -> dict[str, Any]:
        waiting = {
            address: context.call_async(function, *arguments)
            for address, context in self._contexts.items()
        }
        return {address: receiver.get().unpickle() for address, receiver in waiting.items()}

    def run(self, commands: Sequence[str]) -> list[dict[str, str]]:
        return [
            {address: str(output) for address, output in self._output(command).items()}
            for command in commands
        ]

    def _output(self, command: str) -> dict[str, Any]:
        return self._call(mitogen_node.output, command)

    def copy(self, source: Path) -> None:
        raise NotImplementedError

    def collect(self, path: str, folder: Path) -> None:
        for address, content in self._call(mitogen_node.content, path).items():
            (folder / address).write_bytes(content)

    def stream(self, command: str, take: TakeLines) -> None:
        for address, output in self._output(command).items():
            take(address, output.splitlines())

    def close(self) -> None:
        self._broker.shutdown()
        self._broker.join()


def peer() -> Peer:
    return Mitogen()
