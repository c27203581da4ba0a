"""TOML text as a tree with places; tomllib gives the values, a scan of the text their lines."""

from __future__ import annotations

import dataclasses
import datetime
import re
import tomllib
from pathlib import Path
from typing import Any

from cloister.config.fields import Scalar
from cloister.config.located import (
    DEPTH_MAX,
    VALUES_MAX,
    Key,
    Located,
    Reading,
    given_twice,
    key_text,
    unusable,
)
from cloister.config.problems import Place, Problem

_BLANK = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
_TEXT = re.compile(
    r'"""(?:\\.|[^\\])*?"{3,5}'
    r"|'''.*?'{3,5}"
    r'|"(?:\\.|[^"\\\n])*"'
    r"|'[^'\n]*'",
    re.DOTALL,
)
# Numbers, constants and dates; a date and its time may be parted by a blank.
_WORD = re.compile(r"[^,\]}#\n]+")
_ERROR_LINE = re.compile(r" \(at line (\d+), column \d+\)$")


def read_toml(text: str, file: Path) -> Reading:
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        return _syntax_error(text, file, str(error))
    except (RecursionError, ValueError) as error:
        return _failed(file, 1, f"not TOML: {error}")
    return _Tree(file, scan(text)).reading(data)


def _syntax_error(text: str, file: Path, message: str) -> Reading:
    repeats = scan(text).repeats
    if repeats:
        problems = [
            given_twice(Place(file=file, line=first), Place(file=file, line=second), key)
            for key, first, second in repeats
        ]
        return Reading(tree=None, problems=tuple(problems))
    line = _ERROR_LINE.search(message)
    last = max(1, len(text.splitlines()))
    what = _ERROR_LINE.sub("", message).removesuffix(" (at end of document)")
    return _failed(file, int(line[1]) if line else last, f"not TOML: {what}")


def _failed(file: Path, line: int, message: str) -> Reading:
    problem = Problem(place=Place(file=file, line=line), key="", message=message)
    return Reading(tree=None, problems=(problem,))


# --- lines ---------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True, kw_only=True)
class Lines:
    """`lines` has every key path of the text; `repeats` are keys given twice, with both lines."""

    lines: dict[Key, int]
    repeats: list[tuple[Key, int, int]]


def scan(text: str) -> Lines:
    """The line of every key, as far as the text is TOML."""
    scanner = _Scanner(text)
    try:
        scanner.document()
    except _Lost:
        pass  # tomllib says what is wrong; this only finds lines.
    return Lines(lines=scanner.lines, repeats=scanner.repeats)


class _Lost(Exception):
    pass


class _Scanner:
    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._counted = 0
        self._line = 1
        self.lines: dict[Key, int] = {}
        self.repeats: list[tuple[Key, int, int]] = []
        self._given: dict[Key, int] = {}
        # The paths of arrays of tables, with the number of their tables so far.
        self._arrays: dict[Key, int] = {}

    def document(self) -> None:
        table: Key = ()
        self._skip(_BLANK)
        while self._at < len(self._text):
            if self._text.startswith("[[", self._at):
                table = self._array_header()
            elif self._text.startswith("[", self._at):
                table = self._table_header()
            else:
                self._assignment(table)
            self._skip(_BLANK)

    def _array_header(self) -> Key:
        line = self._current_line()
        self._at += 2
        path = self._resolved(self._key())
        self._expect("]]")
        self._locate(path, line)
        index = self._arrays.get(path, 0)
        self._arrays[path] = index + 1
        self.lines[(*path, index)] = line
        return (*path, index)

    def _table_header(self) -> Key:
        line = self._current_line()
        self._at += 1
        path = self._resolved(self._key())
        self._expect("]")
        self._locate(path, line)
        self._give(path, line)
        self.lines[path] = line
        return path

    def _resolved(self, key: list[str]) -> Key:
        """A header's key, through the last table of each array of tables on the way."""
        path: Key = ()
        for position, part in enumerate(key):
            path = (*path, part)
            if path in self._arrays and position < len(key) - 1:
                path = (*path, self._arrays[path] - 1)
        return path

    def _assignment(self, table: Key) -> None:
        line = self._current_line()
        path = (*table, *self._key())
        if len(path) > DEPTH_MAX:
            raise _Lost
        self._expect("=")
        self._locate(path, line)
        self._give(path, line)
        self._value(path)

    def _locate(self, path: Key, line: int) -> None:
        for length in range(1, len(path) + 1):
            self.lines.setdefault(path[:length], line)

    def _give(self, path: Key, line: int) -> None:
        if path in self._given:
            self.repeats.append((path, self._given[path], line))
        self._given.setdefault(path, line)

    def _key(self) -> list[str]:
        parts = [self._key_part()]
        while self._text.startswith(".", self._at):
            self._at += 1
            parts.append(self._key_part())
        return parts

    def _key_part(self) -> str:
        self._skip_spaces()
        quoted = self._text[self._at : self._at + 1] in ("'", '"')
        found = (_TEXT if quoted else _BARE_KEY).match(self._text, self._at)
        if found is None:
            raise _Lost
        self._at = found.end()
        self._skip_spaces()
        return _unquoted(found[0]) if quoted else found[0]

    def _value(self, path: Key) -> None:
        self._skip_spaces()
        match self._text[self._at : self._at + 1]:
            case "[":
                self._array(path)
            case "{":
                self._inline_table(path)
            case "'" | '"':
                self._take(_TEXT)
            case _:
                self._take(_WORD)

    def _array(self, path: Key) -> None:
        if len(path) > DEPTH_MAX:
            raise _Lost
        self._at += 1
        index = 0
        while not self._ends("]"):
            self.lines[(*path, index)] = self._current_line()
            self._value((*path, index))
            index += 1
            self._separator("]")

    def _inline_table(self, path: Key) -> None:
        self._at += 1
        while not self._ends("}"):
            self._assignment(path)
            self._separator("}")

    def _ends(self, bracket: str) -> bool:
        self._skip(_BLANK)
        if self._text.startswith(bracket, self._at):
            self._at += 1
            return True
        return False

    def _separator(self, bracket: str) -> None:
        self._skip(_BLANK)
        if self._text.startswith(",", self._at):
            self._at += 1
        elif not self._text.startswith(bracket, self._at):
            raise _Lost

    def _take(self, pattern: re.Pattern[str]) -> None:
        found = pattern.match(self._text, self._at)
        if found is None:
            raise _Lost
        self._at = found.end()

    def _expect(self, text: str) -> None:
        if not self._text.startswith(text, self._at):
            raise _Lost
        self._at += len(text)

    def _skip_spaces(self) -> None:
        while self._text[self._at : self._at + 1] in (" ", "\t"):
            self._at += 1

    def _skip(self, pattern: re.Pattern[str]) -> None:
        found = pattern.match(self._text, self._at)
        if found is not None:
            self._at = found.end()

    def _current_line(self) -> int:
        self._line += self._text.count("\n", self._counted, self._at)
        self._counted = self._at
        return self._line


def _unquoted(text: str) -> str:
    try:
        return str(tomllib.loads(f"key = {text}")["key"])
    except tomllib.TOMLDecodeError:
        raise _Lost from None


# --- values --------------------------------------------------------------------------------------


class _TooMuch(Exception):
    pass


class _Tree:
    def __init__(self, file: Path, lines: Lines) -> None:
        self._file = file
        self._lines = lines.lines
        self._values = 0
        self._problems: list[Problem] = []

    def reading(self, data: dict[str, Any]) -> Reading:
        try:
            tree = self._located(data, (), Place(file=self._file, line=1))
        except _TooMuch as error:
            return _failed(self._file, 1, str(error))
        if not data:
            return Reading(tree=None)
        return Reading(tree=tree, problems=tuple(self._problems))

    def _located(self, value: Any, key: Key, around: Place) -> Located:
        self._values += 1
        if self._values > VALUES_MAX:
            raise _TooMuch(f"more than {VALUES_MAX} values")
        if len(key) > DEPTH_MAX:
            raise _TooMuch(f"nested more than {DEPTH_MAX} levels deep")
        line = self._lines.get(key)
        place = around if line is None else Place(file=self._file, line=line)
        match value:
            case dict():
                table = {
                    name: self._located(entry, (*key, name), place) for name, entry in value.items()
                }
                return Located(place=place, value=table)
            case list():
                entries = [
                    self._located(entry, (*key, index), place) for index, entry in enumerate(value)
                ]
                return Located(place=place, value=tuple(entries))
            case _:
                return Located(place=place, value=self._scalar(value, key, place))

    def _scalar(self, value: Any, key: Key, place: Place) -> Scalar:
        if isinstance(value, datetime.date | datetime.time):
            return value.isoformat()
        if problem := unusable(value):
            self._problems.append(Problem(place=place, key=key_text(key), message=problem))
            return None
        scalar: Scalar = value
        return scalar
