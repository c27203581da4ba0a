"""From the files of servers/ to nodes of the clusters that exist."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from cloister.cluster import Cluster, addresses
from cloister.errors import CloisterError, UsageError
from cloister.plan.observed import Node, ObservedNode


def node(name: str, address: str, *roles: str) -> Node:
    return Node(
        name=name, roles=roles, number=1, address=address, private_address=f"10.{address}", key="k"
    )


def cluster(name: str, *nodes: Node) -> Cluster:
    return Cluster(name=name, uid=name, provider="local", folder=Path(name), nodes=nodes)


ONE = cluster(
    "one",
    node("m", "1.0.0.1", "manager", "master"),
    node("a", "1.0.0.2", "workers"),
    node("b", "1.0.0.3", "workers"),
)
TWO = cluster("two", node("x", "2.0.0.1", "workers"), node("y", "2.0.0.2", "workers"))


@pytest.fixture(autouse=True)
def known(monkeypatch: pytest.MonkeyPatch) -> list[Cluster]:
    clusters = [ONE, TWO]
    monkeypatch.setattr(addresses, "_clusters", lambda state: clusters)
    monkeypatch.setattr(addresses, "key_known_to_user", lambda node: "")
    return clusters


def lists(folder: Path, **files: str) -> Path:
    for name, text in files.items():
        (folder / f"{name}.txt").write_text(text)
    return folder


def found(folder: Path, **given: Path | None) -> addresses.Addresses:
    return addresses.addresses(
        workers_file=given.get("workers"), master_file=given.get("master"), folder=folder
    )


def test_the_lists_that_launch_writes(tmp_path: Path) -> None:
    folder = lists(tmp_path, servers="1.0.0.2\n1.0.0.3\n", master="1.0.0.2\n", manager="1.0.0.1\n")
    got = found(folder)
    assert (got.manager, got.master, got.workers) == ("1.0.0.1", "1.0.0.2", ("1.0.0.2", "1.0.0.3"))
    assert got.first(1).workers == ("1.0.0.2",)


def test_the_manager_is_the_masters_node_unless_there_is_a_list(tmp_path: Path) -> None:
    assert found(lists(tmp_path, servers="a", driver="d\n")).manager == "d"
    other = tmp_path / "other"
    other.mkdir()
    assert found(tmp_path, master=lists(other, head="h") / "head.txt").manager == "h"
    assert found(tmp_path, master=lists(other, manager="m") / "head.txt").manager == "m"


def test_comments_blank_lines_and_slots_are_not_addresses(tmp_path: Path) -> None:
    text = "# workers\n\n 10.0.0.1 slots=8 max-slots=8\nfe80::1 # two\n"
    assert found(lists(tmp_path, servers=text, master="m")).workers == ("10.0.0.1", "fe80::1")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a\nb\na\n", r"servers.txt:3: a is in line 1 already"),
        ("a\n-oProxyCommand=x\n", r"servers.txt:2: '-oProxyCommand=x' is not an address"),
        ("\n# none\n", r"servers.txt is empty"),
    ],
)
def test_bad_lists_are_named_with_the_line(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        found(lists(tmp_path, servers=text, master="m"))


def test_a_list_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"servers\.txt cannot be read: No such file") as error:
        found(tmp_path)
    assert "`cloister launch` writes the lists" in error.value.hint
    with pytest.raises(UsageError, match=r"master\.txt cannot be read"):
        found(lists(tmp_path, servers="a"))


def test_too_few_workers_say_where_and_how_many(tmp_path: Path) -> None:
    got = found(lists(tmp_path, servers="a\nb\n", master="m"))
    with pytest.raises(UsageError, match=r"servers.txt has 2 addresses, -k asks for 3"):
        got.first(3)


def test_a_configured_cluster_brings_its_own_lists(tmp_path: Path) -> None:
    got = addresses.addresses(workers_file=None, master_file=None, folder=tmp_path, cluster=ONE)
    assert (got.manager, got.workers) == ("1.0.0.1", ("1.0.0.2", "1.0.0.3"))
    with pytest.raises(UsageError, match="cluster two has no node of the role master"):
        addresses.addresses(workers_file=None, master_file=None, folder=tmp_path, cluster=TWO)


def test_nodes_are_found_by_public_and_private_address_and_name(tmp_path: Path) -> None:
    got, nodes = addresses.cluster_at(["1.0.0.1", "10.1.0.0.2", "b"], state=tmp_path)
    assert got is ONE
    assert [entry.name for entry in nodes.values()] == ["m", "a", "b"]


def test_addresses_of_two_clusters_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"1\.0\.0\.1 is of one, 2\.0\.0\.1 of two"):
        addresses.cluster_at(["1.0.0.1", "1.0.0.2", "2.0.0.1"], state=tmp_path)


def test_two_clusters_of_the_same_machines_have_to_be_told_apart(
    tmp_path: Path, known: list[Cluster]
) -> None:
    known.append(dataclasses.replace(ONE, name="again"))
    with pytest.raises(UsageError, match="one, again all have these addresses"):
        addresses.cluster_at(["1.0.0.1"], state=tmp_path)
    assert addresses.cluster_at(["1.0.0.1"], state=tmp_path, cluster=ONE)[0] is ONE


def test_a_dead_node_is_named(tmp_path: Path, known: list[Cluster]) -> None:
    dead = ObservedNode(node=node("c", "1.0.0.9", "workers"), state="dead", detail="no sshd")
    known[0] = dataclasses.replace(ONE, dead=(dead,))
    with pytest.raises(CloisterError, match=r"1\.0\.0\.9 of cluster one cannot be used.*no sshd"):
        addresses.cluster_at(["1.0.0.1", "1.0.0.9"], state=tmp_path)


def test_a_stranger_without_a_known_host_key_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"not in your known_hosts: 9\.9\.9\.9") as error:
        addresses.cluster_at(["1.0.0.1", "9.9.9.9"], state=tmp_path)
    assert "`ssh 9.9.9.9` once" in error.value.hint
    assert list(tmp_path.iterdir()) == []


def test_strangers_are_reached_with_the_given_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(addresses, "key_known_to_user", lambda node: "ssh-ed25519 AAAA")
    key = tmp_path / "key.pem"
    alone, nodes = addresses.cluster_at(["9.9.9.9"], state=tmp_path, key=key)
    assert (nodes["9.9.9.9"].key, nodes["9.9.9.9"].host_key) == (str(key), "ssh-ed25519 AAAA")
    assert alone.uid.startswith("by_address-")
    mixed, nodes = addresses.cluster_at(["1.0.0.1", "9.9.9.9"], state=tmp_path, key=key)
    assert mixed.uid == ONE.uid
    assert mixed.folder == tmp_path / "by_address"
    assert nodes["1.0.0.1"].key == "k"
