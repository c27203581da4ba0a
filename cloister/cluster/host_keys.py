"""The nodes' SSH host keys, pinned: from the provider, the configuration, the user, or first contact."""

from __future__ import annotations

import subprocess
from pathlib import Path

from cloister.durable import read_json, write_json
from cloister.plan.observed import Node
from cloister.providers.openssh import SshSettings, ssh_settings

_PINS = "pins"
_LIMIT_S = 10.0
# Where a host has several keys: what today's servers offer first.
_KINDS = ("ssh-ed25519", "ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384", "ecdsa-sha2-nistp521")


def pinned(cluster: Path, node: Node) -> str:
    """The key to expect, a line like "ssh-ed25519 AAAA…"; empty if none is known yet."""
    if node.host_key:
        return node.host_key
    pin = read_json(_path(cluster, node))
    # A pin is for one machine: a node that has moved to another address is met for the first time.
    if isinstance(pin, dict) and pin.get("place") == _place(node):
        return str(pin.get("key", ""))
    return ""


def pin(cluster: Path, node: Node, key: str) -> None:
    """Expect this key from now on. Threads may pin different nodes at once: each has its own file."""
    path = _path(cluster, node)
    path.parent.mkdir(mode=0o700, exist_ok=True)
    write_json(path, {"place": _place(node), "key": key}, mode=0o600, durably=True)
    with (cluster / "known_hosts").open("a", encoding="utf-8") as file:
        file.write(known_hosts_line(cluster.name, node, key))


def known_hosts_line(cluster: str, node: Node, key: str) -> str:
    """Under the node's alias, as the generated ssh_config names it, and under its plain name."""
    return f"{alias(cluster, node)},{node.name} {key}\n"


def alias(cluster: str, node: Node) -> str:
    return f"{cluster}.{node.name}"


def key_known_to_user(node: Node) -> str:
    """The key under which the user's own known_hosts files have this node; empty if they do not."""
    settings = ssh_settings(node.address, user=node.user, port=node.port)
    name = settings.host_key_alias or _known_hosts_name(settings)
    keys = [key for file in settings.known_hosts_files for key in _keys_in(file, name)]
    keys.sort(key=lambda key: _KINDS.index(kind) if (kind := key.split()[0]) in _KINDS else 99)
    return keys[0] if keys else ""


def _keys_in(file: str, name: str) -> list[str]:
    """ssh-keygen finds hashed names too."""
    if not Path(file).is_file():
        return []
    try:
        answer = subprocess.run(
            ["ssh-keygen", "-F", name, "-f", file],
            capture_output=True,
            text=True,
            timeout=_LIMIT_S,
            stdin=subprocess.DEVNULL,
        )
    except (OSError, subprocess.TimeoutExpired):
        return []
    # Lines that begin with @ revoke a key or name an authority; neither is a key to expect.
    lines = [line.split() for line in answer.stdout.splitlines() if line[:1] not in ("#", "@", "")]
    return [" ".join(fields[1:3]) for fields in lines if len(fields) >= 3]


def _known_hosts_name(settings: SshSettings) -> str:
    if settings.port == 22:
        return settings.hostname
    return f"[{settings.hostname}]:{settings.port}"


def _place(node: Node) -> str:
    return f"{node.address}:{node.port or ''}"


def _path(cluster: Path, node: Node) -> Path:
    return cluster / _PINS / f"{node.name}.json"
