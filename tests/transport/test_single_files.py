from __future__ import annotations

import hashlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from eventually import eventually

from cloister.errors import NodeError, Refused
from cloister.transport.channel import Channel
from cloister.transport.transfer import Fetch, find, get, put


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@pytest.mark.parametrize("size", [0, 1, 1 << 18, 5_000_001])
def test_a_file_goes_there_and_back(
    channel: Channel, folder: Path, tmp_path: Path, size: int
) -> None:
    content = os.urandom(size)
    assert put(channel, content, "in/deep/file", mode=0o640) == sha256(content)
    assert (folder / "in/deep/file").read_bytes() == content
    assert (folder / "in/deep/file").stat().st_mode & 0o777 == 0o640
    fetched = get(channel, "in/deep/file", tmp_path / "new" / "file")
    assert (fetched.size, fetched.sha256) == (size, sha256(content))
    assert (tmp_path / "new" / "file").read_bytes() == content
    (tmp_path / "again").write_bytes(content)
    put(channel, tmp_path / "again", "in/again")
    assert sorted(path.name for path in (folder / "in").iterdir()) == ["again", "deep"]


def test_whoever_reads_a_file_while_it_is_replaced_sees_the_old_one(
    channel: Channel, folder: Path
) -> None:
    put(channel, b"old", "file")
    identity, reply = channel.begin_numbered("put", path="file", mode=0o644)
    channel.send("d", identity, b"new")
    channel.call("echo")
    assert (folder / "file").read_bytes() == b"old"
    channel.send("z", identity)
    reply.wait(10)
    assert (folder / "file").read_bytes() == b"new"


def test_a_file_that_cannot_be_put_is_refused_with_its_reason(
    channel: Channel, folder: Path
) -> None:
    (folder / "taken").mkdir()
    with pytest.raises(Refused, match="taken"):
        put(channel, b"x" * 1_000_000, "taken")
    with pytest.raises(Refused):
        put(channel, b"x", "/proc/nowhere/file")
    assert [path.name for path in folder.iterdir()] == ["taken"]
    assert list((folder / "taken").iterdir()) == []


@pytest.fixture
def small_disk(folder: Path) -> Iterator[Path]:
    if os.geteuid() != 0:
        pytest.skip("only root can mount a small file system")
    place = folder / "disk"
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", place]
    mounted = subprocess.run(command, capture_output=True, text=True)
    if mounted.returncode:
        pytest.skip(f"this machine mounts no tmpfs: {mounted.stderr.strip()}")
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", place], check=True)


def test_on_a_full_disk_the_old_file_stays(channel: Channel, small_disk: Path) -> None:
    put(channel, b"old", "disk/file")
    with pytest.raises(Refused, match="No space left on device"):
        put(channel, os.urandom(3_000_000), "disk/file")
    assert [path.name for path in small_disk.iterdir()] == ["file"]
    assert (small_disk / "file").read_bytes() == b"old"
    put(channel, os.urandom(500_000), "disk/file")


def test_a_source_that_cannot_be_read_leaves_nothing_there(
    channel: Channel, folder: Path, tmp_path: Path
) -> None:
    with pytest.raises(OSError, match="missing"):
        put(channel, tmp_path / "missing", "file")
    assert list(folder.iterdir()) == []
    assert put(channel, b"x", "file")


def test_an_interrupted_put_leaves_nothing_there(channel: Channel, folder: Path) -> None:
    identity, _ = channel.begin_numbered("put", path="file", mode=0o644)
    channel.send("d", identity, b"half")
    channel.call("echo")
    agent = int(channel.start("echo $PPID").wait(10).stdout)
    channel.close()
    eventually(lambda: not Path(f"/proc/{agent}").exists(), what="the agent ends")
    assert list(folder.iterdir()) == []


def test_a_file_that_is_missing_on_the_node_is_refused_and_nothing_made_here(
    channel: Channel, tmp_path: Path
) -> None:
    for path in ("missing", "."):
        with pytest.raises(Refused):
            get(channel, path, tmp_path / "here")
    assert not (tmp_path / "here").exists()
    assert list(tmp_path.glob(".here*")) == []


def test_a_file_that_grows_is_fetched_as_long_as_it_was(
    channel: Channel, folder: Path, tmp_path: Path
) -> None:
    writer = channel.start("while :; do echo line; done", stdout="log")
    log = folder / "log"
    eventually(lambda: log.exists() and log.stat().st_size, what="the file grows")
    fetched = get(channel, "log", tmp_path / "log")
    writer.stop()
    assert (tmp_path / "log").stat().st_size == fetched.size > 0
    assert fetched.sha256 == sha256((tmp_path / "log").read_bytes())


def test_several_files_are_fetched_at_once(channel: Channel, folder: Path, tmp_path: Path) -> None:
    contents = {f"f{number}": os.urandom(700_000 + number) for number in range(6)}
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    under_way = [Fetch(channel, name, tmp_path / name) for name in contents]
    for fetch in under_way:
        fetch.finish(30)
    assert {name: (tmp_path / name).read_bytes() for name in contents} == contents


def test_a_full_disk_here_is_an_error_of_this_machine(channel: Channel, folder: Path) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("this machine has no /dev/full")
    (folder / "file").write_bytes(os.urandom(1_000_000))
    pending = channel.begin(
        "get", on_data=lambda data: Path("/dev/full").write_bytes(data), path="file"
    )
    with pytest.raises(OSError, match="No space left"):
        pending.wait(20)
    assert channel.call("echo") is None


# --- finding -------------------------------------------------------------------------------------


@pytest.fixture
def searched(folder: Path) -> Path:
    root = folder / "root"
    (root / "in" / "deep").mkdir(parents=True)
    (root / "a.log").write_text("a")
    (root / "in" / "b.log").write_text("b")
    (root / "in" / "deep" / "c [1].txt").write_text("c")
    (root / "in" / "-x\n").write_text("x")
    (folder / "outside").mkdir()
    (folder / "outside" / "secret").write_text("secret")
    (root / "out").symlink_to("../outside")
    (root / "secret.log").symlink_to("../outside/secret")
    (root / "inner.log").symlink_to("a.log")
    (folder / "back").symlink_to("root")
    os.mkfifo(root / "pipe.log")
    return root


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("*.log", {"a.log", "inner.log"}),
        ("**/*.log", {"a.log", "inner.log", "in/b.log"}),
        ("in", {"in/b.log", "in/-x\n", "in/deep/c [1].txt"}),
        ("in/deep/*", {"in/deep/c [1].txt"}),
        ("missing", set()),
        ("../outside/*", set()),
        ("../back/*.log", set()),
        ("../root/a.log", set()),
        ("out/*", set()),
        ("out/../root/a.log", set()),
        ("/etc/passwd", set()),
        ("/**/passwd", set()),
        ("out", set()),
    ],
)
def test_files_are_found_by_pattern_and_never_outside(
    channel: Channel, searched: Path, pattern: str, found: set[str]
) -> None:
    if pattern == "/**/passwd":
        pattern = "/etc/**/passwd"
    assert {entry.path for entry in find(channel, "root", [pattern])} == found


def test_what_is_found_is_described(channel: Channel, searched: Path) -> None:
    os.utime(searched / "a.log", ns=(5, 1_700_000_000_123_456_789))
    (searched / "a.log").chmod(0o604)
    (entry,) = find(channel, "root", ["a.log", "a.*"])
    assert (entry.size, entry.sha256, entry.mode) == (1, sha256(b"a"), 0o604)
    assert entry.mtime_ns == 1_700_000_000_123_456_789


@pytest.mark.parametrize("path", ["../escaped", "/etc/passwd", "in/../../x", ""])
def test_a_node_that_names_a_file_outside_is_not_believed(
    channel: Channel, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = [{"path": path, "size": 1, "sha256": "0", "mode": 0o644, "mtime_ns": 0}]
    monkeypatch.setattr(channel, "call", lambda *_, **__: told)
    with pytest.raises(NodeError, match="outside"):
        find(channel, ".", ["*"])


# --- the rest ------------------------------------------------------------------------------------


def test_the_last_lines_of_a_file_are_told(channel: Channel, folder: Path) -> None:
    (folder / "log").write_bytes(b"".join(b"line %d \xff\n" % number for number in range(100_000)))
    assert channel.call("tail", path="log", lines=2) == ["line 99998 \ufffd", "line 99999 \ufffd"]
    assert channel.call("tail", path="missing", lines=2) == []


def test_files_and_folders_are_removed_but_never_the_home(channel: Channel, folder: Path) -> None:
    (folder / "kept").mkdir()
    (folder / "kept" / "file").touch()
    (folder / "link").symlink_to("kept")
    for path in ("link", "missing"):
        channel.call("remove", path=path)
    assert (folder / "kept" / "file").exists()
    channel.call("remove", path="kept")
    assert list(folder.iterdir()) == []
    for path in ("/", "~", channel.home, f"{channel.home}/."):
        with pytest.raises(Refused, match="will not remove"):
            channel.call("remove", path=path)


def test_files_from_before_a_moment_are_left_out(channel: Channel, folder: Path) -> None:
    (folder / "old").write_text("o")
    os.utime(folder / "old", (1_000_000_000, 1_000_000_000))
    (folder / "new").write_text("n")
    told = channel.call("find", root=".", patterns=["*"], since=1_500_000_000.0)
    assert [entry["path"] for entry in told] == ["new"]
