"""What a folder on this machine consists of: the sending side of a synchronisation."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import marshal
import os
import stat
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

from cloister.errors import CloisterError

# Never sent, as no tool that builds or runs code needs it on a node.
ALWAYS_EXCLUDED = (".git/",)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Entry:
    """`path` is relative to the folder; kind f is a file, d a folder, l a symbolic link to `link`."""

    path: str
    kind: Literal["f", "d", "l"]
    mode: int
    size: int
    mtime_ns: int
    link: str

    def fields(self) -> tuple[Any, ...]:
        return (self.path, self.kind, self.mode, self.size, self.mtime_ns, self.link)


class Ignoring:
    """.gitignore files of the folder and its subfolders, plus patterns given by the user.

    gitignore: whether those files count.
    """

    def __init__(
        self, folder: Path, exclude: Sequence[str] = (), *, gitignore: bool = True
    ) -> None:
        self._folder = folder
        self._gitignore = gitignore
        self._always = _patterns([*ALWAYS_EXCLUDED, *exclude])

    @functools.cache  # noqa: B019 - lives as long as one scan
    def _patterns_of(self, folder: str) -> list[Any]:
        if not self._gitignore:
            return []
        try:
            content = (self._folder / folder / ".gitignore").read_bytes()
        except OSError:
            return []
        # As git: a byte order mark is no part of the first pattern, and only line feeds end a line.
        text = content.decode("utf-8-sig", "surrogateescape")
        return _patterns(line.removesuffix("\r") for line in text.split("\n"))

    def ignores(self, path: str, is_folder: bool) -> bool:
        """As git: the innermost .gitignore that says anything about the path decides."""
        if _verdict(self._always, path, is_folder):
            return True
        folder = path
        while folder:
            folder = folder.rpartition("/")[0]
            inner = path[len(folder) + 1 :] if folder else path
            verdict = _verdict(self._patterns_of(folder), inner, is_folder)
            if verdict is not None:
                return verdict
        return False

    def protects(self, path: str) -> bool:
        """Whether what only the node has must stay: it or a folder above it is ignored.

        A folder's path has a slash at its end.
        """
        parts = path.rstrip("/").split("/")
        return self.ignores(path.rstrip("/"), path.endswith("/")) or any(
            self.ignores("/".join(parts[:depth]), True) for depth in range(1, len(parts))
        )


def _patterns(lines: Iterable[str]) -> list[Any]:
    import pathspec

    # For git, `a/**/` names the folders below a; for pathspec, a itself too.
    plain = (line[:-1] + "/*/" if line.endswith("/**/") else line for line in lines)
    found = pathspec.GitIgnoreSpec.from_lines(plain).patterns
    return [pattern for pattern in found if pattern.include is not None]


def _verdict(patterns: list[Any], path: str, is_folder: bool) -> bool | None:
    """What the last pattern that names the path says; None if none does."""
    for pattern in reversed(patterns):
        if _names(pattern, path, is_folder):
            return bool(pattern.include)
    return None


def _names(pattern: Any, path: str, is_folder: bool) -> bool:
    """pathspec's patterns match also what is below a folder that they name, and its own verdict on `*`
    followed by `!*/` is not git's: hence pattern by pattern, for the path itself. Its group ps_d is
    where the name ends and what is below begins.
    """
    below = pattern.regex.groupindex.get("ps_d")
    found = pattern.regex.finditer(path + "/" if is_folder else path)
    return any(below is None or match.start(below) in (-1, len(path)) for match in found)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Manifest:
    """Entries in an order in which parents come before children."""

    folder: Path
    entries: tuple[Entry, ...]
    ignoring: Ignoring

    @functools.cached_property
    def encoded(self) -> bytes:
        """The entries as the agent's `sync` takes them; encoded once for all nodes."""
        return marshal.dumps([entry.fields() for entry in self.entries], 2)

    @functools.cached_property
    def key(self) -> str:
        """SHA-256 of all that a build could see: paths, kinds, modes and contents, not times."""
        digest = hashlib.sha256()
        for entry in self.entries:
            content = self.hash(entry) if entry.kind == "f" else entry.link
            # Only the executable bit travels through git; umasks differ between people.
            executable = bool(entry.mode & 0o100) if entry.kind == "f" else False
            digest.update(
                repr((entry.path, entry.kind, executable, content)).encode(
                    "utf-8", "surrogateescape"
                )
            )
        return digest.hexdigest()

    def hash(self, entry: Entry) -> str:
        try:
            return _hash(self.folder / entry.path, entry.size, entry.mtime_ns)
        except OSError as error:
            raise CloisterError(f"cannot read {error.filename}: {error.strerror}") from None


@functools.lru_cache(maxsize=100_000)
def _hash(path: Path, size: int, mtime_ns: int) -> str:
    # Size and time are part of the key: a changed file is hashed anew.
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def manifest(folder: Path, exclude: Sequence[str] = (), *, gitignore: bool = True) -> Manifest:
    """Scan a folder. Raises CloisterError if it cannot be read.

    gitignore: leave out what .gitignore files name, which is wrong where built programs are wanted.
    """
    if not folder.is_dir():
        raise CloisterError(f"cannot synchronise {folder}: it is not a folder")
    ignoring = Ignoring(folder, exclude, gitignore=gitignore)
    try:
        entries = tuple(_scan(folder, "", ignoring))
    except OSError as error:
        raise CloisterError(f"cannot read {error.filename}: {error.strerror}") from None
    return Manifest(folder=folder, entries=entries, ignoring=ignoring)


def _scan(root: Path, folder: str, ignoring: Ignoring) -> Iterator[Entry]:
    with os.scandir(root / folder) as listing:
        found = sorted(listing, key=lambda entry: entry.name)
    for item in found:
        path = f"{folder}/{item.name}" if folder else item.name
        is_folder = item.is_dir(follow_symlinks=False)
        if ignoring.ignores(path, is_folder):
            continue
        status = item.stat(follow_symlinks=False)
        if stat.S_ISLNK(status.st_mode):
            yield _entry(path, "l", status, (root / path).readlink().as_posix())
        elif is_folder:
            yield _entry(path, "d", status, "")
            yield from _scan(root, path, ignoring)
        elif stat.S_ISREG(status.st_mode):
            yield _entry(path, "f", status, "")


def _entry(path: str, kind: Literal["f", "d", "l"], status: os.stat_result, link: str) -> Entry:
    return Entry(
        path=path,
        kind=kind,
        mode=stat.S_IMODE(status.st_mode),
        size=status.st_size,
        mtime_ns=status.st_mtime_ns,
        link=link,
    )
