"""Single files to and from a node, with their hashes on both sides."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from cloister.errors import CloisterError, NodeError
from cloister.transport.channel import Channel

_CHUNK = 1 << 18


@dataclasses.dataclass(frozen=True, kw_only=True)
class Found:
    """A file on a node: path below the folder that was searched, and what was found there.

    sha256: empty if nobody asked for it.
    """

    path: str
    size: int
    sha256: str = ""
    mode: int = 0o644
    mtime_ns: int = 0


def put(channel: Channel, content: bytes | Path, path: str, *, mode: int = 0o644) -> str:
    """Write a file on the node, whole or not at all; its SHA-256 as computed there and checked here."""
    identity, reply = channel.begin_numbered("put", path=path, mode=mode)
    digest = hashlib.sha256()
    with giving_up(channel, identity):
        for chunk in _chunks(content):
            digest.update(chunk)
            channel.send("d", identity, chunk)
    channel.send("z", identity)
    result = reply.wait(None)
    if result["sha256"] != digest.hexdigest():
        raise NodeError(channel.node.name, f"{path} arrived with another content than was sent")
    return str(result["sha256"])


@contextlib.contextmanager
def giving_up(channel: Channel, identity: int) -> Iterator[None]:
    """If the body fails, the agent is told that the rest of this transfer will not come."""
    try:
        yield
    except Exception:
        with contextlib.suppress(CloisterError):
            channel.call("give_up", transfer=identity)
        raise


def _chunks(content: bytes | Path) -> Any:
    if isinstance(content, bytes):
        for start in range(0, len(content), _CHUNK):
            yield content[start : start + _CHUNK]
        return
    with content.open("rb") as file:
        while chunk := file.read(_CHUNK):
            yield chunk


def find(channel: Channel, folder: str, patterns: list[str], *, hashed: bool = True) -> list[Found]:
    """The files below `folder` on the node that match, hashed there."""
    told = channel.call("find", timeout_s=None, root=folder, patterns=patterns, hashed=hashed)
    found = [Found(**entry) for entry in told]
    for entry in found:
        # Callers write files with these names; a node may not choose where.
        path = PurePosixPath(entry.path)
        if not path.parts or path.is_absolute() or ".." in path.parts:
            raise NodeError(channel.node.name, f"it names a file outside {folder}: {entry.path!r}")
    return found


class Fetch:
    """A file on its way from a node; several may be under way on one channel."""

    def __init__(self, channel: Channel, path: str, local: Path) -> None:
        self._channel = channel
        self._path = path
        self._local = local
        local.parent.mkdir(parents=True, exist_ok=True)
        self._partial = local.with_name(f".{local.name}.partial")
        self._file = self._partial.open("wb")
        self._digest = hashlib.sha256()
        self._size = 0
        self._failure: OSError | None = None
        self._reply = channel.begin("get", on_data=self._data, path=path)

    def _data(self, chunk: bytes) -> None:
        # In the post's thread: an error here belongs to this fetch and not to the channel.
        try:
            self._file.write(chunk)
        except OSError as error:
            self._failure = error
        self._digest.update(chunk)
        self._size += len(chunk)

    def finish(self, timeout_s: float | None = None) -> Found:
        """Wait for the end; the file is then complete under its name, or NodeError or OSError is raised."""
        try:
            return self._finished(timeout_s)
        finally:
            self._file.close()
            self._partial.unlink(missing_ok=True)

    def _finished(self, timeout_s: float | None) -> Found:
        sent = self._reply.wait(timeout_s)
        self._file.close()
        if self._failure is not None:
            raise self._failure
        got = {"size": self._size, "sha256": self._digest.hexdigest()}
        if got != sent:
            raise NodeError(
                self._channel.node.name, f"{self._path} was damaged on its way: {sent} became {got}"
            )
        self._partial.replace(self._local)
        return Found(path=self._path, **sent)


def get(channel: Channel, path: str, local: Path) -> Found:
    """Fetch one file."""
    return Fetch(channel, path, local).finish()
