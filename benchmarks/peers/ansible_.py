"""Ansible: playbooks with pipelining, ControlPersist and as many forks as nodes.

Commands are `raw` tasks, the leanest there is; several commands are tasks of one playbook, whose
linear strategy ends each task on all hosts before the next.
"""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from peers.multiplexed import close_masters, ssh_options
from peers.protocol import Bed, Peer, TakeLines

_CALLBACKS = Path(__file__).parent / "ansible_callback"
_PLAYBOOK = Path(sys.executable).parent / "ansible-playbook"


class Ansible:
    def connect(self, bed: Bed, *, keep: bool) -> None:
        self._bed = bed
        self._inventory = bed.scratch / "inventory"
        self._inventory.write_text("\n".join(bed.addresses) + "\n")
        # An empty file, so that no configuration of the user has a say.
        configuration = bed.scratch / "ansible.cfg"
        configuration.touch()
        self._env = os.environ | {
            "ANSIBLE_FORKS": str(len(bed.nodes)),
            "ANSIBLE_PIPELINING": "1",
            "ANSIBLE_SSH_ARGS": shlex.join(ssh_options(bed, keep=keep)),
            "ANSIBLE_GATHERING": "explicit",
            "ANSIBLE_PYTHON_INTERPRETER": "/usr/bin/python3",
            "ANSIBLE_CALLBACK_PLUGINS": str(_CALLBACKS),
            "ANSIBLE_STDOUT_CALLBACK": "each_line",
            "ANSIBLE_CONFIG": str(configuration),
            "ANSIBLE_LOCAL_TEMP": str(bed.scratch / "local"),
            "LC_ALL": "C.UTF-8",
        }
        if keep:
            self.run(["true"])

    def _play(self, tasks: list[dict[str, Any]]) -> list[tuple[str, str, str]]:
        # JSON is YAML.
        playbook = self._bed.scratch / "playbook.json"
        playbook.write_text(json.dumps([{"hosts": "all", "gather_facts": False, "tasks": tasks}]))
        ended = subprocess.run(
            [_PLAYBOOK, "-i", self._inventory, playbook],
            env=self._env,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        if ended.returncode != 0:
            raise RuntimeError(f"ansible-playbook: {ended.stdout[-500:]}{ended.stderr[-500:]}")
        return [json.loads(line) for line in ended.stdout.splitlines() if line.startswith("[")]

    def run(self, commands: Sequence[str]) -> list[dict[str, str]]:
        tasks = [{"name": f"{i}", "raw": command} for i, command in enumerate(commands)]
        outputs: list[dict[str, str]] = [{} for _ in commands]
        for task, address, output in self._play(tasks):
            outputs[int(task)][address] = output
        return outputs

    def copy(self, source: Path) -> None:
        raise NotImplementedError

    def collect(self, path: str, folder: Path) -> None:
        fetch = {"src": path, "dest": f"{folder}/{{{{ inventory_hostname }}}}", "flat": True}
        self._play([{"name": "fetch", "fetch": fetch}])

    def stream(self, command: str, take: TakeLines) -> None:
        for address, output in self.run([command])[0].items():
            take(address, output.splitlines())

    def close(self) -> None:
        close_masters(self._bed)


def peer() -> Peer:
    return Ansible()
