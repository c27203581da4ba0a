"""Synchronising a folder to many nodes: one manifest, one archive per distinct difference.

Each node compares the manifest with what it has; nodes that need the same files get the same frames,
which are made once. Large files that a node has in another version go by rsync, whose rolling
checksum sends only what changed within them.
"""

from __future__ import annotations

import dataclasses
import functools
import glob
import posixpath
import struct
import threading
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

from cloister.errors import CloisterError
from cloister.plan.observed import Node
from cloister.transport.channel import Channel
from cloister.transport.fanout import FanOut, fan_out
from cloister.transport.links import Links
from cloister.transport.manifest import Manifest
from cloister.transport.transfer import find, giving_up

_HEADER = struct.Struct(">IBI")
_RECORD = struct.Struct(">IQ")
_CHUNK = 1 << 18
# Archives up to this size are kept in memory and shared by the nodes; larger ones are made anew for each.
SHARED_BYTES_MAX = 128 << 20
# Any number of nodes compare at once. Of those that receive, 16 keep a network busy; sending to 100 took
# a quarter longer, and a third more of the client's CPU.
SENDING_AT_ONCE = 16
# Below this gain, compressing costs both sides more than the network saves.
_WORTHWHILE = 0.75
_SAMPLE_BYTES = 1 << 18
# A changed file of this size or more is rsync's.
LARGE_BYTES = 16 << 20


@dataclasses.dataclass(frozen=True, kw_only=True)
class Synced:
    """What one node got: files and bytes sent, files deleted, files that were right already."""

    sent: int
    sent_bytes: int
    deleted: int
    unchanged: int


def sync(
    links: Links,
    nodes: Iterable[Node],
    source: Manifest,
    target: str,
    *,
    delete: bool = True,
    protect: Sequence[str] = (),
    done: Callable[[Node, Synced | CloisterError], None] | None = None,
) -> FanOut[Synced]:
    """Make `target` (below each node's work folder, or its home: `~/…`) equal to the source.

    What only the node has is deleted, unless `delete` is false, the source's ignore rules match it, or
    it is in `protect` (paths below the target, such as the artifacts of a build).
    """
    archives = _Archives(source)

    def work(node: Node) -> Synced:
        return _sync_node(links, node, source, target, archives, delete=delete, protect=protect)

    return fan_out(nodes, work, at_once=links.at_once, done=done)


def _sync_node(
    links: Links,
    node: Node,
    source: Manifest,
    target: str,
    archives: _Archives,
    *,
    delete: bool,
    protect: Sequence[str],
) -> Synced:
    channel = links.channel(node)
    identity, reply = channel.begin_numbered("sync", target=target, encoded=source.encoded)
    compared = reply.wait(None)
    need, touch = _decide(source, compared)
    large = [i for i in need if _is_large(source, i) and not compared["new"] and _has(compared, i)]
    if large and links.ssh_config is not None and _rsync_both_ends(channel):
        from cloister.transport.rsync import send_files

        send_files(
            node,
            links.ssh_config,
            source.folder,
            [source.entries[i].path for i in large],
            _absolute(channel, target),
        )
        need = [index for index in need if index not in set(large)]
    removable = _removable(source, compared["extra"], protect) if delete else []
    with giving_up(channel, identity):
        archive = archives.of(tuple(need))
    going, finished = channel.begin_numbered(
        "sync_go", sync=identity, touch=touch, delete=removable, compressed=archive.compressed
    )
    with giving_up(channel, going), archives.sending:
        for frame in archive.frames(going):
            channel.send_frames(frame)
    channel.send("z", going)
    result = finished.wait(None)
    files = sum(1 for entry in source.entries if entry.kind == "f")
    sent = [*need, *large]
    return Synced(
        sent=len(sent),
        sent_bytes=sum(source.entries[index].size for index in sent),
        deleted=result["deleted"],
        unchanged=files - len(sent),
    )


def differing(channel: Channel, source: Manifest, target: str) -> list[str]:
    """The files of the source that on the node have another content, or are not there: all are read."""
    wanted = {entry.path: entry for entry in source.entries if entry.kind == "f"}
    there = {f.path: f.sha256 for f in find(channel, target, [glob.escape(p) for p in wanted])}
    return [path for path, entry in wanted.items() if there.get(path) != source.hash(entry)]


def _absolute(channel: Channel, target: str) -> str:
    if target.startswith("~/"):
        return posixpath.join(channel.home, target[2:])
    return posixpath.join(channel.folder, target)


def _decide(source: Manifest, compared: Any) -> tuple[list[int], list[int]]:
    """Files to send, and files that only need the right time because their content is the same."""
    need: list[int] = list(compared["need"])
    touch: list[int] = []
    for text, digest in compared["suspect"].items():
        index = int(text)
        same = source.hash(source.entries[index]) == digest
        (touch if same else need).append(index)
    return sorted(need), touch


def _has(compared: Any, index: int) -> bool:
    return index in compared["other"] or str(index) in compared["suspect"]


def _is_large(source: Manifest, index: int) -> bool:
    return source.entries[index].size >= LARGE_BYTES


def _rsync_both_ends(channel: Channel) -> bool:
    import shutil

    if shutil.which("rsync") is None:
        return False
    return channel.start(["sh", "-c", "command -v rsync"]).wait(30.0).ok


def _removable(source: Manifest, extra: Sequence[str], protect: Sequence[str]) -> list[str]:
    kept = {part for path in protect for part in _with_parents(path)}
    return [
        path
        for path in extra
        if path.rstrip("/") not in kept and not source.ignoring.protects(path)
    ]


def _with_parents(path: str) -> Iterator[str]:
    while path:
        yield path
        path = path.rpartition("/")[0]


class _Archives:
    """Archives by the set of files in them, each made once."""

    def __init__(self, source: Manifest) -> None:
        self._source = source
        self._made: dict[tuple[int, ...], Archive] = {}
        self.sending = threading.BoundedSemaphore(SENDING_AT_ONCE)
        self._lock = threading.Lock()

    def of(self, need: tuple[int, ...]) -> Archive:
        with self._lock:
            if need not in self._made:
                self._made[need] = Archive(self._source, need)
            return self._made[need]


class Archive:
    """The files of one difference as one stream of data frames."""

    def __init__(self, source: Manifest, need: Sequence[int]) -> None:
        self._source = source
        self._need = need
        self._size = sum(source.entries[index].size for index in need)
        self._lock = threading.Lock()
        self.compressed = self._is_compressible()

    def frames(self, identity: int) -> Iterator[bytes]:
        """Data frames for the transfer with this id."""
        chunks = self._shared if self._size <= SHARED_BYTES_MAX else self._chunks()
        for chunk in chunks:
            yield _HEADER.pack(len(chunk), ord("d"), identity) + chunk

    @property
    def _shared(self) -> Sequence[bytes]:
        with self._lock:
            return self._kept

    @functools.cached_property
    def _kept(self) -> Sequence[bytes]:
        return list(self._chunks())

    def _is_compressible(self) -> bool:
        sample = bytearray()
        # Spread over the files, since the first may be unlike the rest.
        step = max(1, len(self._need) // 16)
        for index in self._need[::step]:
            with self._open(index) as file:
                sample += file.read(_SAMPLE_BYTES // 16)
        return bool(sample) and len(zlib.compress(sample, 1)) < _WORTHWHILE * len(sample)

    def _open(self, index: int) -> BinaryIO:
        try:
            return self._path(index).open("rb")
        except OSError as error:
            raise CloisterError(f"cannot read {error.filename}: {error.strerror}") from None

    def _path(self, index: int) -> Path:
        return self._source.folder / self._source.entries[index].path

    def _chunks(self) -> Iterator[bytes]:
        if not self.compressed:
            yield from _gathered(self._pieces())
            return
        packer = zlib.compressobj(1)
        yield from _gathered(packer.compress(piece) for piece in self._pieces())
        yield packer.flush()

    def _pieces(self) -> Iterator[bytes]:
        for index in self._need:
            entry = self._source.entries[index]
            yield _RECORD.pack(index, entry.size)
            yield from self._content(index, entry.size)

    def _content(self, index: int, size: int) -> Iterator[bytes]:
        """Exactly `size` bytes: a file that changes meanwhile must not shift what follows it."""
        left = size
        with self._open(index) as file:
            while left:
                piece = file.read(min(_CHUNK, left))
                if not piece:
                    raise CloisterError(
                        f"{self._path(index)} became shorter while it was being sent",
                        hint="run the command again when nothing writes to the folder",
                    )
                left -= len(piece)
                yield piece


def _gathered(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """The same bytes in pieces of a useful size."""
    buffer = bytearray()
    for piece in pieces:
        buffer += piece
        if len(buffer) >= _CHUNK:
            yield bytes(buffer)
            buffer.clear()
    if buffer:
        yield bytes(buffer)
