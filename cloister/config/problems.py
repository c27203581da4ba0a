"""One thing that is wrong with a configuration, and where."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from pathlib import Path


@dataclasses.dataclass(frozen=True, kw_only=True)
class Place:
    """A position in a file; `line` counts from 1."""

    file: Path
    line: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Problem:
    """`key` is the dotted path of the value (`experiments[0].sweep.workers`), empty for a whole file."""

    place: Place
    key: str
    message: str
    hint: str = ""

    def __str__(self) -> str:
        where = f"{self.place}: {self.key}: " if self.key else f"{self.place}: "
        return where + self.message + (f" ({self.hint})" if self.hint else "")


def in_reading_order(problems: Iterable[Problem]) -> list[Problem]:
    """As a reader meets them, each once; the file of the first problem comes first."""
    unique = list(dict.fromkeys(problems))
    files = list(dict.fromkeys(problem.place.file for problem in unique))
    return sorted(unique, key=lambda problem: (files.index(problem.place.file), problem.place.line))
