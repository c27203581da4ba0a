"""Code on real nodes: synchronised, built once, distributed, protected."""

from __future__ import annotations

import dataclasses
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cloister.cluster import Cluster
from cloister.config.spec import SyncSpec
from cloister.deploy.deploying import Deployed, deploy, facts_of
from cloister.errors import CloisterError
from cloister.transport.links import Links


@dataclasses.dataclass(frozen=True, kw_only=True)
class Site:
    cluster: Cluster
    links: Links
    facts: dict[str, dict[str, Any]]

    def there(self, node: str, path: str) -> Path:
        return self.cluster.folder / "nodes" / node / "home/cloister" / path


@pytest.fixture(scope="module")
def site(module_cluster: Any) -> Iterator[Site]:
    cluster = module_cluster(manager=1, workers=2)
    with Links(marks=cluster.marks) as links:
        yield Site(cluster=cluster, links=links, facts=facts_of(links, cluster.nodes))


NODES = ("manager1", "workers1", "workers2")


class Code:
    """A source folder, deployed to a target of its own."""

    def __init__(self, site: Site, folder: Path) -> None:
        self.site = site
        self.folder = folder / "source"
        self.cache = folder / "cache"
        self.counter = folder / "counter"
        self.target = f"code-{folder.name}"
        self.folder.mkdir()
        (self.folder / "main.c").write_text("one\n")
        self.said: list[str] = []

    @property
    def build(self) -> dict[str, Any]:
        return {
            "command": f"echo >> {self.counter}; tr a-z A-Z < main.c > main",
            "artifacts": ["main"],
        }

    def deploy(self, facts: Any = None, **fields: Any) -> Deployed:
        spec = SyncSpec.model_validate(
            {"source": str(self.folder), "target": self.target, "build": self.build, **fields}
        )
        return deploy(
            self.site.links,
            self.site.cluster.nodes,
            [spec],
            facts or self.site.facts,
            self.cache,
            say=self.said.append,
        )

    def there(self, node: str, name: str) -> Path:
        return self.site.there(node, f"{self.target}/{name}")

    @property
    def runs(self) -> int:
        return len(self.counter.read_text()) if self.counter.exists() else 0


@pytest.fixture
def code(site: Site, tmp_path: Path) -> Code:
    return Code(site, tmp_path)


def test_every_node_gets_the_code_and_what_one_of_them_built(code: Code) -> None:
    deployed = code.deploy()
    assert code.runs == 1
    for node in NODES:
        assert code.there(node, "main.c").read_text() == "one\n"
        assert code.there(node, "main").read_text() == "ONE\n"
    assert [made.builder for made in deployed.builds] == ["manager1"]
    assert len(deployed.keys[code.target]) == 64


def test_deploying_again_builds_and_sends_nothing(code: Code) -> None:
    first = code.deploy()
    inodes = [code.there(node, "main").stat().st_ino for node in NODES]
    second = code.deploy()
    assert code.runs == 1
    assert second.keys == first.keys
    assert {s.sent for s in second.synced[code.target].values.values()} == {0}
    assert {s.deleted for s in second.synced[code.target].values.values()} == {0}
    assert [code.there(node, "main").stat().st_ino for node in NODES] == inodes


def test_a_change_of_the_source_is_built_and_changes_the_key(code: Code) -> None:
    first = code.deploy()
    (code.folder / "main.c").write_text("two\n")
    second = code.deploy()
    assert code.runs == 2
    assert first.keys != second.keys
    assert {code.there(node, "main").read_text() for node in NODES} == {"TWO\n"}


def test_each_architecture_has_a_build_of_its_own(code: Code) -> None:
    facts = {name: dict(entry) for name, entry in code.site.facts.items()}
    facts["workers2"]["machine"] = "aarch64"
    build = {**code.build, "command": f"echo >> {code.counter}; echo $CLOISTER_NODE > main"}
    deployed = code.deploy(facts=facts, build=build)
    assert code.runs == 2
    assert {made.machine: made.builder for made in deployed.builds} == {
        facts["manager1"]["machine"]: "manager1",
        "aarch64": "workers2",
    }
    assert code.there("workers1", "main").read_text() == "manager1\n"
    assert code.there("workers2", "main").read_text() == "workers2\n"


def test_only_nodes_of_the_roles_get_it(code: Code) -> None:
    code.deploy(roles=["workers"])
    assert not code.there("manager1", "main.c").exists()
    assert code.there("workers1", "main").exists()
    assert code.there("workers2", "main").exists()


def test_what_the_source_no_longer_has_goes_and_the_artifacts_stay(code: Code) -> None:
    (code.folder / "old.h").write_text("")
    code.deploy()
    (code.folder / "old.h").unlink()
    code.deploy()
    assert not code.there("workers1", "old.h").exists()
    assert code.there("workers1", "main").read_text() == "ONE\n"


def test_without_delete_everything_stays(code: Code) -> None:
    code.deploy()
    code.there("workers1", "mine.txt").write_text("")
    code.deploy(delete=False)
    assert code.there("workers1", "mine.txt").exists()
    code.deploy()
    assert not code.there("workers1", "mine.txt").exists()


def test_an_artifact_lost_on_a_node_comes_back_without_a_build(code: Code) -> None:
    code.deploy()
    code.there("workers2", "main").unlink()
    code.deploy()
    assert code.there("workers2", "main").read_text() == "ONE\n"
    assert code.runs == 1


def test_a_failed_build_leaves_the_nodes_as_they_were(code: Code) -> None:
    code.deploy()
    (code.folder / "main.c").write_text("two\n")
    with pytest.raises(CloisterError, match="exit status 3"):
        code.deploy(build={"command": "exit 3", "artifacts": ["main"]})
    assert code.there("workers1", "main.c").read_text() == "one\n"


def test_a_source_that_is_not_there_is_named(code: Code) -> None:
    with pytest.raises(CloisterError, match="gone: it is not a folder"):
        code.deploy(source=str(code.folder / "gone"))


def test_what_is_done_is_said(code: Code) -> None:
    code.deploy()
    code.deploy()
    assert sum("build" in line for line in code.said) == 1
    assert sum("sync" in line for line in code.said) == 2


def git(folder: Path, *arguments: str) -> str:
    settings = ["-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "commit.gpgsign=false"]
    result = subprocess.run(
        ["git", "-C", folder, *settings, *arguments], capture_output=True, text=True, check=True
    )
    return result.stdout.strip()


def test_the_commit_and_the_changes_since_are_known(code: Code) -> None:
    git(code.folder, "init", "-q")
    git(code.folder, "add", ".")
    git(code.folder, "commit", "-qm", "one")
    [clean] = code.deploy().sources
    assert clean.commit == git(code.folder, "rev-parse", "HEAD")
    assert not clean.dirty
    (code.folder / "main.c").write_text("two\n")
    (code.folder / "new.h").write_text("")
    [dirty] = code.deploy().sources
    assert dirty.commit == clean.commit
    assert b"-one\n+two\n" in dirty.diff
    assert b"# new.h" in dirty.diff
    assert dirty.key != clean.key


def test_a_source_outside_git_has_no_commit(code: Code) -> None:
    [source] = code.deploy().sources
    assert (source.commit, source.diff) == ("", b"")
