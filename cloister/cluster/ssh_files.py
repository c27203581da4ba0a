"""The cluster's `ssh_config` and `known_hosts`, for the system's ssh, rsync and every other SSH program.

Users may Include the ssh_config. What ~/.ssh/config says about a manual node's address is copied into
it, since with `ssh -F` nothing else is read, and since its Host lines do not match the node's name.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

from cloister.cluster.cluster import Cluster
from cloister.cluster.host_keys import alias, known_hosts_line
from cloister.durable import write_whole
from cloister.plan.observed import Node
from cloister.providers.openssh import SshSettings, host_patterns, matches, ssh_settings

_HOPS_MAX = 8


def write_ssh_files(cluster: Cluster) -> None:
    lines = [
        known_hosts_line(cluster.name, node, node.host_key)
        for node in cluster.nodes
        if node.host_key
    ]
    write_whole(cluster.folder / "known_hosts", "".join(lines), mode=0o600)
    write_whole(cluster.ssh_config, ssh_config(cluster), mode=0o600)


def ssh_config(cluster: Cluster) -> str:
    hops = _Hops(cluster)
    users = _OfUser()
    blocks = [_block(cluster, node, hops, users) for node in cluster.nodes]
    head = f"# Written by cloister for the cluster {cluster.name}; a launch writes it anew.\n"
    return head + "\n" + "\n".join([*blocks, *hops.blocks])


def _block(cluster: Cluster, node: Node, hops: _Hops, users: _OfUser) -> str:
    lines = [
        ("HostKeyAlias", alias(cluster.name, node)),
        ("UserKnownHostsFile", _quoted(cluster.folder / "known_hosts")),
        ("GlobalKnownHostsFile", "none"),
        ("StrictHostKeyChecking", "yes"),
        ("ConnectTimeout", str(max(1, round(node.connect_timeout_s)))),
        # It would try to add the machine's other keys to a known_hosts file that is ours.
        ("UpdateHostKeys", "no"),
    ]
    if cluster.provider == "local":
        lines = [*_local_lines(node), *lines]
    else:
        lines = [*_manual_lines(node, hops, users), *lines]
    if cluster.provider == "ec2" and node.key:
        # A server hears six keys at most, and an agent may offer more than that before the right one.
        lines.append(("IdentitiesOnly", "yes"))
    return _host(f"{alias(cluster.name, node)} {node.name}", lines)


def _local_lines(node: Node) -> list[tuple[str, str]]:
    return [
        ("HostName", node.address),
        ("Port", str(node.port)),
        ("User", node.user or ""),
        ("IdentityFile", _quoted(node.key)),
        ("IdentitiesOnly", "yes"),
        # Whoever includes this file may reach everything else through a proxy.
        ("ProxyCommand", "none"),
    ]


def _manual_lines(node: Node, hops: _Hops, users: _OfUser) -> list[tuple[str, str]]:
    settings = users.settings(node)
    lines = _connection_lines(settings)
    if node.key:
        lines.append(("IdentityFile", _quoted(Path(node.key).expanduser())))
    return lines + _proxy_lines(node.gateway or settings.proxy_jump, settings, hops)


def _connection_lines(settings: SshSettings) -> list[tuple[str, str]]:
    lines = [("HostName", settings.hostname), ("Port", str(settings.port))]
    if settings.user:
        lines.append(("User", settings.user))
    return lines + [("IdentityFile", _quoted(file)) for file in settings.identities]


def _proxy_lines(jump: str, settings: SshSettings, hops: _Hops) -> list[tuple[str, str]]:
    if jump:
        return [("ProxyJump", hops.named(jump))]
    if settings.proxy_command:
        return [("ProxyCommand", settings.proxy_command)]
    return []


class _OfUser:
    """The user's own settings for the nodes. `ssh -G` takes 12 ms, and a thousand nodes are mostly alike."""

    def __init__(self) -> None:
        self._hosts = host_patterns()
        self._known: dict[object, SshSettings] = {}

    def settings(self, node: Node) -> SshSettings:
        if self._hosts is None:
            return ssh_settings(node.address, user=node.user, port=node.port)
        key = (node.user, node.port, tuple(matches(node.address, line) for line in self._hosts))
        known = self._known.get(key)
        if known is None:
            known = ssh_settings(node.address, user=node.user, port=node.port)
            if known.hostname != node.address:
                # A name that ssh has made of it, which another node's may not be.
                return known
            self._known[key] = known
        return dataclasses.replace(known, hostname=node.address)


class _Hops:
    """The gateways on the way to the nodes, each with a block of its own: with `ssh -F`, ssh reads
    what it has to know about them from our file too."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._names: dict[str, str] = {}
        self.blocks: list[str] = []

    def named(self, jump: str) -> str:
        """`[user@]host[:port]`, several with commas, as names of blocks."""
        return ",".join(self._name(hop) for hop in jump.split(","))

    def _name(self, hop: str) -> str:
        if hop not in self._names and len(self._names) < _HOPS_MAX:
            name = f"{self._cluster.name}.gateway{len(self._names) + 1}"
            self._names[hop] = name
            self.blocks.append(self._hop_block(name, hop))
        return self._names.get(hop, hop)

    def _hop_block(self, name: str, hop: str) -> str:
        user, host, port = split_destination(hop)
        settings = ssh_settings(host, user=user, port=port)
        lines = _connection_lines(settings)
        lines.append(("HostKeyAlias", settings.host_key_alias or _known_hosts_name(settings)))
        return _host(name, lines + _proxy_lines(settings.proxy_jump, settings, self))


def split_destination(text: str) -> tuple[str | None, str, int | None]:
    """`[user@]host[:port]`, also as ssh://…; an IPv6 address with a port is in brackets."""
    rest = text.removeprefix("ssh://")
    user, at, rest = rest.rpartition("@")
    if rest.startswith("["):
        host, _, tail = rest[1:].partition("]")
        port = tail.removeprefix(":")
    else:
        host, _, port = rest.partition(":") if rest.count(":") == 1 else (rest, "", "")
    return (user if at else None), host, (int(port) if port.isdigit() else None)


def _known_hosts_name(settings: SshSettings) -> str:
    if settings.port == 22:
        return settings.hostname
    return f"[{settings.hostname}]:{settings.port}"


def _host(names: str, lines: list[tuple[str, str]]) -> str:
    return "\n".join([f"Host {names}", *(f"    {key} {value}" for key, value in lines)]) + "\n"


def _quoted(path: object) -> str:
    # ssh expands % in these values.
    text = str(path).replace("%", "%%")
    return f'"{text}"'
