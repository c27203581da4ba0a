"""From the development instance to the nodes' homes: exactly what is there, and nothing of the nodes' own goes."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from cloister.cluster import Cluster
from cloister.cluster.development import Development
from cloister.config.spec import SyncSpec
from cloister.deploy.redeploying import Redeployed, redeploy_development, redeploy_here
from cloister.errors import CloisterError
from cloister.transport.links import Links

LocalCluster = Callable[..., Cluster]


def home(cluster: Cluster, node: str) -> Path:
    return cluster.folder / "nodes" / node / "home"


def write(folder: Path, files: dict[str, str]) -> None:
    for path, text in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text)


def tree(folder: Path) -> dict[str, str]:
    paths = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_text() for path in paths}


class Scene:
    """A local node as the development instance, and a cluster of three."""

    def __init__(self, local_cluster: LocalCluster, folder: Path) -> None:
        self.developing, self.cluster = local_cluster(dev=1), local_cluster(manager=1, workers=2)
        self.folder = folder
        self.there = home(self.developing, "dev1")
        self.folders: tuple[str, ...] = ("clamor", ".bashrc")

    @property
    def development(self) -> Development:
        [node] = self.developing.nodes
        return Development(
            address=node.address,
            user=node.user,
            port=node.port,
            key=node.key,
            gateway=None,
            connect_timeout_s=5,
            folders=self.folders,
            known_hosts=self.folder / "known_hosts",
        )

    def redeploy(self) -> Redeployed:
        with Links(marks=self.cluster.marks, ssh_config=self.cluster.ssh_config) as links:
            return redeploy_development(
                links,
                self.cluster.workers,
                self.development,
                self.folder / "development",
                say=lambda text: None,
            )

    def on(self, node: str, folder: str = "clamor") -> dict[str, str]:
        return tree(home(self.cluster, node) / folder)


@pytest.fixture
def scene(local_cluster: LocalCluster, tmp_path: Path) -> Scene:
    scene = Scene(local_cluster, tmp_path)
    write(scene.there, {"clamor/a.cpp": "a", "clamor/lib/b.cpp": "b", ".bashrc": "# mine\n"})
    return scene


def test_the_workers_get_what_is_there_and_lose_what_is_gone(scene: Scene) -> None:
    first = scene.redeploy()
    assert first.errors == {}
    assert scene.on("workers1") == scene.on("workers2") == {"a.cpp": "a", "lib/b.cpp": "b"}
    assert (home(scene.cluster, "workers1") / ".bashrc").read_text() == "# mine\n"
    assert not (home(scene.cluster, "manager1") / "clamor").exists()
    (scene.there / "clamor/lib/b.cpp").unlink()
    write(scene.there, {"clamor/c.cpp": "c"})
    write(home(scene.cluster, "workers2"), {"clamor/a.cpp": "changed", "clamor/old": "x"})
    second = scene.redeploy()
    assert scene.on("workers1") == scene.on("workers2") == {"a.cpp": "a", "c.cpp": "c"}
    counts = {
        name: (s.sent, s.deleted, s.unchanged) for name, s in second.synced["~/clamor"].items()
    }
    assert counts == {"workers1": (1, 1, 1), "workers2": (2, 2, 0)}
    assert second.synced["~/.bashrc"]["workers1"].unchanged == 1


def test_what_git_ignores_is_code_too_and_git_itself_is_not(scene: Scene) -> None:
    write(
        scene.there,
        {"clamor/.gitignore": "build/\n", "clamor/build/prog": "p", "clamor/.git/x": "x"},
    )
    (scene.there / "clamor/build/prog").chmod(0o755)
    scene.redeploy()
    assert "build/prog" in scene.on("workers1")
    assert ".git/x" not in scene.on("workers1")
    assert os.access(home(scene.cluster, "workers1") / "clamor/build/prog", os.X_OK)


def test_no_key_of_the_first_cloister_reaches_a_node_nor_this_machine(scene: Scene) -> None:
    write(scene.there, {"clamor/me.pem": "secret"})
    scene.redeploy()
    assert "me.pem" not in scene.on("workers1")
    assert "me.pem" not in tree(scene.folder / "development" / "clamor")


def test_logs_on_the_nodes_stay(scene: Scene) -> None:
    log = "experiments/cpp/ring/worker0_01312026_1200.log"
    write(scene.there, {"clamor/experiments/cpp/ring/ring.cpp": "r"})
    write(home(scene.cluster, "workers1"), {f"clamor/{log}": "result"})
    scene.redeploy()
    assert scene.on("workers1")[log] == "result"


def test_in_the_work_folder_nothing_is_deleted_and_the_names_are_the_clusters_own(
    scene: Scene,
) -> None:
    scene.folders = ("cloister",)
    write(scene.there, {"cloister/tool.py": "t", "cloister/servers/servers.txt": "another's"})
    own = {"servers/servers.txt": "ours", "results/x": "precious"}
    write(home(scene.cluster, "workers1") / "cloister", own)
    scene.redeploy()
    assert scene.on("workers1", "cloister") == {**own, "tool.py": "t"}


def test_a_node_that_fails_does_not_keep_the_others_from_it(scene: Scene) -> None:
    # A file where the folder should be.
    write(home(scene.cluster, "workers1"), {"clamor": "in the way"})
    done = scene.redeploy()
    assert set(done.errors) == {"workers1"}
    assert set(done.synced["~/clamor"]) == set(done.synced["~/.bashrc"]) == {"workers2"}
    assert scene.on("workers2") == {"a.cpp": "a", "lib/b.cpp": "b"}


def test_a_folder_that_is_not_there_is_named_and_no_node_is_touched(scene: Scene) -> None:
    scene.folders = ("clamor", "nowhere")
    with pytest.raises(CloisterError, match="nowhere"):
        scene.redeploy()
    assert scene.on("workers1") == {}


def test_another_machine_at_the_address_is_not_believed(scene: Scene) -> None:
    scene.redeploy()
    [node] = scene.developing.nodes
    key = "AAAAC3NzaC1lZDI1NTE5AAAAIGTBsh1Z7vMQ3bTGSqIcndkrkfh4gx5zHasC9hwcmrE0"
    scene.development.known_hosts.write_text(f"[{node.address}]:{node.port} ssh-ed25519 {key}\n")
    with pytest.raises(CloisterError, match="Host key verification failed"):
        scene.redeploy()


def test_from_this_machine_a_node_that_fails_is_left_out(
    local_cluster: LocalCluster, tmp_path: Path
) -> None:
    cluster = local_cluster(2)
    write(tmp_path / "app", {"x": "x"})
    write(home(cluster, "workers1"), {"cloister/app": "in the way"})
    specs = [SyncSpec(source=str(tmp_path / "app"), target=name) for name in ("app", "more")]
    with Links(marks=cluster.marks) as links:
        done = redeploy_here(links, cluster.nodes, specs, tmp_path / "cache", say=lambda text: None)
    assert set(done.errors) == {"workers1"}
    assert set(done.synced["app"]) == set(done.synced["more"]) == {"workers2"}
    assert (home(cluster, "workers2") / "cloister/more/x").read_text() == "x"
