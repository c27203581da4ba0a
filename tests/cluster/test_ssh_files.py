import dataclasses
import os
import subprocess
from pathlib import Path

import pytest

from cloister.cluster import Cluster, ssh_files
from cloister.cluster.ssh_files import split_destination, ssh_config
from cloister.plan.observed import Node
from cloister.providers.openssh import SshSettings


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("h", (None, "h", None)),
        ("u@h", ("u", "h", None)),
        ("u@h:22", ("u", "h", 22)),
        ("ssh://u@h:2", ("u", "h", 2)),
        ("a@b@h", ("a@b", "h", None)),
        ("[::1]:5", (None, "::1", 5)),
        ("::1", (None, "::1", None)),
    ],
)
def test_a_destination_has_user_host_and_port(text, expected):
    assert split_destination(text) == expected


def manual(**fields):
    node = Node(
        **{"name": "a", "roles": ("w",), "number": 1, "address": "gpu1", "private_address": "gpu1"}
        | fields
    )
    return Cluster(
        name="demo", uid="u", provider="manual", folder=Path("/state/my demo"), nodes=(node,)
    )


def resolved(tmp_path, cluster, host):
    """What the real ssh makes of the file."""
    file = tmp_path / "config"
    file.write_text(ssh_config(cluster))
    answer = subprocess.run(["ssh", "-G", "-F", file, host], capture_output=True, text=True)
    assert answer.returncode == 0, answer.stderr
    return dict(line.partition(" ")[::2] for line in answer.stdout.splitlines())


def test_an_ec2_nodes_key_is_offered_before_all_that_an_agent_has(tmp_path, monkeypatch):
    monkeypatch.setattr(
        ssh_files, "ssh_settings", lambda host, **given: SshSettings(hostname="10.1.1.1")
    )
    cluster = dataclasses.replace(manual(key="/keys/mine"), provider="ec2")
    found = resolved(tmp_path, cluster, "a")
    assert (found["identitiesonly"], found["identityfile"]) == ("yes", "/keys/mine")


def test_what_the_users_configuration_says_of_a_manual_node_is_kept(tmp_path, monkeypatch):
    settings = {
        "gpu1": SshSettings(hostname="10.1.1.1", port=2200, user="me", proxy_jump="hop"),
        "hop": SshSettings(hostname="hop.example", user="jumper"),
    }
    monkeypatch.setattr(ssh_files, "ssh_settings", lambda host, **given: settings[host])
    cluster = manual(connect_timeout_s=3)
    found = resolved(tmp_path, cluster, "a")
    assert (found["hostname"], found["port"], found["user"]) == ("10.1.1.1", "2200", "me")
    assert found["proxyjump"] == "demo.gateway1"
    assert found["userknownhostsfile"] == "/state/my demo/known_hosts"
    assert found["stricthostkeychecking"] == "true"
    hop = resolved(tmp_path, cluster, "demo.gateway1")
    assert (hop["hostname"], hop["user"], hop["hostkeyalias"]) == (
        "hop.example",
        "jumper",
        "hop.example",
    )


def test_a_configured_gateway_wins_over_the_users(tmp_path, monkeypatch):
    def settings(host, user=None, port=None):
        return SshSettings(hostname=host, port=port or 22, user=user or "", proxy_jump="")

    monkeypatch.setattr(ssh_files, "ssh_settings", settings)
    cluster = manual(gateway="me@bastion:2022")
    hop = resolved(tmp_path, cluster, resolved(tmp_path, cluster, "demo.a")["proxyjump"])
    assert (hop["user"], hop["hostname"], hop["port"]) == ("me", "bastion", "2022")
    assert hop["hostkeyalias"] == "[bastion]:2022"


@pytest.mark.parametrize(("patterns", "asked"), [([["*"]], 1), ([["10.0.0.1"]], 2), (None, 3)])
def test_the_users_ssh_is_asked_once_for_nodes_that_it_does_not_tell_apart(
    tmp_path, monkeypatch, patterns, asked
):
    hosts = []

    def settings(host, user=None, port=None):
        hosts.append(host)
        return SshSettings(hostname=host, user="me")

    monkeypatch.setattr(ssh_files, "ssh_settings", settings)
    monkeypatch.setattr(ssh_files, "host_patterns", lambda: patterns)
    cluster = manual()
    nodes = tuple(
        dataclasses.replace(cluster.nodes[0], name=f"n{number}", address=f"10.0.0.{number}")
        for number in (1, 2, 3)
    )
    cluster = dataclasses.replace(cluster, nodes=nodes)
    assert len(ssh_config(cluster)) > 0 and len(hosts) == asked
    for node in nodes:
        found = resolved(tmp_path, cluster, node.name)
        assert (found["hostname"], found["user"]) == (node.address, "me")


def test_the_generated_file_works_with_f_and_included(local_cluster, tmp_path):
    cluster = local_cluster(2)
    including = tmp_path / "config"
    including.write_text(
        f'Include "{cluster.ssh_config}"\nHost *\n  ProxyJump nowhere.invalid\n  User nobody-at-all\n'
    )
    for file, name in ((cluster.ssh_config, "workers1"), (including, f"{cluster.name}.workers2")):
        answer = subprocess.run(
            ["ssh", "-F", file, name, "echo $CLOISTER_NODE"],
            capture_output=True,
            text=True,
            env={"PATH": os.environ["PATH"], "HOME": str(tmp_path)},
        )
        assert answer.stdout.strip() == name.rpartition(".")[2], answer.stderr
