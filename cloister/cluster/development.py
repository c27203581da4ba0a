"""The development instance: a machine that belongs to no cluster, on which code is written and images are made of."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

from cloister.errors import CloisterError, UsageError

if TYPE_CHECKING:
    from cloister.config.spec import ClusterSpec

_FOLDER = "development"
_EXAMPLE = "write, for example: cluster: {ec2: {development: {address: dev.example.org, folders: [clamor, .bashrc]}}}"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Development:
    """How it is reached; where a value is None, ~/.ssh/config decides. `folders` are below its user's home."""

    address: str
    user: str | None
    port: int | None
    key: str | None
    gateway: str | None
    connect_timeout_s: float
    folders: tuple[str, ...]
    known_hosts: Path

    def ssh(self) -> list[str]:
        """The ssh command without the address. The host key is pinned at first contact, and no agent is lent."""
        options = {
            "UserKnownHostsFile": f'{_quoted(self.known_hosts)} "~/.ssh/known_hosts"',
            "StrictHostKeyChecking": "accept-new",
            "HashKnownHosts": "no",
            "UpdateHostKeys": "no",
            "ForwardAgent": "no",
            "ConnectTimeout": str(max(1, round(self.connect_timeout_s))),
        }
        command = ["ssh", *(word for item in options.items() for word in ("-o", "=".join(item)))]
        command += ["-l", self.user] if self.user else []
        command += ["-p", str(self.port)] if self.port else []
        command += ["-J", self.gateway] if self.gateway else []
        if self.key:
            command += ["-o", "IdentitiesOnly=yes", "-i", str(Path(self.key).expanduser())]
        return command


def development_of(spec: ClusterSpec, state: Path) -> Development:
    """The one that the configuration names; UsageError if it names none."""
    found = spec.ec2.development
    if found is None:
        raise UsageError(
            f"cluster {spec.name}: the configuration names no development instance", hint=_EXAMPLE
        )
    folder = state.resolve() / _FOLDER
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise CloisterError(f"making {folder}: {error.strerror}") from error
    return Development(
        address=found.address,
        user=found.user or spec.ssh.user,
        port=found.port or spec.ssh.port,
        key=found.key or spec.ssh.key,
        gateway=spec.ssh.gateway,
        connect_timeout_s=spec.ssh.connect_timeout,
        folders=tuple(found.folders),
        known_hosts=folder / "known_hosts",
    )


def expect_folders(development: Development) -> None:
    """UsageError if there is nothing that could be copied from it."""
    if not development.folders:
        raise UsageError(
            f"cluster.ec2.development ({development.address}) names no folders to copy",
            hint=_EXAMPLE,
        )


def _quoted(path: Path) -> str:
    # ssh expands % in these values.
    text = str(path).replace("%", "%%")
    return f'"{text}"'
