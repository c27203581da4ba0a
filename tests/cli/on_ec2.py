"""The `cloister` command of a user of the simulated EC2, with a configuration of its own."""

from __future__ import annotations

import dataclasses
import getpass
import json
from pathlib import Path
from typing import Any

from calling import Called, Caller
from cloud.client import Cloud


@dataclasses.dataclass(frozen=True, kw_only=True)
class User:
    """`name` is that of the cluster in the configuration."""

    cloud: Cloud
    folder: Path
    name: str

    def configure(self, **changes: Any) -> None:
        """Write the configuration: two workers and a manager, with changes to its cluster part."""
        ec2 = {"region": "us-east-1", "machine": "c7i.large", "image": "ubuntu-24.04"}
        cluster = {
            "name": self.name,
            "provider": "ec2",
            "roles": {"manager": 1, "workers": 2},
            "ssh": {"user": getpass.getuser(), "port": 2222},
            **changes,
            "ec2": {**ec2, **changes.get("ec2", {})},
        }
        rest = {key: cluster.pop(key) for key in ("deploy", "experiments") if key in cluster}
        self.write("cloister.json", json.dumps({"cluster": cluster, **rest}))

    def write(self, name: str, text: str) -> Path:
        path = self.folder / name
        path.write_text(text)
        return path

    def __call__(self, *arguments: str, without: tuple[str, ...] = (), **env: str) -> Called:
        """without: variables that this call does not have."""
        variables = {**self.cloud.variables, **env}
        kept = {name: value for name, value in variables.items() if name not in without}
        return Caller(folder=self.folder)(*arguments, **kept)

    def findings(self, *arguments: str) -> list[dict[str, Any]]:
        return list(self("doctor", "--json", *arguments).json)

    def living(self) -> list[dict[str, Any]]:
        return [
            instance
            for instance in self.cloud.instances()
            if instance["tags"].get("cloister:cluster") == self.name
            and instance["state"] not in ("shutting-down", "terminated")
        ]
