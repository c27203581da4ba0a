"""What the user's own OpenSSH configuration says about a host, as `ssh -G` resolves it."""

from __future__ import annotations

import dataclasses
import fnmatch
import glob
import os
import pwd
import subprocess
from pathlib import Path

_LIMIT_S = 10.0
_SSH_PORT = 22
_INCLUDES_MAX = 16


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


def host_patterns() -> list[list[str]] | None:
    """The patterns of every Host line that OpenSSH reads here: hosts that match the same lines are
    configured alike. None if that cannot be said, because of Match lines."""
    found: list[list[str]] = []
    for file in _files():
        if not _read_hosts(file, file.parent, found, _INCLUDES_MAX):
            return None
    return found


def matches(host: str, patterns: list[str]) -> bool:
    """As a Host line does: any of its patterns, and none of those with a "!"."""

    def fits(pattern: str) -> bool:
        # OpenSSH knows * and ? but no brackets.
        return fnmatch.fnmatchcase(host, pattern.replace("[", "[[]"))

    if any(pattern.startswith("!") and fits(pattern[1:]) for pattern in patterns):
        return False
    return any(fits(pattern) for pattern in patterns)


def _files() -> list[Path]:
    """The user's, in the home that ssh looks for, which is not $HOME, and the system's."""
    home = Path(pwd.getpwuid(os.getuid()).pw_dir)
    return [home / ".ssh" / "config", Path("/etc/ssh/ssh_config")]


def _read_hosts(file: Path, folder: Path, found: list[list[str]], depth: int) -> bool:
    """False at a Match line, or where files include each other too deeply."""
    try:
        lines = file.read_text(errors="replace").splitlines()
    except OSError:
        return True
    for line in lines:
        keyword, _, rest = line.strip().replace("=", " ", 1).partition(" ")
        words = rest.replace('"', "").split()
        match keyword.lower():
            case "match":
                return False
            case "host":
                found.append(words)
            case "include":
                included = [Path(each) for word in words for each in _included(word, folder)]
                if depth == 0 or not all(
                    _read_hosts(each, folder, found, depth - 1) for each in included
                ):
                    return False
    return True


def _included(word: str, folder: Path) -> list[str]:
    """Relative to the folder of the user's or the system's configuration."""
    return sorted(glob.glob(str(folder / Path(word).expanduser())))  # noqa: PTH207 - may be absolute


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
