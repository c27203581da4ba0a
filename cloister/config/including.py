"""All files of a configuration: those that were named, and those that they include."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from cloister.config.located import Located
from cloister.config.problems import Place, Problem
from cloister.config.reading import Source, read

FILES_MAX = 100


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sources:
    """In the order in which they are merged: an included file stands before the one that includes it."""

    sources: tuple[Source, ...]
    problems: tuple[Problem, ...]


def read_all(paths: Sequence[Path]) -> Sources:
    reader = _Reader()
    for path in paths:
        reader.add(path, None)
    return Sources(sources=tuple(reader.sources), problems=tuple(reader.problems))


class _Reader:
    """Reads each file once, however often it is named."""

    def __init__(self) -> None:
        self.sources: list[Source] = []
        self.problems: list[Problem] = []
        self._seen: set[Path] = set()
        # The files on the way from a named file to this one.
        self._open: list[Path] = []

    def add(self, file: Path, place: Place | None) -> None:
        """`place` is where the file is named, None on the command line."""
        identity = _identity(file)
        if identity in self._open:
            chain = " → ".join(path.name for path in (*self._open, identity))
            self._problem(place, f"the files include each other: {chain}")
        elif identity not in self._seen:
            self._seen.add(identity)
            if len(self._seen) <= FILES_MAX:
                self._read(file, identity, place)
            elif len(self._seen) == FILES_MAX + 1:
                self._problem(place, f"more than {FILES_MAX} files")

    def _read(self, file: Path, identity: Path, place: Place | None) -> None:
        source = read(file)
        if place is not None and source.tree is None and not source.content:
            # A file that is not there is a mistake of the file that names it.
            self._problem(place, f"{file}: {source.problems[0].message}")
        else:
            self.problems.extend(source.problems)
        self._open.append(identity)
        for included in self._includes(source):
            self.add(file.parent / str(included.value), included.place)
        self._open.pop()
        self.sources.append(source)

    def _includes(self, source: Source) -> list[Located]:
        if source.tree is None or not isinstance(source.tree.value, dict):
            return []
        include = source.tree.value.get("include")
        if include is None:
            return []
        entries = include.value if isinstance(include.value, tuple) else (include,)
        if not isinstance(include.value, tuple) or not all(_is_path(entry) for entry in entries):
            self._problem(include.place, "expected a list of files")
            return []
        return list(entries)

    def _problem(self, place: Place | None, message: str) -> None:
        where = place or Place(file=self._open[0] if self._open else Path(), line=1)
        self.problems.append(Problem(place=where, key="include", message=message))


def _is_path(entry: Located) -> bool:
    return isinstance(entry.value, str) and entry.value != ""


def _identity(file: Path) -> Path:
    try:
        return file.resolve()
    except (OSError, ValueError, RuntimeError):
        return file  # reading it says what is wrong
