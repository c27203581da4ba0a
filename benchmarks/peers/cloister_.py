"""cloister itself: its agents where connections are kept, its one-shot exec where they are not."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path

# cloister loads it inside the command that needs it; here every peer's modules are loaded before the clock
# starts.
import fabric  # noqa: F401

from cloister.plan.observed import Node
from cloister.transport.fanout import fan_out
from cloister.transport.links import Links
from cloister.transport.manifest import manifest
from cloister.transport.oneshot import run_once
from cloister.transport.process import Outcome
from cloister.transport.sync import sync
from cloister.transport.transfer import Fetch
from peers.protocol import Bed, Peer, TakeLines


class Cloister:
    def __init__(self) -> None:
        self._links = Links(marks={"CLOISTER_CLUSTER": "benchmark"})
        self._nodes: tuple[Node, ...] = ()
        self._keep = False

    def connect(self, bed: Bed, *, keep: bool) -> None:
        self._keep = keep
        self._nodes = tuple(
            Node(
                name=node.address,
                roles=("node",),
                number=number,
                address=node.address,
                private_address=node.address,
                user=node.user,
                port=node.port,
                key=node.key_file,
                host_key=node.host_key,
                # Every peer works in the user's home.
                work_folder=".",
            )
            for number, node in enumerate(bed.nodes, 1)
        )
        if keep:
            self._links.open_all(self._nodes).raise_first()

    def run(self, commands: Sequence[str]) -> list[dict[str, str]]:
        return [self._run(command) for command in commands]

    def _run(self, command: str) -> dict[str, str]:
        if self._keep:
            outcomes = self._links.run(self._nodes, command).raise_first()
        else:
            outcomes = run_once(self._links, self._nodes, command).raise_first()
        return {name: _stdout(outcome) for name, outcome in outcomes.items()}

    def copy(self, source: Path) -> None:
        sync(self._links, self._nodes, manifest(source), source.name).raise_first()

    def collect(self, path: str, folder: Path) -> None:
        def fetch(node: Node) -> Fetch:
            return Fetch(self._links.channel(node), path, folder / node.address)

        for started in fan_out(self._nodes, fetch).raise_first().values():
            started.finish()

    def stream(self, command: str, take: TakeLines) -> None:
        rest: dict[str, bytes] = {}
        lock = threading.Lock()

        def lines(node: Node, stream: str, data: bytes) -> None:
            with lock:
                *whole, rest[node.name] = (rest.get(node.name, b"") + data).split(b"\n")
            take(node.address, whole)

        outcomes = self._links.run(self._nodes, command, on_output=lines).raise_first()
        assert all(outcome.ok for outcome in outcomes.values())

    def close(self) -> None:
        self._links.close()


def _stdout(outcome: Outcome) -> str:
    assert outcome.ok, outcome
    return outcome.stdout.decode()


def peer() -> Peer:
    return Cloister()
