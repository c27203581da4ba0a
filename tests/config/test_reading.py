"""Three formats, one tree: values, lines, and nothing that is not a located problem."""

from __future__ import annotations

import json
import math
import os
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cloister.config.located import Key, Located, plain
from cloister.config.reading import FILE_BYTES_MAX, Source, read
from cloister.config.reading_json import read_json
from cloister.config.reading_toml import read_toml, scan
from cloister.config.reading_yaml import core_value, read_yaml

FILE = Path("file")
READERS = [read_yaml, read_json, read_toml]


def places(tree: Located, key: Key = ()) -> Iterator[tuple[Key, int]]:
    yield key, tree.place.line
    match tree.value:
        case dict() as table:
            for name, entry in table.items():
                yield from places(entry, (*key, name))
        case tuple() as entries:
            for index, entry in enumerate(entries):
                yield from places(entry, (*key, index))


# --- YAML ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("yes", "yes"),
        ("on", "on"),
        ("No", "No"),
        ("y", "y"),
        ("true", True),
        ("False", False),
        ("1:30", "1:30"),
        ("190:20:30", "190:20:30"),
        ("010", 10),
        ("08", 8),
        ("0o17", 15),
        ("0x1F", 31),
        ("0b11", "0b11"),
        ("1_000", "1_000"),
        ("-3", -3),
        ("+3", 3),
        ("1e3", 1000.0),
        ("1E-3", 0.001),
        (".5", 0.5),
        ("5.", 5.0),
        ("1.2.3", "1.2.3"),
        ("2024-01-01", "2024-01-01"),
        ("2024-01-01 10:00:00", "2024-01-01 10:00:00"),
        ("null", None),
        ("~", None),
        ("", None),
        ("none", "none"),
        (".inf", math.inf),
        ("=", "="),
        ("10s", "10s"),
    ],
)
def test_a_word_of_yaml_means_what_version_1_2_says(text: str, value: object) -> None:
    assert core_value(text) == value
    assert type(core_value(text)) is type(value)


def test_a_quoted_word_of_yaml_is_text() -> None:
    reading = read_yaml("a: '1'\nb: \"true\"\nc: !!str 1\nd: ! 1\ne: |\n  1\n", FILE)
    assert reading.tree and not reading.problems
    assert plain(reading.tree) == {"a": "1", "b": "true", "c": "1", "d": "1", "e": "1\n"}


def test_keys_of_yaml_are_text() -> None:
    reading = read_yaml("on: 1\n2: x\nnull: y\n1.5: z\n", FILE)
    assert reading.tree
    assert plain(reading.tree) == {"on": 1, "2": "x", "null": "y", "1.5": "z"}


def test_anchors_and_merges_of_yaml_are_written_out() -> None:
    text = """
base: &base {role: workers, env: {A: "1"}}
first: {<<: *base, role: master}
second:
  role: clients
  <<: [{extra: 1}, *base]
third: *base
"""
    reading = read_yaml(text, FILE)
    assert reading.tree and not reading.problems
    data = plain(reading.tree)
    assert data["first"] == {"role": "master", "env": {"A": "1"}}
    assert data["second"] == {"role": "clients", "env": {"A": "1"}, "extra": 1}
    assert data["third"] == data["base"]
    assert dict(places(reading.tree))[("third",)] == 7


def test_an_anchor_may_stand_on_a_key_and_be_set_anew() -> None:
    reading = read_yaml("&k a: &v 1\nb: *v\nc: &v 2\nd: *v\ne: *k\n", FILE)
    assert reading.tree
    assert plain(reading.tree) == {"a": 1, "b": 1, "c": 2, "d": 2, "e": "a"}


def test_yaml_knows_the_lines_of_keys_and_entries() -> None:
    text = "a:\n  - x\n  -\n    b: 1\n    c:\n      - 2\nd: {e: 1,\n    f: 2}\n"
    reading = read_yaml(text, FILE)
    assert reading.tree
    assert dict(places(reading.tree)) == {
        (): 1,
        ("a",): 1,
        ("a", 0): 2,
        ("a", 1): 4,
        ("a", 1, "b"): 4,
        ("a", 1, "c"): 5,
        ("a", 1, "c", 0): 6,
        ("d",): 7,
        ("d", "e"): 7,
        ("d", "f"): 8,
    }


# --- JSON ----------------------------------------------------------------------------------------


def test_json_may_be_indented_with_tabs_and_end_its_lines_as_windows_does() -> None:
    text = '{\r\n\t"a": [\r\n\t\t1,\r\n\t\t{"b": "x"}\r\n\t]\r\n}'
    reading = read_json(text, FILE)
    assert reading.tree and not reading.problems
    assert plain(reading.tree) == {"a": [1, {"b": "x"}]}
    lines = dict(places(reading.tree))
    assert lines[("a", 0)] == 3
    assert lines[("a", 1, "b")] == 4


SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))
)
KEYS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=5)
DATA = st.dictionaries(
    KEYS,
    st.recursive(
        SCALARS,
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=4),
        max_leaves=12,
    ),
    max_size=5,
)


@settings(max_examples=50, deadline=None)
@given(DATA, st.sampled_from([None, 1, "\t"]), st.booleans())
def test_json_is_read_as_python_reads_it(data: Any, indent: int | str | None, ascii: bool) -> None:
    text = json.dumps(data, indent=indent, ensure_ascii=ascii)
    reading = read_json(text, FILE)
    assert reading.tree and not reading.problems
    assert plain(reading.tree) == data
    lines = text.split("\n")
    for key, line in places(reading.tree):
        if key and isinstance(key[-1], str):
            assert json.dumps(key[-1], ensure_ascii=ascii) in lines[line - 1]


# --- TOML ----------------------------------------------------------------------------------------

TOML_TEXTS = st.text(
    st.characters(exclude_categories=["Cs", "Cc"]) | st.sampled_from("\n\t\"'\\#[]{}=,."),
    max_size=8,
)
TOML_KEYS = st.from_regex(r"[A-Za-z0-9_-]{1,4}", fullmatch=True) | TOML_TEXTS
TOML_SCALARS = st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(-1e9, 1e9) | TOML_TEXTS
TOML_DATA = st.dictionaries(
    TOML_KEYS,
    st.recursive(
        TOML_SCALARS,
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TOML_KEYS, inner, max_size=4),
        max_leaves=15,
    ),
    max_size=5,
)


class TomlWriter:
    """Writes data as TOML, each part in a style that hypothesis chooses."""

    def __init__(self, choose: Any) -> None:
        self._choose = choose
        self.lines: list[str] = []

    def table(self, data: dict[str, Any], header: list[str]) -> None:
        inner: list[tuple[str, Any]] = []
        for key, value in data.items():
            if self._is_table(value) and self._choose(["inline", "table"]) == "table":
                inner.append((key, value))
            elif (
                isinstance(value, dict) and value and self._choose(["inline", "dotted"]) == "dotted"
            ):
                for name, entry in value.items():
                    self._assign(f"{self._key(key)} . {self._key(name)}", entry)
            else:
                self._assign(self._key(key), value)
            self._noise()
        for key, value in inner:
            self._noise()
            path = [*header, key]
            name = ".".join(self._key(part) for part in path)
            for entry in [value] if isinstance(value, dict) else value:
                is_array = isinstance(value, list)
                self.lines.append(f"[[{name}]]" if is_array else f"[ {name} ] # [x]")
                self.table(entry, path)

    def _is_table(self, value: Any) -> bool:
        is_tables = isinstance(value, list) and all(isinstance(entry, dict) for entry in value)
        return isinstance(value, dict) or (is_tables and value != [])

    def _assign(self, key: str, value: Any) -> None:
        self.lines.extend(f"{key} = {self._value(value)}".split("\n"))

    def _noise(self) -> None:
        self.lines.extend(self._choose([[], [""], ["# k = [1, '"], ["  "]]))

    def _key(self, key: str) -> str:
        is_bare = key != "" and all(c.isascii() and (c.isalnum() or c in "-_") for c in key)
        if is_bare and self._choose([True, False]):
            return key
        return self._text(key, multiline=False)

    def _value(self, value: Any) -> str:
        match value:
            case bool():
                return str(value).lower()
            case str():
                return self._text(value, multiline=True)
            case list():
                gap = self._choose(["", " ", "\n", "\n # ] }\n"])
                entries = [self._value(entry) + gap for entry in value]
                return "[" + gap + ",".join(entries) + "]"
            case dict():
                entries = [f"{self._key(k)} = {self._value(v)}" for k, v in value.items()]
                return "{" + ", ".join(entries) + "}"
            case _:
                return repr(value)

    def _text(self, text: str, *, multiline: bool) -> str:
        quoted = json.dumps(text).replace("\x7f", "\\u007f")
        # JSON writes what is beyond 16 bits as surrogate pairs, which TOML does not know.
        if any(ord(letter) > 0xFFFF for letter in text):
            quoted = json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
        styles = [quoted]
        if multiline and "\\" not in text and '"""' not in text and not text.endswith('"'):
            styles.append(f'"""\n{text}"""')
        if "'" not in text and "\n" not in text:
            styles.append(f"'{text}'")
        if multiline and "'''" not in text and not text.endswith("'"):
            styles.append(f"'''\n{text}'''")
        return str(self._choose(styles))


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(TOML_DATA, st.data())
def test_every_key_of_a_toml_document_is_located_on_a_line_that_has_it(
    data: dict[str, Any], draw: st.DataObject
) -> None:
    writer = TomlWriter(lambda choices: draw.draw(st.sampled_from(choices)))
    writer.table(data, [])
    text = "\n".join(writer.lines) + "\n"
    expected = tomllib.loads(text)
    found = scan(text)
    assert found.repeats == []
    lines = text.split("\n")
    for key in paths(expected):
        assert key in found.lines, (key, text)
        line = lines[found.lines[key] - 1]
        name = key[-1]
        if isinstance(name, str):
            assert any(form in line for form in key_forms(name)), (key, line, text)
    assert set(found.lines) == set(paths(expected))


def paths(value: Any, key: Key = ()) -> Iterator[Key]:
    if key:
        yield key
    match value:
        case dict():
            for name, entry in value.items():
                yield from paths(entry, (*key, name))
        case list():
            for index, entry in enumerate(value):
                yield from paths(entry, (*key, index))


def key_forms(name: str) -> list[str]:
    return [
        name,
        json.dumps(name).replace("\x7f", "\\u007f"),
        json.dumps(name, ensure_ascii=False).replace("\x7f", "\\u007f"),
    ]


def test_the_keys_of_toml_are_located_in_all_their_forms() -> None:
    text = """\
a.b = 1
'c d' = [
  1, # first
  {x = 1, y.z = 2},
]
t = '''
[no.header]
k = 1'''
when = 1979-05-27 07:32:00
[e."f.g"]
h = 1
[[e.list]]
i = 1
[e.list.inner]
j = 1
[[e.list]]
i = 2
[[e.list.deep]]
k = 1
[e]
last = "x # y"
"""
    reading = read_toml(text, FILE)
    assert reading.tree and not reading.problems
    lines = dict(places(reading.tree))
    assert lines[("a", "b")] == 1
    assert lines[("c d", 0)] == 3
    assert lines[("c d", 1, "y", "z")] == 4
    assert lines[("t",)] == 6
    assert lines[("e", "f.g", "h")] == 11
    assert lines[("e", "list", 0)] == 12
    assert lines[("e", "list", 0, "inner", "j")] == 15
    assert lines[("e", "list", 1, "i")] == 17
    assert lines[("e", "list", 1, "deep", 0, "k")] == 19
    assert lines[("e",)] == 20
    assert lines[("e", "last")] == 21
    assert plain(reading.tree)["when"] == "1979-05-27T07:32:00"


# --- anything ------------------------------------------------------------------------------------

LETTERS = list("{}[]:,-#&*!|>'\"%@`?=.\\ \n\t\r01ae~<\x85\u2028\ufeff")
PIECES = ["<<: ", "&a ", "*a", "!!int ", "---\n", '"""', "'''", "\\u", "[[", "]]", "a = ", "a: "]
WORDS = ['"a": ', "null", "true", "1e3", ".inf", "%YAML 1.1\n"]
SNIPPETS = st.lists(st.sampled_from([*LETTERS, *PIECES, *WORDS])).map("".join)


@settings(max_examples=200, deadline=None)
@given(st.text() | SNIPPETS, st.sampled_from(READERS))
def test_any_text_gives_a_tree_or_located_problems(text: str, reader: Any) -> None:
    reading = reader(text, FILE)
    for problem in reading.problems:
        assert problem.place.line >= 1
        assert problem.message
    if reading.tree is not None:
        json.dumps(plain(reading.tree), allow_nan=False)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(), st.sampled_from([".yaml", ".json", ".toml"]))
def test_any_bytes_give_a_table_or_problems(tmp_path: Path, content: bytes, suffix: str) -> None:
    file = tmp_path / f"file{suffix}"
    file.write_bytes(content)
    source = read(file)
    assert source.content == content or source.problems
    assert (source.tree is not None) or source.problems


@pytest.mark.parametrize("reader", READERS)
def test_deep_nesting_is_a_problem_and_not_a_crash(reader: Any) -> None:
    for text in ("[" * 100_000, '{"a":' * 100_000, "a = " + "[" * 100_000, "a." * 5000 + "a = 1"):
        reading = reader(text, FILE)
        assert reading.problems or reading.tree is not None


@pytest.mark.parametrize(
    ("reader", "text"),
    [
        (read_json, '{"a": [' + "1," * 999 + "1]}"),
        (read_yaml, "a: [" + "1," * 999 + "1]"),
        (read_toml, "a = [" + "1," * 999 + "1]"),
    ],
)
def test_more_values_than_people_write_are_a_problem(
    reader: Any, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not reader(text, FILE).problems
    monkeypatch.setattr(f"{reader.__module__}.VALUES_MAX", 1000)
    assert "more than 1000 values" in reader(text, FILE).problems[0].message


def message(source: Source) -> str:
    assert source.tree is None
    (problem,) = source.problems
    return problem.message


def test_a_file_that_cannot_be_read_is_one_problem(tmp_path: Path) -> None:
    folder = tmp_path / "folder.yaml"
    folder.mkdir()
    latin = tmp_path / "latin.yaml"
    latin.write_bytes(b"a: 1\nb: \xe4\n")
    large = tmp_path / "large.yaml"
    with large.open("wb") as stream:
        stream.truncate(FILE_BYTES_MAX + 1)
    assert "No such file" in message(read(tmp_path / "missing.yaml"))
    assert "found a folder" in message(read(folder))
    assert "not UTF-8: byte 0xe4" in message(read(latin))
    assert read(latin).problems[0].place.line == 2
    assert "larger than 16 MB" in message(read(large))
    assert "embedded null" in message(read(tmp_path / "a\0.yaml"))


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe.yaml"
    os.mkfifo(pipe)
    assert "a device or a pipe" in message(read(pipe))


def test_a_byte_order_mark_is_skipped(tmp_path: Path) -> None:
    for suffix, text in ((".yaml", "a: 1"), (".json", '{"a": 1}'), (".toml", "a = 1")):
        file = tmp_path / f"file{suffix}"
        file.write_bytes(b"\xef\xbb\xbf" + text.encode())
        source = read(file)
        assert source.tree is not None
        assert plain(source.tree) == {"a": 1}
