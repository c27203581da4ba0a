"""pyinfra's API: its state connects to all hosts, commands run in a pool."""

from __future__ import annotations

# pyinfra's documentation wants this before anything else is imported.
from gevent import monkey

monkey.patch_all()

from collections.abc import Callable, Sequence  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import Any  # noqa: E402

from gevent.pool import Pool  # noqa: E402
from pyinfra.api import Config, Inventory, State  # noqa: E402
from pyinfra.api.connect import connect_all, disconnect_all  # noqa: E402

from peers.protocol import Bed, Peer, TakeLines  # noqa: E402


class Pyinfra:
    def connect(self, bed: Bed, *, keep: bool) -> None:
        hosts = [
            (
                node.address,
                {
                    "ssh_user": node.user,
                    "ssh_port": node.port,
                    "ssh_key": node.key_file,
                    "ssh_known_hosts_file": str(bed.known_hosts),
                    "ssh_strict_host_key_checking": "yes",
                    "ssh_allow_agent": False,
                    "ssh_look_for_keys": False,
                    "ssh_config_file": str(bed.ssh_config),
                },
            )
            for node in bed.nodes
        ]
        self._state = State(Inventory((hosts, {})), Config(PARALLEL=len(hosts)))
        connect_all(self._state)
        self._hosts = list(self._state.inventory.get_active_hosts())
        if len(self._hosts) != len(hosts):
            raise RuntimeError(f"only {len(self._hosts)} of {len(hosts)} hosts connected")
        self._pool = Pool(len(hosts))

    def _each(self, work: Callable[[Any], Any]) -> dict[str, Any]:
        values = self._pool.map(work, self._hosts)
        return {host.name: value for host, value in zip(self._hosts, values, strict=True)}

    def run(self, commands: Sequence[str]) -> list[dict[str, str]]:
        return [
            {address: "\n".join(lines) for address, lines in self._lines(command).items()}
            for command in commands
        ]

    def _lines(self, command: str) -> dict[str, list[str]]:
        def one(host: Any) -> list[str]:
            succeeded, output = host.run_shell_command(command)
            if not succeeded:
                raise RuntimeError(f"{command} failed on {host.name}")
            return output.stdout_lines

        return self._each(one)

    def copy(self, source: Path) -> None:
        raise NotImplementedError

    def collect(self, path: str, folder: Path) -> None:
        def one(host: Any) -> None:
            if not host.get_file(path, str(folder / host.name)):
                raise RuntimeError(f"{path} of {host.name} did not come")

        self._each(one)

    def stream(self, command: str, take: TakeLines) -> None:
        for address, lines in self._lines(command).items():
            take(address, lines)

    def close(self) -> None:
        disconnect_all(self._state)


def peer() -> Peer:
    return Pyinfra()
