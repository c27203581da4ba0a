"""Builds on real nodes: once per architecture, kept by what decides them."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cloister.cluster import Cluster
from cloister.config.spec import BuildSpec
from cloister.deploy.building import BUILDS, Build, build, build_key
from cloister.errors import CloisterError
from cloister.transport.links import Links
from cloister.transport.manifest import manifest

FACTS = {"machine": "x86_64", "system": "Debian"}


@pytest.fixture(scope="module")
def cluster(module_cluster: Any) -> Any:
    return module_cluster(1)


@pytest.fixture(scope="module")
def links(cluster: Cluster) -> Iterator[Links]:
    with Links(marks=cluster.marks) as found:
        yield found


class Project:
    """A source folder whose build counts how often it runs."""

    def __init__(self, cluster: Cluster, links: Links, folder: Path) -> None:
        self.cluster, self.links = cluster, links
        self.source = folder / "source"
        self.cache = folder / "cache"
        self.counter = folder / "counter"
        self.source.mkdir()
        self.write("main.c", "int main(void) { return 0; }\n")
        self.command = f"echo >> {self.counter}; mkdir -p bin; tr a-z A-Z < main.c > bin/main"

    def write(self, name: str, text: str) -> None:
        (self.source / name).write_text(text)

    def spec(self, **fields: Any) -> BuildSpec:
        return BuildSpec.model_validate(
            {"command": self.command, "artifacts": ["bin/main"], **fields}
        )

    def build(self, facts: Any = FACTS, **fields: Any) -> Build:
        return build(
            self.links,
            self.cluster.nodes[0],
            manifest(self.source),
            self.spec(**fields),
            facts,
            self.cache,
        )

    @property
    def runs(self) -> int:
        return len(self.counter.read_text()) if self.counter.exists() else 0


@pytest.fixture
def project(cluster: Cluster, links: Links, tmp_path: Path) -> Project:
    return Project(cluster, links, tmp_path)


def test_a_build_brings_its_artifacts_here(project: Project) -> None:
    made = project.build()
    assert not made.cached
    assert made.artifacts == ("bin/main",)
    assert (made.folder / "bin/main").read_text() == "INT MAIN(VOID) { RETURN 0; }\n"
    assert made.builder == "workers1"


def test_the_same_source_is_built_once(project: Project) -> None:
    first = project.build()
    second = project.build()
    assert (first.key, second.cached, project.runs) == (second.key, True, 1)


def test_new_times_are_no_reason_to_build(project: Project) -> None:
    project.build()
    os.utime(project.source / "main.c", (1, 1))
    (project.source / "main.c").chmod(0o600)
    assert project.build().cached
    assert project.runs == 1


def test_what_decides_a_build_is_a_reason_to_build(project: Project) -> None:
    project.build()
    project.write("main.c", "int main(void) { return 1; }\n")
    assert not project.build().cached
    assert not project.build(env={"CFLAGS": "-O2"}).cached
    project.command += " # other"
    assert not project.build().cached
    assert not project.build(facts={**FACTS, "machine": "aarch64"}).cached
    project.write("added.h", "")
    assert not project.build().cached
    (project.source / "main.c").chmod(0o755)
    assert not project.build().cached
    assert project.runs == 7


def test_going_back_to_an_earlier_source_finds_its_build(project: Project) -> None:
    before = (project.source / "main.c").read_text()
    project.build()
    project.write("main.c", "changed\n")
    project.build()
    project.write("main.c", before)
    made = project.build()
    assert made.cached
    assert (made.folder / "bin/main").read_text() == before.upper()


def test_the_environment_reaches_the_build(project: Project) -> None:
    project.command = "echo $FLAVOUR > bin"
    made = project.build(env={"FLAVOUR": "sweet & sour"}, artifacts=["bin"])
    assert (made.folder / "bin").read_text() == "sweet & sour\n"


def test_artifacts_may_be_patterns_and_folders(project: Project) -> None:
    project.command = "mkdir -p out/lib; touch out/a out/b.o out/lib/c; ln -sf a out/link"
    made = project.build(artifacts=["out/[ab]*", "out/lib"])
    assert set(made.artifacts) == {"out/a", "out/b.o", "out/lib/c"}


def test_artifacts_keep_their_modes(project: Project) -> None:
    project.command = "echo 'echo hi' > run; chmod 755 run"
    made = project.build(artifacts=["run"])
    assert (made.folder / "run").stat().st_mode & 0o777 == 0o755


def test_a_failed_build_shows_the_compilers_last_lines(project: Project) -> None:
    project.write("main.c", "int main(void) { return missing; }\n")
    project.command = "seq 1000; cc main.c -o main"
    with pytest.raises(CloisterError) as raised:
        project.build(artifacts=["main"])
    text = str(raised.value)
    assert "main.c" in text
    assert "missing" in text
    assert "exit status 1" in text
    assert "on workers1" in text
    assert len(text.splitlines()) <= 21


def test_a_failed_build_is_tried_again(project: Project) -> None:
    broken, project.command = project.command, f"echo >> {project.counter}; exit 1"
    for _ in range(2):
        with pytest.raises(CloisterError):
            project.build()
    assert project.runs == 2
    project.command = broken
    assert not project.build().cached


def test_a_build_that_takes_too_long_is_ended(project: Project) -> None:
    project.command = "echo compiling; sleep 1000"
    with pytest.raises(CloisterError, match="timed out"):
        project.build(timeout=0.3)


def test_an_artifact_that_the_build_did_not_leave_is_named(project: Project) -> None:
    with pytest.raises(CloisterError, match=r"nothing that matches bin/other, \*\.so") as raised:
        project.build(artifacts=["bin/main", "bin/other", "*.so"])
    assert "glob patterns" in raised.value.hint


@pytest.mark.parametrize("damage", ["flip", "truncate", "remove", "remove all", "listing"])
def test_a_damaged_artifact_is_built_anew(damage: str, project: Project) -> None:
    made = project.build()
    path = made.folder / "bin/main"
    good = path.read_bytes()
    match damage:
        case "flip":
            path.write_bytes(bytes([good[0] ^ 1]) + good[1:])
        case "truncate":
            path.write_bytes(good[:5])
        case "remove":
            path.unlink()
        case "remove all":
            shutil.rmtree(made.folder)
        case "listing":
            made.folder.with_suffix(".json").write_text("[{")
    again = project.build()
    assert not again.cached
    assert path.read_bytes() == good
    assert project.build().cached


def test_what_a_killed_build_left_is_not_taken_for_its_result(project: Project) -> None:
    """make takes a half-written file that is newer than its source for up to date."""
    project.write(".gitignore", "main\n")
    project.command = "[ -e main ] || echo whole > main"
    place = project.cluster.folder / "nodes/workers1/home/cloister" / BUILDS
    spec = project.spec(artifacts=["main"])
    left = place / build_key(manifest(project.source), spec, FACTS)
    left.mkdir(parents=True)
    (left / "main").write_text("ha")
    made = project.build(artifacts=["main"])
    assert (made.folder / "main").read_text() == "whole\n"
