"""Several files as one configuration: tables are merged, lists of equals joined, the rest replaced."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from cloister.config.located import Key, Located

# Of these each file brings some more; any other list is one value.
_JOINED: set[Key] = {("experiments",), ("deploy",), ("results", "figures")}
# What a file may say about itself rather than about the configuration.
_OF_THE_FILE = {"include", "$schema"}
_ANY = "*"
_PATHS: list[Key] = [
    ("deploy", _ANY, "source"),
    ("results", "folder"),
    ("cluster", "ssh", "key"),
    ("cluster", "nodes", _ANY, "key"),
]


def merged(trees: Sequence[Located]) -> Located:
    """Later trees win; paths that a file wrote are made absolute from that file's folder."""
    whole = _own(trees[0])
    for tree in trees[1:]:
        whole = _merge(whole, _own(tree), ())
    return whole


def _own(tree: Located) -> Located:
    assert isinstance(tree.value, Mapping)
    table = {key: entry for key, entry in tree.value.items() if key not in _OF_THE_FILE}
    located = Located(place=tree.place, value=table)
    for pattern in _PATHS:
        located = _absolute(located, pattern)
    return located


def _merge(earlier: Located, later: Located, key: Key) -> Located:
    match earlier.value, later.value:
        case Mapping() as old, Mapping() as new:
            table = dict(old)
            for name, entry in new.items():
                inner = old.get(name)
                table[name] = _merge(inner, entry, (*key, name)) if inner else entry
            return Located(place=later.place, value=table)
        case tuple() as old, tuple() as new if key in _JOINED:
            return Located(place=later.place, value=old + new)
        case _:
            return later


def _absolute(tree: Located, pattern: Key) -> Located:
    """`tree` with the texts at `pattern` as absolute paths."""
    if not pattern:
        if not isinstance(tree.value, str) or not tree.value:
            return tree
        path = absolute_path(tree.value, tree.place.file.parent)
        return Located(place=tree.place, value=path)
    first, *rest = pattern
    match tree.value:
        case tuple() as entries if first == _ANY:
            changed = tuple(_absolute(entry, tuple(rest)) for entry in entries)
            return Located(place=tree.place, value=changed)
        case Mapping() as table if isinstance(first, str) and first in table:
            inner = _absolute(table[first], tuple(rest))
            return Located(place=tree.place, value={**table, first: inner})
        case _:
            return tree


def absolute_path(text: str, folder: Path) -> str:
    """Without following links, so that a path reads in messages as it was written."""
    path = Path(text)
    try:
        path = path.expanduser()
    except RuntimeError:
        pass  # no such user: the name stands for itself, as in a shell
    parts: list[str] = []
    absolute = (folder / path).absolute()
    for part in absolute.parts[1:]:
        if part != "..":
            parts.append(part)
        elif parts:
            parts.pop()
    return str(Path(absolute.anchor, *parts))
