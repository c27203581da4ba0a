from pathlib import Path

from cloister.cluster import Cluster
from cloister.cluster.inventory import inventory, remove_inventory, write_inventory
from cloister.plan.observed import Node


def node(name, *roles):
    number = int(name[-1])
    return Node(
        name=name,
        roles=roles,
        number=number,
        address=f"{name}.example",
        private_address=f"10.0.0.{number}",
    )


SEED = (
    node("manager1", "manager", "master"),
    node("workers1", "workers"),
    node("workers2", "workers"),
)


def cluster(nodes, name="demo"):
    return Cluster(name=name, uid="u", provider="local", folder=Path("/nowhere"), nodes=nodes)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_the_files_are_those_of_the_first_cloister():
    assert inventory(SEED) == {
        "manager.txt": "manager1.example\n",
        "master.txt": "manager1.example\n",
        "workers.txt": "workers1.example\nworkers2.example\n",
        "servers.txt": "workers1.example\nworkers2.example\n",
        "servers_public.txt": "workers1.example\nworkers2.example\n",
        "servers_private.txt": "10.0.0.1\n10.0.0.2\n",
        "mpi_hosts.txt": "10.0.0.1 slots=8 max-slots=8\n10.0.0.2 slots=8 max-slots=8\n",
    }


def test_without_workers_every_node_is_a_server():
    files = inventory([node("a1", "a"), node("b2", "b")], slots=2)
    assert files["servers.txt"] == "a1.example\nb2.example\n"
    assert files["mpi_hosts.txt"].splitlines()[1] == "10.0.0.2 slots=2 max-slots=2"


def test_files_of_roles_that_are_gone_are_removed_and_others_are_not(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    write_inventory(cluster(SEED), tmp_path)
    write_inventory(cluster(SEED[1:]), tmp_path)
    assert "manager.txt" not in names(tmp_path)
    assert "master.txt" not in names(tmp_path)
    assert {"notes.txt", "workers.txt"} <= set(names(tmp_path))


def test_removing_leaves_what_is_not_ours(tmp_path):
    (tmp_path / "README.md").write_text("x")
    write_inventory(cluster(SEED), tmp_path)
    remove_inventory("another", tmp_path)
    assert "workers.txt" in names(tmp_path)
    remove_inventory("demo", tmp_path)
    assert names(tmp_path) == ["README.md"]


def test_a_damaged_manifest_removes_nothing_elsewhere(tmp_path):
    precious = tmp_path / "precious.txt"
    precious.write_text("x")
    servers = tmp_path / "servers"
    servers.mkdir()
    (servers / ".cloister.json").write_text('{"cluster": "demo", "files": ["../precious.txt", 3]}')
    write_inventory(cluster(SEED), servers)
    assert precious.exists()
