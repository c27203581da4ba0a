"""Logs that benchmarks left on nodes: which are meant, that they arrive whole, that only they are erased."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cloister.cluster import Cluster
from cloister.errors import UsageError
from cloister.results.benchmark_logs import (
    Log,
    checked,
    erased,
    fetched,
    listed,
    of_stamp,
    stamps,
    with_newest,
)
from cloister.transport.links import Links

STAMP = "01312026_1200"
OURS = "cloister/experiments/cpp/ring"
CLAMOR = "clamor/experiments/cpp/ring"


def log(name: str, mtime_ns: int = 0) -> Log:
    return Log(place="/w", name=name, size=1, mtime_ns=mtime_ns)


@pytest.mark.parametrize(
    ("stamp", "chosen"),
    [
        (STAMP, ["worker0_01312026_1200.log", "a_b_01312026_1200.log"]),
        ("20260131-120000-ab12", ["worker0_20260131_120000_ab12.log"]),
        ("1312026_1200", []),
    ],
)
def test_a_timestamp_names_whole_logs(stamp: str, chosen: list[str]) -> None:
    names = [
        "worker0_01312026_1200.log",
        "a_b_01312026_1200.log",
        "worker0_20260131_120000_ab12.log",
    ]
    found = of_stamp({"n": [log(name) for name in names]}, stamp)
    assert [entry.name for entry in found["n"]] == chosen


def test_the_newest_of_the_front_node_are_added_once() -> None:
    logs = [log("manager_1.log", 1), log("driver_2.log", 2), log("driver_3.log", 3)]
    chosen = with_newest({"d": [logs[2]]}, {"d": logs}, "d")
    assert [entry.name for entry in chosen["d"]] == ["driver_3.log", "driver_2.log"]
    assert stamps({"d": logs}) == ["1", "2", "3"]


@pytest.mark.parametrize(
    ("benchmark", "stamp"),
    [("../x", "1"), ("a/b", "1"), ("ring", "../1"), ("ring", "*"), ("ring", "")],
)
def test_what_could_be_a_pattern_or_a_path_is_refused(benchmark: str, stamp: str) -> None:
    with pytest.raises(UsageError, match="is not"):
        checked(benchmark, stamp)


@pytest.fixture
def links(local_cluster: Callable[..., Cluster]) -> Iterator[tuple[Links, Cluster]]:
    cluster = local_cluster(driver=1, workers=1)
    with Links(marks=cluster.marks) as opened:
        yield opened, cluster


def home(cluster: Cluster, node: str) -> Path:
    return cluster.folder / "nodes" / node / "home"


def write(cluster: Cluster, node: str, path: str, text: str, age_s: int = 0) -> Path:
    file = home(cluster, node) / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    os.utime(file, (1_700_000_000 - age_s,) * 2)
    return file


def test_logs_of_both_places_arrive_whole(links: tuple[Links, Cluster], tmp_path: Path) -> None:
    opened, cluster = links
    name = f"worker0_{STAMP}.log"
    write(cluster, "workers1", f"{OURS}/{name}", "ours" * 100_000)
    write(cluster, "workers1", f"{CLAMOR}/{name}", "clamor")
    logs = listed(opened, cluster.nodes, "ring").raise_first()
    chosen = of_stamp(logs, STAMP)
    fetched(opened, cluster, chosen, tmp_path).raise_first()
    assert (tmp_path / "workers1" / name).read_text() == "ours" * 100_000
    assert (tmp_path / "workers1" / "clamor" / name).read_text() == "clamor"
    assert not (tmp_path / "driver1").exists()


def test_only_what_is_meant_is_erased(links: tuple[Links, Cluster]) -> None:
    opened, cluster = links
    doomed = write(cluster, "workers1", f"{OURS}/worker0_{STAMP}.log", "x")
    kept = [
        write(cluster, "workers1", f"{OURS}/worker0_01312026_1201.log", "x"),
        write(cluster, "workers1", f"{OURS}/notes.txt", "x"),
        write(cluster, "workers1", f"cloister/experiments/cpp/other/worker0_{STAMP}.log", "x"),
        write(cluster, "driver1", "precious.log", "x"),
    ]
    # A link in the folder to something outside it.
    (doomed.parent / f"link_{STAMP}.log").symlink_to(kept[3])
    logs = of_stamp(listed(opened, cluster.nodes, "ring").raise_first(), STAMP)
    gone = erased(opened, cluster, logs).raise_first()
    assert [entry.path for entry in gone["workers1"]] == [str(doomed)]
    assert not doomed.exists()
    assert all(path.exists() for path in kept)


def test_a_node_without_the_folder_has_no_logs(links: tuple[Links, Cluster]) -> None:
    opened, cluster = links
    found = listed(opened, cluster.nodes, "nowhere").raise_first()
    assert set(found.values()) == {()}
