"""What the user's own OpenSSH configuration says about a host, as `ssh -G` resolves it."""

from __future__ import annotations

import dataclasses
import subprocess
from pathlib import Path

_LIMIT_S = 10.0
_SSH_PORT = 22


@dataclasses.dataclass(frozen=True, kw_only=True)
class SshSettings:
    """`identities` are the key files that exist; empty texts where nothing is configured."""

    hostname: str
    port: int = _SSH_PORT
    user: str = ""
    identities: tuple[str, ...] = ()
    proxy_jump: str = ""
    proxy_command: str = ""
    host_key_alias: str = ""
    known_hosts_files: tuple[str, ...] = ()


def ssh_settings(host: str, *, user: str | None = None, port: int | None = None) -> SshSettings:
    """What is given here wins over ~/.ssh/config; without an ssh program, OpenSSH's defaults."""
    command = ["ssh", "-G"]
    command += ["-l", user] if user else []
    command += ["-p", str(port)] if port else []
    try:
        answer = subprocess.run(
            [*command, "--", host],
            capture_output=True,
            text=True,
            timeout=_LIMIT_S,
            stdin=subprocess.DEVNULL,
        )
    except (OSError, subprocess.TimeoutExpired):
        return SshSettings(hostname=host, port=port or _SSH_PORT, user=user or "")
    if answer.returncode != 0:
        return SshSettings(hostname=host, port=port or _SSH_PORT, user=user or "")
    return _parsed(answer.stdout, host)


def _parsed(text: str, host: str) -> SshSettings:
    values: dict[str, list[str]] = {}
    for line in text.splitlines():
        key, _, value = line.partition(" ")
        values.setdefault(key, []).append("" if value == "none" else value)

    def first(key: str) -> str:
        return values.get(key, [""])[0]

    files = [Path(name).expanduser() for name in values.get("identityfile", ())]
    return SshSettings(
        hostname=first("hostname") or host,
        port=int(first("port") or _SSH_PORT),
        user=first("user"),
        identities=tuple(str(file) for file in files if file.is_file()),
        proxy_jump=first("proxyjump"),
        proxy_command=first("proxycommand"),
        host_key_alias=first("hostkeyalias"),
        known_hosts_files=tuple(
            str(Path(name).expanduser()) for name in first("userknownhostsfile").split()
        ),
    )
