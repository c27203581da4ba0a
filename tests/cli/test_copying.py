"""redeploy and login-ami as they are typed; a second local cluster is the development instance."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from calling import Caller

from cloister.cluster import Cluster


@pytest.fixture
def developing(launched: Caller, local_cluster: Callable[..., Cluster], tmp_path: Path) -> Path:
    """A configuration of `launched` that names a development instance with ~/clamor on it."""
    dev = local_cluster(dev=1)
    [node] = dev.nodes
    folder = dev.folder / "nodes/dev1/home/clamor"
    folder.mkdir()
    (folder / "main.cpp").write_text("int main() {}\n")
    file = tmp_path / "development.yaml"
    file.write_text(
        "cluster:\n  ec2:\n    development:\n"
        f"      {{address: {node.address}, port: {node.port}, user: {node.user}, key: {node.key}, folders: [clamor]}}\n"
    )
    return file


def test_from_the_development_instance_to_the_workers(launched: Caller, developing: Path) -> None:
    files = ("-c", "cloister.yaml", "-c", str(developing))
    called = launched.ok("redeploy", *files)
    assert (
        "~/clamor → workers[1-2]: 1 files sent (14 bytes), 0 deleted, 0 unchanged" in called.stdout
    )
    again = launched.ok("redeploy", *files, "-r", "manager", "--json").json
    assert set(again["synced"]["~/clamor"]) == {"manager1"}
    # What the configuration deploys, on every node.
    called = launched.ok("redeploy", *files, "--from", "here")
    assert "app → manager1,workers[1-2]: " in called.stdout


def test_a_node_that_cannot_have_it_ends_with_status_3(launched: Caller, developing: Path) -> None:
    launched.ok("run-command", "-r", "workers1", "rm -rf ~/clamor; touch ~/clamor")
    try:
        called = launched("redeploy", "-c", "cloister.yaml", "-c", str(developing))
        alone = launched("redeploy", "-c", "cloister.yaml", "-c", str(developing), "-r", "workers1")
    finally:
        launched.ok("run-command", "-r", "workers1", "rm ~/clamor")
    assert called.status == 3
    assert "workers2: 1 files sent" in called.stdout or "workers2: 0 files sent" in called.stdout
    assert "not redeployed on 1 of 2 nodes: workers1" in called.stderr
    assert alone.status == 1


def test_a_terminal_on_it_whose_host_key_is_pinned_at_first_contact(
    launched: Caller, developing: Path
) -> None:
    known = launched.state / "development" / "known_hosts"
    known.unlink(missing_ok=True)
    files = ("-c", "cloister.yaml", "-c", str(developing))
    _, shown = launched.in_terminal("login-ami", *files, typed="echo on $CLOISTER_NODE; exit\n")
    assert "on dev1" in shown
    line = known.read_text()
    launched.in_terminal("login-ami", *files, typed="exit\n")
    assert known.read_text() == line
    where = line.split()[0]
    key = "AAAAC3NzaC1lZDI1NTE5AAAAIGTBsh1Z7vMQ3bTGSqIcndkrkfh4gx5zHasC9hwcmrE0"
    known.write_text(f"{where} ssh-ed25519 {key}\n")
    status, shown = launched.in_terminal("login-ami", *files)
    assert status == 255
    assert "Host key verification failed" in shown


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("login-ami", "names no development instance"),
        ("redeploy --from development", "names no development instance"),
    ],
)
def test_without_one_it_is_said_what_to_write(launched: Caller, line: str, said: str) -> None:
    called = launched(*line.split())
    assert called.status == 2
    assert said in called.stderr
    assert "development: {address:" in called.stderr
