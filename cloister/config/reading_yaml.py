"""YAML text as a tree with places: the types of YAML 1.2, and nothing that surprises."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import yaml

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

# The core schema, https://yaml.org/spec/1.2.2/#103-core-schema: `yes` and `on` are text, 1:30 is
# text, 010 is ten, 1e3 is a number, a date is text.
_NULL = re.compile(r"null|Null|NULL|~|")
_TRUE = re.compile(r"true|True|TRUE")
_FALSE = re.compile(r"false|False|FALSE")
_INTEGER = re.compile(r"[-+]?[0-9]+")
_OCTAL = re.compile(r"0o[0-7]+")
_HEXADECIMAL = re.compile(r"0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_NOT_FINITE = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")

_TAG = "tag:yaml.org,2002:"
_TAGGED: dict[str, tuple[type, ...]] = {
    _TAG + "int": (int,),
    _TAG + "float": (int, float),
    _TAG + "bool": (bool,),
    _TAG + "null": (type(None),),
}
_COLLECTION_TAGS = {None, "!", _TAG + "map", _TAG + "seq"}


def read_yaml(text: str, file: Path) -> Reading:
    try:
        loader = yaml.SafeLoader(text)
        return _build(loader, file)
    except _Stop as stop:
        return Reading(tree=None, problems=(stop.problem,))
    except yaml.MarkedYAMLError as error:
        return _syntax_error(file, error)
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        message = f"the character U+{int(error.character):04X} is not allowed in YAML"
        return _failed(file, line, message)


def _build(loader: yaml.SafeLoader, file: Path) -> Reading:
    try:
        return _Builder(loader, file).document()
    except (ValueError, OverflowError):
        # What PyYAML lets through from int() and chr().
        message = "not YAML: a number in an escape or a directive is too large"
        return _failed(file, loader.line + 1, message)


def _syntax_error(file: Path, error: yaml.MarkedYAMLError) -> Reading:
    mark = error.problem_mark or error.context_mark
    message = f"not YAML: {error.problem or error.context}"
    hint = "YAML is indented with spaces, not tabs" if "\\t" in message else ""
    return _failed(file, mark.line + 1 if mark else 1, message, hint)


def _failed(file: Path, line: int, message: str, hint: str = "") -> Reading:
    problem = Problem(place=Place(file=file, line=line), key="", message=message, hint=hint)
    return Reading(tree=None, problems=(problem,))


class _Stop(Exception):
    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.message)
        self.problem = problem


class _Builder:
    """Builds from parser events, so that anchors cannot make more than VALUES_MAX values."""

    def __init__(self, loader: yaml.SafeLoader, file: Path) -> None:
        self._file = file
        self._events: Iterator[yaml.Event] = iter(loader.get_event, None)
        # None while the anchor's own value is being read; the number is how many values it has.
        self._anchors: dict[str, tuple[Located, int] | None] = {}
        self._values = 0
        self._problems: list[Problem] = []

    def document(self) -> Reading:
        next(self._events)  # the start of the stream
        if isinstance(next(self._events), yaml.StreamEndEvent):
            return Reading(tree=None, problems=())
        tree = self._node(next(self._events), (), None)
        next(self._events)  # the end of the document
        following = next(self._events)
        if not isinstance(following, yaml.StreamEndEvent):
            raise self._stop(following, (), "expected one document, found a second one ('---')")
        return Reading(tree=tree, problems=tuple(self._problems))

    def _node(self, event: yaml.Event, key: Key, place: Place | None) -> Located:
        """`place` is that of the key, if there is one."""
        place = place or self._place(event)
        if len(key) > DEPTH_MAX:
            raise self._stop(event, key, f"nested more than {DEPTH_MAX} levels deep")
        if isinstance(event, yaml.AliasEvent):
            return self._alias(event, key, place)
        anchor = getattr(event, "anchor", None)
        before = self._values
        if anchor is not None:
            self._anchors[anchor] = None
        self._count(1, event, key)
        located = self._value(event, key, place)
        if anchor is not None:
            self._anchors[anchor] = (located, self._values - before)
        return located

    def _alias(self, event: yaml.AliasEvent, key: Key, place: Place) -> Located:
        if event.anchor not in self._anchors:
            raise self._stop(event, key, f"there is no anchor &{event.anchor} before this alias")
        anchored = self._anchors[event.anchor]
        if anchored is None:
            raise self._stop(event, key, f"the alias *{event.anchor} contains itself")
        located, values = anchored
        self._count(values, event, key)
        return Located(place=place, value=located.value)

    def _value(self, event: yaml.Event, key: Key, place: Place) -> Located:
        match event:
            case yaml.ScalarEvent():
                return Located(place=place, value=self._scalar(event, key, place))
            case yaml.SequenceStartEvent():
                self._check_tag(event, key)
                return Located(place=place, value=tuple(self._entries(key)))
            case _:
                self._check_tag(event, key)
                return Located(place=place, value=self._table(key))

    def _entries(self, key: Key) -> Iterator[Located]:
        index = 0
        while not isinstance(event := next(self._events), yaml.SequenceEndEvent):
            yield self._node(event, (*key, index), None)
            index += 1

    def _table(self, key: Key) -> dict[str, Located]:
        own: dict[str, Located] = {}
        merged: dict[str, Located] = {}
        merge: Place | None = None
        while not isinstance(event := next(self._events), yaml.MappingEndEvent):
            name = self._key(event, key)
            place = self._place(event)
            inner = (*key, name)
            is_merge = name == "<<" and isinstance(event, yaml.ScalarEvent) and not event.style
            located = self._node(next(self._events), inner, place)
            if is_merge:
                if merge is not None:
                    self._problems.append(given_twice(merge, place, inner))
                merge = place
                merged.update(self._merged(located, inner))
            elif name in own:
                self._problems.append(given_twice(own[name].place, place, inner))
            else:
                own[name] = located
        return {**merged, **own}

    def _key(self, event: yaml.Event, table: Key) -> str:
        """A key is text, as in JSON and TOML: `on`, `1` and `null` are themselves."""
        if not isinstance(event, yaml.ScalarEvent):
            raise self._stop(event, table, "expected a plain word as the key, found something else")
        if event.anchor is not None:
            located = Located(place=self._place(event), value=event.value)
            self._anchors[event.anchor] = (located, 1)
        return str(event.value)

    def _merged(self, located: Located, key: Key) -> dict[str, Located]:
        """The tables behind `<<`; of several the first one wins."""
        tables = located.value if isinstance(located.value, tuple) else (located,)
        merged: dict[str, Located] = {}
        for table in tables:
            if not isinstance(table.value, dict):
                self._problem(located.place, key, "expected an alias of a table after <<")
                return {}
            merged = {**table.value, **merged}
        return merged

    def _scalar(self, event: yaml.ScalarEvent, key: Key, place: Place) -> Scalar:
        try:
            value = self._resolved(event, key)
        except ValueError:
            self._problem(place, key, "the number does not fit into 64 bits")
            return 0
        if problem := unusable(value):
            self._problem(place, key, problem)
            return None
        return value

    def _resolved(self, event: yaml.ScalarEvent, key: Key) -> Scalar:
        tag, text = event.tag, event.value
        if tag in (None, "!"):
            return text if event.style or tag == "!" else core_value(text)
        if tag == _TAG + "str":
            return str(text)
        value = core_value(text)
        if tag not in _TAGGED:
            raise self._unknown_tag(event, key, tag)
        if not isinstance(value, _TAGGED[tag]):
            raise self._stop(event, key, f"the value does not fit its tag {_short(tag)}")
        return value

    def _check_tag(self, event: yaml.Event, key: Key) -> None:
        tag = getattr(event, "tag", None)
        if tag not in _COLLECTION_TAGS:
            raise self._unknown_tag(event, key, str(tag))

    def _unknown_tag(self, event: yaml.Event, key: Key, tag: str) -> _Stop:
        message = f"the tag {_short(tag)} is not known here"
        return self._stop(event, key, message, "write plain values")

    def _count(self, values: int, event: yaml.Event, key: Key) -> None:
        self._values += values
        if self._values > VALUES_MAX:
            message = f"more than {VALUES_MAX} values, with aliases written out"
            raise self._stop(event, key, message)

    def _place(self, event: yaml.Event) -> Place:
        line = event.start_mark.line + 1 if event.start_mark else 1
        return Place(file=self._file, line=line)

    def _problem(self, place: Place, key: Key, message: str) -> None:
        self._problems.append(Problem(place=place, key=key_text(key), message=message))

    def _stop(self, event: yaml.Event, key: Key, message: str, hint: str = "") -> _Stop:
        place = self._place(event)
        # The path of a bomb is longer than it is helpful.
        text = key_text(key) if len(key) <= DEPTH_MAX else ""
        return _Stop(Problem(place=place, key=text, message=message, hint=hint))


def _short(tag: str) -> str:
    return tag.replace(_TAG, "!!")


def core_value(text: str) -> Scalar:
    """What an unquoted word means in YAML 1.2; ValueError for numbers of thousands of digits."""
    if _NULL.fullmatch(text):
        return None
    if _TRUE.fullmatch(text):
        return True
    if _FALSE.fullmatch(text):
        return False
    if _INTEGER.fullmatch(text):
        return int(text)
    if _OCTAL.fullmatch(text):
        return int(text[2:], 8)
    if _HEXADECIMAL.fullmatch(text):
        return int(text[2:], 16)
    if _FLOAT.fullmatch(text):
        return float(text)
    if _NOT_FINITE.fullmatch(text):
        return float(text.replace(".", "", 1))
    return text
