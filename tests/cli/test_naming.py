"""copy-dns and inventory as they are typed."""

from __future__ import annotations

import subprocess

from calling import Caller


def test_copy_dns_says_on_which_nodes_the_names_are_verified(launched: Caller) -> None:
    called = launched.ok("copy-dns")
    assert called.stdout.startswith("manager1,workers[1-2]: 6 files verified: manager.txt, ")
    assert launched.ok("copy-dns", "--json").json["nodes"] == ["manager1", "workers1", "workers2"]


def test_a_node_without_them_is_named_with_status_3(launched: Caller) -> None:
    launched.ok("run-command", "-r", "workers1", "mv servers kept; touch servers")
    try:
        called = launched("copy-dns", "--within", "0")
    finally:
        launched.ok("run-command", "-r", "workers1", "rm servers; mv kept servers")
    assert called.status == 3
    assert "manager1,workers2: 6 files verified" in called.stdout
    assert "workers1: " in called.stderr
    assert "on 1 of 3 nodes: workers1" in called.stderr


def test_the_inventory_has_every_form(launched: Caller) -> None:
    nodes = launched.ok("inventory").json["nodes"]
    assert [node["name"] for node in nodes] == ["manager1", "workers1", "workers2"]
    assert all(node["host_key"].startswith("ssh-") for node in nodes)
    assert "[workers]\nworkers1\nworkers2" in launched.ok("inventory", "--format", "ansible").stdout
    lines = launched.ok("inventory", "--format", "mpi").stdout.splitlines()
    assert lines == [f"{node['private_address']} slots=8 max-slots=8" for node in nodes[1:]]


def test_the_inventory_for_ssh_is_one_that_ssh_uses(launched: Caller) -> None:
    file = launched.folder / "ssh_config"
    file.write_text(launched.ok("inventory", "--format", "ssh").stdout)
    answer = subprocess.run(
        ["ssh", "-F", file, "workers2", "echo $CLOISTER_NODE"], capture_output=True, text=True
    )
    assert answer.stdout.strip() == "workers2", answer.stderr
