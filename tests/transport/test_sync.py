from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import trees
from eventually import eventually

from cloister.cluster import Cluster
from cloister.errors import CloisterError, Refused
from cloister.plan.observed import Node
from cloister.providers.nodes import node_to_json
from cloister.transport.channel import Channel
from cloister.transport.links import Links
from cloister.transport.manifest import manifest
from cloister.transport.sync import LARGE_BYTES, Synced, sync

CLIENT = Path(__file__).with_name("client.py")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    place = tmp_path / "source"
    (place / "in" / "deep").mkdir(parents=True)
    (place / "empty").mkdir()
    (place / "a.txt").write_text("a")
    (place / "in" / "b.txt").write_text("b" * 1000)
    (place / "in" / "deep" / "run").write_bytes(os.urandom(100_000))
    (place / "in" / "deep" / "run").chmod(0o755)
    (place / "link").symlink_to("a.txt")
    return place


def synced(links: Links, node: Node, source: Path, target: str = "target", **how: object) -> Synced:
    return sync(links, [node], manifest(source), target, **how).raise_first()[node.name]  # type: ignore[arg-type]


def test_every_node_gets_the_same(links: Links, nodes: tuple[Node, ...], source: Path) -> None:
    results = sync(links, nodes, manifest(source), "target").raise_first()
    assert {result.sent for result in results.values()} == {3}
    for node in nodes:
        assert trees.read(Path(links.channel(node).folder) / "target") == trees.read(source)


def test_nodes_that_have_different_things_get_different_things(
    links: Links, nodes: tuple[Node, ...], source: Path
) -> None:
    synced(links, nodes[0], source)
    (Path(links.channel(nodes[1]).folder) / "target").mkdir()
    told: dict[str, object] = {}
    results = sync(
        links,
        nodes,
        manifest(source),
        "target",
        done=lambda node, done: told.update({node.name: done}),
    ).raise_first()
    assert [results[node.name].sent for node in nodes] == [0, 3, 3]
    assert told == dict(results)
    for node in nodes:
        assert trees.read(Path(links.channel(node).folder) / "target") == trees.read(source)


def test_only_what_changed_is_sent(links: Links, node: Node, source: Path, folder: Path) -> None:
    first = synced(links, node, source)
    assert (first.sent, first.sent_bytes, first.unchanged) == (3, 101_001, 0)
    (source / "a.txt").write_text("changed")
    (source / "in" / "b.txt").unlink()
    second = synced(links, node, source)
    assert (second.sent, second.sent_bytes, second.deleted, second.unchanged) == (1, 7, 1, 1)
    assert trees.read(folder / "target") == trees.read(source)


def test_a_touched_file_only_gets_its_time(
    links: Links, node: Node, source: Path, folder: Path
) -> None:
    synced(links, node, source)
    number = (folder / "target" / "a.txt").stat().st_ino
    os.utime(source / "a.txt", (1_000_000, 1_000_000))
    assert synced(links, node, source).sent == 0
    there = (folder / "target" / "a.txt").stat()
    assert (there.st_mtime, there.st_ino) == (1_000_000, number)


def test_a_file_damaged_on_the_node_is_mended(
    links: Links, node: Node, source: Path, folder: Path
) -> None:
    synced(links, node, source)
    (folder / "target" / "a.txt").write_text("b")
    (folder / "target" / "in" / "b.txt").chmod(0o600)
    assert synced(links, node, source).sent == 1
    assert trees.read(folder / "target") == trees.read(source)


def test_what_is_open_on_the_node_keeps_its_old_content(
    links: Links, node: Node, source: Path, folder: Path
) -> None:
    synced(links, node, source)
    with (folder / "target" / "a.txt").open() as opened:
        (source / "a.txt").write_text("new content")
        synced(links, node, source)
        assert opened.read() == "a"


# --- deleting, ignoring, protecting --------------------------------------------------------------


def test_ignored_and_protected_files_of_the_node_stay(
    links: Links, node: Node, source: Path, folder: Path
) -> None:
    (source / ".gitignore").write_text("*.log\nbuild/\n")
    (source / "x.log").write_text("not sent")
    synced(links, node, source, protect=["kept/artifact"])
    target = folder / "target"
    assert not (target / "x.log").exists()
    stay = ["x.log", "in/y.log", "build/deep/z", "kept/artifact"]
    go = ["stray", "in/stray", "kept/stray", "gone/stray", "half/stray", "half/y.log"]
    for name in [*stay, *go]:
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        (target / name).write_text(name)
    synced(links, node, source, protect=["kept/artifact"])
    assert [name for name in stay if not (target / name).exists()] == []
    assert [name for name in go if (target / name).exists()] == ["half/y.log"]
    assert not (target / "gone").exists()


def test_nothing_is_deleted_when_that_is_asked_for(
    links: Links, node: Node, source: Path, folder: Path
) -> None:
    synced(links, node, source)
    (folder / "target" / "stray").touch()
    assert synced(links, node, source, delete=False).deleted == 0
    assert (folder / "target" / "stray").exists()


def test_deleting_never_goes_through_a_link(
    links: Links, node: Node, source: Path, folder: Path
) -> None:
    """A folder of the node that became a link: what the folder had is deleted, not what the link shows."""
    (source / "was").mkdir()
    (source / "was" / "precious").write_text("old")
    synced(links, node, source)
    outside = folder / "outside"
    outside.mkdir()
    (outside / "precious").write_text("keep me")
    shutil.rmtree(source / "was")
    (source / "was").symlink_to(outside)
    synced(links, node, source)
    assert (outside / "precious").read_text() == "keep me"
    assert trees.read(folder / "target") == trees.read(source)


def test_links_that_lead_out_are_copied_as_links(
    links: Links, node: Node, source: Path, folder: Path
) -> None:
    (source / "out").symlink_to("/etc")
    (source / "gone").symlink_to("/no/such/thing")
    synced(links, node, source)
    assert (folder / "target" / "out").readlink() == Path("/etc")
    assert trees.read(folder / "target") == trees.read(source)


def test_pipes_and_sockets_are_passed_over_here_and_removed_there(
    links: Links, node: Node, source: Path, folder: Path
) -> None:
    os.mkfifo(source / "pipe")
    synced(links, node, source)
    (folder / "target" / "a.txt").unlink()
    os.mkfifo(folder / "target" / "a.txt")
    os.mkfifo(folder / "target" / "other")
    synced(links, node, source)
    (source / "pipe").unlink()
    assert trees.read(folder / "target") == trees.read(source)


# --- what goes wrong -----------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["shorter", "gone"])
def test_a_file_that_changes_while_it_is_sent_is_named_and_the_rest_stays_whole(
    links: Links, node: Node, source: Path, folder: Path, how: str
) -> None:
    synced(links, node, source)
    before = trees.read(folder / "target")
    large = source / "in" / "deep" / "run"
    large.write_bytes(os.urandom(2_000_000))
    taken = manifest(source)
    if how == "shorter":
        os.truncate(large, 1000)
    else:
        large.unlink()
    result = sync(links, [node], taken, "target")
    with pytest.raises(CloisterError, match="run"):
        result.raise_first()
    left = trees.read(folder / "target")
    assert {name: entry for name, entry in left.items() if entry[0] == "f"} == {
        name: entry for name, entry in before.items() if entry[0] == "f"
    }
    large.write_bytes(b"whole again")
    synced(links, node, source)
    assert trees.read(folder / "target") == trees.read(source)


@pytest.fixture
def small_disk(folder: Path) -> Iterator[Path]:
    """A file system of two megabytes in the test's work folder."""
    if os.geteuid() != 0:
        pytest.skip("only root can mount a small file system")
    place = folder / "disk"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", place], capture_output=True, text=True
    )
    if mounted.returncode:
        pytest.skip(f"this machine mounts no tmpfs: {mounted.stderr.strip()}")
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", place], check=True)


@pytest.mark.parametrize("new", [True, False], ids=["a new folder", "an existing folder"])
def test_a_full_disk_is_said_and_what_was_there_stays_whole(
    links: Links, node: Node, source: Path, small_disk: Path, new: bool
) -> None:
    target = small_disk / "target"
    if not new:
        synced(links, node, source, "disk/target")
    before = trees.read(target)
    (source / "a.txt").write_text("new")
    (source / "in" / "large").write_bytes(os.urandom(4_000_000))
    result = sync(links, [node], manifest(source), "disk/target")
    with pytest.raises(Refused, match="No space left on device"):
        result.raise_first()
    for name, entry in trees.read(target).items():
        assert entry in (before.get(name), trees.read(source).get(name)) or entry[0] == "d"
    # What arrived in vain takes no room; the work goes on when there is some.
    room = os.statvfs(small_disk)
    assert room.f_bavail * room.f_frsize > 1_000_000
    (source / "in" / "large").write_bytes(os.urandom(1_000_000))
    synced(links, node, source, "disk/target")
    assert trees.read(target) == trees.read(source)


def test_a_target_that_is_a_file_is_refused(
    links: Links, node: Node, source: Path, folder: Path
) -> None:
    (folder / "target").write_text("mine")
    with pytest.raises(Refused):
        synced(links, node, source)
    assert (folder / "target").read_text() == "mine"
    assert [path.name for path in folder.iterdir()] == ["target"]


def test_one_node_that_fails_does_not_stop_the_others(
    links: Links, nodes: tuple[Node, ...], source: Path
) -> None:
    (Path(links.channel(nodes[1]).folder) / "target").write_text("in the way")
    result = sync(links, nodes, manifest(source), "target")
    assert list(result.errors) == [nodes[1].name]
    assert list(result.values) == [nodes[0].name, nodes[2].name]


def versioned(source: Path, version: str) -> None:
    """All files with new content, some in new places."""
    shutil.rmtree(source, ignore_errors=True)
    for number in range(40):
        place = source / f"d{number % 7}"
        place.mkdir(parents=True, exist_ok=True)
        (place / f"f{number}").write_text(f"{version} {number}\n" * 5000)
        (place / f"only-{version}-{number}").write_text(version)


def test_a_killed_client_leaves_every_file_old_or_new_and_the_next_one_completes(
    links: Links, node: Node, folder: Path, tmp_path: Path
) -> None:
    source, target = tmp_path / "source", folder / "target"
    (tmp_path / "node.json").write_text(json.dumps(node_to_json(node)))
    versioned(source, "v0")
    synced(links, node, source)
    chance = random.Random(7)
    for round_ in range(1, 6):
        before = trees.read(target)
        versioned(source, f"v{round_}")
        with subprocess.Popen(
            [sys.executable, CLIENT, tmp_path / "node.json"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        ) as client:
            assert client.stdin and client.stdout
            client.stdin.write(f"sync {str(source).encode().hex()}\n".encode())
            client.stdin.flush()
            agent = int(client.stdout.readline())
            time.sleep(chance.uniform(0, 0.12))
            client.kill()
        eventually(lambda agent=agent: not Path(f"/proc/{agent}").exists(), what="the agent's end")
        new = trees.read(source)
        for name, (kind, _, _, content) in trees.read(target).items():
            if kind == "f" and ".cloister-partial-" not in name:
                allowed = [there[name][3] for there in (before, new) if name in there]
                assert content in allowed, f"{name} is neither old nor new"
        if round_ % 2:
            synced(links, node, source)
            assert trees.read(target) == new


# --- large files ---------------------------------------------------------------------------------


def test_a_large_changed_file_goes_by_rsync_and_the_clusters_ssh_config(
    cluster: Cluster, node: Node, source: Path, tmp_path: Path
) -> None:
    witness, config = tmp_path / "witness", tmp_path / "ssh_config"
    config.write_text(
        f"PermitLocalCommand yes\nLocalCommand touch {witness}\n" + cluster.ssh_config.read_text()
    )
    (source / "large file").write_bytes(os.urandom(LARGE_BYTES))
    with Links(ssh_config=config) as links:
        target = Path(links.channel(node).folder) / "target"
        synced(links, node, source)
        assert not witness.exists(), "a new file is sent as all others"
        with (source / "large file").open("r+b") as file:
            file.write(b"changed")
        result = synced(links, node, source)
        assert witness.exists()
        assert result.sent == 1
        assert trees.read(target) == trees.read(source)


def test_without_an_ssh_config_large_changed_files_go_through_the_channel(
    node: Node, source: Path
) -> None:
    (source / "large").write_bytes(bytes(LARGE_BYTES))
    with Links() as links:
        synced(links, node, source)
        with (source / "large").open("r+b") as file:
            file.write(b"changed")
        synced(links, node, source)
        assert trees.read(Path(links.channel(node).folder) / "target") == trees.read(source)


def test_a_folder_of_zeros_does_not_fill_the_agents_memory(
    links: Links, channel: Channel, node: Node, source: Path
) -> None:
    with (source / "zeros").open("wb") as file:
        file.truncate(100 << 20)
    agent = int(channel.start("echo $PPID").wait(10).stdout)
    synced(links, node, source)
    status = Path(f"/proc/{agent}/status").read_text()
    peak_kb = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM"))
    assert peak_kb < 64_000


def test_a_folder_that_is_none_is_refused_before_anything_is_sent(tmp_path: Path) -> None:
    with pytest.raises(CloisterError, match="not a folder"):
        manifest(tmp_path / "nowhere")


def test_the_key_of_a_folder_is_its_content_and_not_its_times(source: Path) -> None:
    key = manifest(source).key
    os.utime(source / "a.txt", (1, 1))
    (source / "a.txt").chmod(0o600)
    assert manifest(source).key == key
    (source / "a.txt").chmod(0o700)
    changed = {manifest(source).key}
    (source / "a.txt").write_text("b")
    changed.add(manifest(source).key)
    (source / "link").unlink()
    (source / "link").symlink_to("in")
    changed.add(manifest(source).key)
    assert len(changed | {key}) == 4
