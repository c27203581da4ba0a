"""The cluster as an inventory of Ansible, with the pinned host keys.

https://docs.ansible.com/ansible/latest/inventory_guide/intro_inventory.html
"""

from __future__ import annotations

import shlex
from pathlib import Path

from cloister.cluster.cluster import Cluster
from cloister.cluster.host_keys import alias
from cloister.plan.observed import Node


def ansible_inventory(cluster: Cluster) -> str:
    """In INI form: a line for each node, a group for each role. What is not given, ~/.ssh/config says."""
    lines = [f"# Written by cloister for the cluster {cluster.name}."]
    lines += [" ".join([node.name, *_variables(cluster, node)]) for node in cluster.nodes]
    for role in cluster.roles:
        lines += ["", f"[{role}]", *(node.name for node in cluster.of_role(role))]
    return "\n".join(lines) + "\n"


def _variables(cluster: Cluster, node: Node) -> list[str]:
    given = {
        "ansible_host": node.address,
        "ansible_port": str(node.port or ""),
        "ansible_user": node.user or "",
        "ansible_ssh_private_key_file": str(Path(node.key).expanduser()) if node.key else "",
        "ansible_ssh_common_args": _ssh_arguments(cluster, node),
    }
    return [f"{key}={shlex.quote(value)}" for key, value in given.items() if value]


def _ssh_arguments(cluster: Cluster, node: Node) -> str:
    # ssh expands % in the name of a file, and splits it at blanks unless it is quoted.
    known_hosts = str(cluster.folder / "known_hosts").replace("%", "%%")
    options = {
        "UserKnownHostsFile": f'"{known_hosts}"',
        "HostKeyAlias": alias(cluster.name, node),
        "StrictHostKeyChecking": "yes",
        "UpdateHostKeys": "no",
    }
    if node.key:
        options["IdentitiesOnly"] = "yes"
    if node.gateway:
        options["ProxyJump"] = node.gateway
    return shlex.join(word for item in options.items() for word in ("-o", "=".join(item)))
