"""Trees of files as values: generated, written to a folder, and read back for comparison."""

from __future__ import annotations

import dataclasses
import os
import shutil
import stat
from pathlib import Path

from hypothesis import strategies as st

# Few names, so that a second tree has other things under the names of the first.
NAMES = ("a", "b", "c d", "ü", "-x", "n\nl", ".h", "\udcff")
TIME_S = 1_700_000_000


@dataclasses.dataclass(frozen=True)
class File:
    content: bytes
    mode: int
    time_s: int


@dataclasses.dataclass(frozen=True)
class Link:
    to: str


@dataclasses.dataclass(frozen=True)
class Folder:
    inside: tuple[tuple[str, File | Link | Folder], ...]
    mode: int
    time_s: int


Tree = Folder


def trees(file_modes: tuple[int, ...], folder_modes: tuple[int, ...]) -> st.SearchStrategy[Tree]:
    times = st.integers(TIME_S, TIME_S + 3)
    files = st.builds(
        File, st.sampled_from([b"", b"1", b"2", b"\0" * 5000]), st.sampled_from(file_modes), times
    )
    links = st.builds(
        Link, st.sampled_from(["a", "b/a", "../c d", "nowhere", "/", "-x", "n\nl", "."])
    )

    def folder(inside: st.SearchStrategy[File | Link | Folder]) -> st.SearchStrategy[Folder]:
        entries = st.dictionaries(st.sampled_from(NAMES), inside, max_size=4)
        content = entries.map(lambda found: tuple(sorted(found.items())))
        return st.builds(Folder, content, st.sampled_from(folder_modes), times)

    return folder(
        st.recursive(files | links, lambda inside: inside | folder(inside), max_leaves=10)
    )


def write(tree: Tree, place: Path, *, later_s: int = 0) -> None:
    """Exactly this tree in `place`, whatever was there, with all its times so much later."""
    remove(place)
    place.mkdir()
    _fill(tree, place, later_s)
    # The folder itself is not part of what is compared.
    place.chmod(0o755)


def _fill(tree: Tree, place: Path, later_s: int) -> None:
    for name, entry in tree.inside:
        path = place / name
        match entry:
            case File():
                path.write_bytes(entry.content)
                path.chmod(entry.mode)
                os.utime(path, (entry.time_s + later_s, entry.time_s + later_s))
            case Link():
                path.symlink_to(entry.to)
            case Folder():
                path.mkdir()
                _fill(entry, path, later_s)
                path.chmod(entry.mode)
                os.utime(path, (entry.time_s + later_s, entry.time_s + later_s))


def remove(place: Path) -> None:
    for folder, names, _ in os.walk(place):
        for name in names:
            if not (Path(folder) / name).is_symlink():
                (Path(folder) / name).chmod(0o700)
    shutil.rmtree(place, ignore_errors=True)


def read(place: Path) -> dict[str, tuple[str, int, int, bytes | str]]:
    """Path → kind, mode, time and content of everything below. Times of links are nobody's business."""
    found: dict[str, tuple[str, int, int, bytes | str]] = {}
    for path in place.rglob("*"):
        status = path.lstat()
        mode, time = stat.S_IMODE(status.st_mode), status.st_mtime_ns
        name = str(path.relative_to(place))
        if stat.S_ISLNK(status.st_mode):
            found[name] = ("l", 0, 0, str(path.readlink()))
        elif stat.S_ISDIR(status.st_mode):
            found[name] = ("d", mode, time, b"")
        elif stat.S_ISREG(status.st_mode):
            found[name] = ("f", mode, time, path.read_bytes())
        else:
            found[name] = ("?", mode, time, b"")
    return found
