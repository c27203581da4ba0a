"""JSON text as a tree with places; Python's own decoder decides what is JSON."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import NoReturn

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

_TOKEN = re.compile(r'[{}\[\],:]|"(?:[^"\\]|\\.)*"|[^\s{}\[\],:"]+')


def read_json(text: str, file: Path) -> Reading:
    try:
        json.loads(text, parse_constant=_no_constant)
        return _Walker(text, file).document()
    except json.JSONDecodeError as error:
        return _failed(file, error.lineno, f"not JSON: {error.msg} (column {error.colno})")
    except RecursionError:
        return _failed(file, 1, f"nested more than {DEPTH_MAX} levels deep")
    except ValueError as error:
        return _failed(file, _constant_line(text), f"not JSON: {error}")


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a number of JSON")


def _constant_line(text: str) -> int:
    for token in _TOKEN.finditer(text):
        if token[0] in ("NaN", "Infinity", "-Infinity") or len(token[0]) > 4000:
            return text.count("\n", 0, token.start()) + 1
    return 1


def _failed(file: Path, line: int, message: str) -> Reading:
    problem = Problem(place=Place(file=file, line=line), key="", message=message)
    return Reading(tree=None, problems=(problem,))


class _Stop(ValueError):
    pass


class _Walker:
    """Walks through the tokens of a text that is known to be JSON."""

    def __init__(self, text: str, file: Path) -> None:
        self._text = text
        self._file = file
        self._words = _TOKEN.finditer(text)
        self._word = ""
        self._line = 1
        self._offset = 0
        self._values = 0
        self._problems: list[Problem] = []
        self._advance()

    def document(self) -> Reading:
        try:
            tree = self._value((), self._place())
        except _Stop as stop:
            return _failed(self._file, self._line, str(stop))
        return Reading(tree=tree, problems=tuple(self._problems))

    def _value(self, key: Key, place: Place) -> Located:
        self._values += 1
        if self._values > VALUES_MAX:
            raise _Stop(f"more than {VALUES_MAX} values")
        if len(key) > DEPTH_MAX:
            raise _Stop(f"nested more than {DEPTH_MAX} levels deep")
        match self._word:
            case "{":
                return Located(place=place, value=self._table(key))
            case "[":
                return Located(place=place, value=tuple(self._entries(key)))
            case _:
                return Located(place=place, value=self._scalar(key, place))

    def _table(self, key: Key) -> dict[str, Located]:
        table: dict[str, Located] = {}
        self._advance()
        while self._word != "}":
            name, place = json.loads(self._word), self._place()
            self._advance()  # onto the colon
            self._advance()
            located = self._value((*key, name), place)
            if name in table:
                self._problems.append(given_twice(table[name].place, place, (*key, name)))
            else:
                table[name] = located
            self._skip_comma()
        self._advance()
        return table

    def _entries(self, key: Key) -> list[Located]:
        entries: list[Located] = []
        self._advance()
        while self._word != "]":
            entries.append(self._value((*key, len(entries)), self._place()))
            self._skip_comma()
        self._advance()
        return entries

    def _scalar(self, key: Key, place: Place) -> Scalar:
        value: Scalar = json.loads(self._word)
        self._advance()
        if problem := unusable(value):
            self._problems.append(Problem(place=place, key=key_text(key), message=problem))
            return None
        return value

    def _skip_comma(self) -> None:
        if self._word == ",":
            self._advance()

    def _advance(self) -> None:
        token = next(self._words, None)
        if token is None:
            self._word = ""
            return
        self._line += self._text.count("\n", self._offset, token.start())
        self._offset = token.start()
        self._word = token[0]

    def _place(self) -> Place:
        return Place(file=self._file, line=self._line)
