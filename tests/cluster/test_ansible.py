"""The inventory as Ansible reads it, or as a parser of the same rules does where there is no Ansible."""

from __future__ import annotations

import json
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import Any

from cloister.cluster import Cluster
from cloister.cluster.ansible import ansible_inventory
from cloister.plan.observed import Node


def node(name: str, **fields: Any) -> Node:
    given = {"roles": (name[:-1],), "number": int(name[-1]), "address": f"10.0.0.{name[-1]}"}
    return Node(**{"name": name, "private_address": "10.0.0.1", **given, **fields})


CLUSTER = Cluster(
    name="demo",
    uid="u",
    provider="ec2",
    folder=Path("/state/my demo"),
    nodes=(
        node("master1", roles=("master", "manager"), user="ubuntu", port=2222, key="/keys/a b"),
        node("workers2"),
        node("workers3", gateway="me@bastion:22"),
    ),
)


def read(text: str, folder: Path) -> tuple[dict[str, dict[str, Any]], dict[str, list[str]]]:
    """Variables by host, and hosts by group."""
    if shutil.which("ansible-inventory") is None:
        return parsed(text)
    file = folder / "hosts.ini"
    file.write_text(text)
    command = ["ansible-inventory", "-i", file, "--list"]
    answer = subprocess.run(command, capture_output=True, text=True, check=True)
    data = json.loads(answer.stdout)
    groups = {name: entry["hosts"] for name, entry in data.items() if "hosts" in entry}
    return data["_meta"]["hostvars"], groups


def parsed(text: str) -> tuple[dict[str, dict[str, Any]], dict[str, list[str]]]:
    hosts: dict[str, dict[str, Any]] = {}
    groups: dict[str, list[str]] = {}
    group = None
    for line in text.splitlines():
        words = shlex.split(line, comments=True)
        if line.startswith("["):
            group = groups.setdefault(line.strip("[]"), [])
        elif words and group is not None:
            group.append(words[0])
        elif words:
            pairs = (word.split("=", 1) for word in words[1:])
            hosts[words[0]] = {k: int(v) if v.isdigit() else v for k, v in pairs}
    return hosts, groups


def test_every_node_has_its_variables_and_every_role_its_group(tmp_path: Path) -> None:
    hosts, groups = read(ansible_inventory(CLUSTER), tmp_path)
    assert groups == {
        "master": ["master1"],
        "manager": ["master1"],
        "workers": ["workers2", "workers3"],
    }
    master = hosts["master1"]
    assert master["ansible_host"] == "10.0.0.1"
    assert (master["ansible_user"], master["ansible_port"]) == ("ubuntu", 2222)
    assert master["ansible_ssh_private_key_file"] == "/keys/a b"
    assert "ansible_user" not in hosts["workers2"]


def test_host_keys_are_the_pinned_ones_for_ssh_itself(tmp_path: Path) -> None:
    hosts, _ = read(ansible_inventory(CLUSTER), tmp_path)
    for name in hosts:
        arguments = shlex.split(hosts[name]["ansible_ssh_common_args"])
        answer = subprocess.run(
            ["ssh", "-F", "none", *arguments, "-G", "host"],
            capture_output=True,
            text=True,
            check=True,
        )
        found = dict(line.partition(" ")[::2] for line in answer.stdout.splitlines())
        assert found["userknownhostsfile"] == "/state/my demo/known_hosts"
        assert found["hostkeyalias"] == f"demo.{name}"
        assert found["stricthostkeychecking"] == "true"
    assert found["proxyjump"] == "me@bastion:22"
