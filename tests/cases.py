"""Malformed configurations as text: `=== title suffix`, the file, then `>>> line key: message` for each problem."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from cloister.config.problems import Problem


@dataclasses.dataclass(frozen=True, kw_only=True)
class Case:
    """`problems` are those that are expected, in their order."""

    title: str
    suffix: str
    text: str
    problems: tuple[str, ...]

    def __str__(self) -> str:
        return self.title

    def write(self, folder: Path) -> Path:
        file = folder / f"configuration{self.suffix}"
        file.write_text(self.text, "utf-8")
        return file


def read_cases(folder: Path) -> list[Case]:
    return [case for file in sorted(folder.glob("*.cases")) for case in _cases(file)]


def _cases(file: Path) -> Iterator[Case]:
    for block in re.split(r"^=== ", file.read_text("utf-8"), flags=re.MULTILINE)[1:]:
        head, _, body = block.partition("\n")
        title, suffix = head.rsplit(" ", 1)
        text, *problems = re.split(r"^>>> ", body, flags=re.MULTILINE)
        yield Case(
            title=title,
            suffix=suffix,
            text=text,
            problems=tuple(problem.rstrip("\n") for problem in problems),
        )


def shown(problems: Sequence[Problem], folder: Path) -> list[str]:
    """As in the cases: line, key (or - for a whole file), message and hint."""
    lines = [
        f"{problem.place.line} {problem.key or '-'}: {problem.message}"
        + (f" ({problem.hint})" if problem.hint else "")
        for problem in problems
    ]
    return [line.replace(f"{folder}/", "") for line in lines]
