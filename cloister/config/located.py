"""A configuration as its author wrote it: every value with the place of its key."""

from __future__ import annotations

import dataclasses
import json
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from cloister.config.fields import Scalar
from cloister.config.problems import Place, Problem

Key = tuple[str | int, ...]

# Far above what people write, far below what makes a laptop slow.
VALUES_MAX = 200_000
DEPTH_MAX = 50

_INTEGER_MAX = 2**63
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Located:
    """`place` is where the value's key stands, for an entry of a list where the entry begins."""

    place: Place
    value: Scalar | tuple[Located, ...] | Mapping[str, Located]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Reading:
    """What one text gave: `tree` is None when nothing could be made of it."""

    tree: Located | None
    problems: tuple[Problem, ...] = ()


def plain(tree: Located) -> Any:
    """The value without its places: dictionaries, lists and scalars."""
    match tree.value:
        case tuple() as entries:
            return [plain(entry) for entry in entries]
        case Mapping() as table:
            return {key: plain(entry) for key, entry in table.items()}
        case scalar:
            return scalar


def find(tree: Located, key: Sequence[str | int]) -> Located:
    """The value at `key`, or the nearest table or list around it that exists."""
    for part in key:
        inner = child(tree, part)
        if inner is None:
            break
        tree = inner
    return tree


def child(tree: Located, part: str | int) -> Located | None:
    match tree.value:
        case Mapping() as table:
            return table.get(part) if isinstance(part, str) else None
        case tuple() as entries if isinstance(part, int) and 0 <= part < len(entries):
            return entries[part]
        case _:
            return None


def key_text(key: Sequence[str | int]) -> str:
    """`experiments[0].sweep.workers`; a part that is not a plain word is quoted."""
    text = ""
    for part in key:
        if isinstance(part, int):
            text += f"[{part}]"
        elif _BARE_KEY.fullmatch(part):
            text += f".{part}" if text else part
        else:
            text += f"[{json.dumps(part)}]"
    return text


def given_twice(first: Place, second: Place, key: Key) -> Problem:
    return Problem(
        place=second,
        key=key_text(key),
        message=f"the key is given twice: in line {first.line} and in line {second.line}",
        hint="remove one of them",
    )


def unusable(value: object) -> str:
    """Why no configuration can hold this scalar; empty if it can."""
    match value:
        case float() if not math.isfinite(value):
            return "expected a finite number"
        case int() if not -_INTEGER_MAX <= value < _INTEGER_MAX:
            return "the number does not fit into 64 bits"
        case str() if "\0" in value:
            return "a text cannot hold the character NUL"
        case str() if any("\ud800" <= letter <= "\udfff" for letter in value):
            return "the text is not Unicode: half of a surrogate pair"
        case _:
            return ""
