"""The models' verdict on a configuration, as problems that name the user's own keys."""

from __future__ import annotations

import dataclasses
import difflib
import itertools
import json
import types
from collections.abc import Iterable, Sequence
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError

from cloister.config.located import Key, Located, child, find, key_text, plain
from cloister.config.problems import Problem

M = TypeVar("M", bound=BaseModel)

# What a value of a wrong type should have been; such errors of a union's members are one problem.
_WRONG_TYPE = {
    "string_type": "a text",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "list_type": "a list",
    "dict_type": "a table",
    "model_type": "a table",
    "model_attributes_type": "a table",
}
_TEMPLATE_PATTERN = r"\{\{"
_TEMPLATE = 'a template such as "{{ workers }}"'
_FOUND_LENGTH_MAX = 60


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Fault:
    """One error of pydantic: `of_key` if the key itself is wrong and not its value."""

    key: Key
    kind: str
    of_key: bool
    context: dict[str, Any]
    message: str
    input: Any


def validated(model: type[M], tree: Located, at: Key) -> tuple[M | None, list[Problem]]:
    """The model of the value at `at`, or every problem with it, each once."""
    data = find(tree, at)
    try:
        return model.model_validate(plain(data)), []
    except ValidationError as error:
        faults = [_fault(entry, data) for entry in error.errors(include_url=False)]
        return None, [_problem(tree, at, model, group) for group in _mistakes(faults, model)]


def unknown_key(tree: Located, key: Key, known: Iterable[str]) -> Problem:
    name = str(key[-1])
    return Problem(
        place=find(tree, key).place,
        key=key_text(key),
        message="unknown key",
        hint=nearest_hint(name, known),
    )


def nearest_hint(name: str, known: Iterable[str]) -> str:
    """`did you mean …?`, else all that is known if that is short, else nothing."""
    names = list(dict.fromkeys(known))
    if near := nearest(name, names):
        return f"did you mean {near!r}?"
    return f"known: {', '.join(names)}" if 0 < len(names) <= 12 else ""


def nearest(name: str, known: Iterable[str]) -> str:
    by_fold = {entry.casefold(): entry for entry in known}
    near = difflib.get_close_matches(name.casefold(), by_fold, n=1, cutoff=0.6)
    return by_fold[near[0]] if near else ""


def found(value: object) -> str:
    """A value as a person would name it."""
    match value:
        case None:
            return "found nothing (null)"
        case bool() | int() | float():
            return f"found {json.dumps(value)}"
        case str():
            text = json.dumps(value, ensure_ascii=False)
            cut = text if len(text) <= _FOUND_LENGTH_MAX else text[:_FOUND_LENGTH_MAX] + '…"'
            return f"found the text {cut}"
        case list() | tuple():
            return "found a list" if value else "found an empty list"
        case dict():
            return "found a table" if value else "found an empty table"
        case _:
            return f"found {type(value).__name__}"


# --- pydantic's errors ---------------------------------------------------------------------------


def _fault(error: Any, data: Located) -> _Fault:
    """`loc` names union members and validators between the keys: only what is in the data counts."""
    location: Sequence[str | int] = error["loc"]
    key: Key = ()
    current: Located | None = data
    for part in location:
        inner = child(current, part) if current else None
        if inner is not None:
            key, current = (*key, part), inner
    if error["type"] == "missing":
        key = (*key, location[-1])
    return _Fault(
        key=key,
        kind=error["type"],
        of_key=location[-1:] == ("[key]",),
        context=error.get("ctx", {}),
        message=error["msg"],
        input=error["input"],
    )


def _mistakes(faults: Sequence[_Fault], model: type[BaseModel]) -> list[list[_Fault]]:
    """Faults of one mistake together: the members of a union complain each for themselves."""
    faults = [fault for fault in faults if not _is_misspelt(fault, faults, model)]
    groups: list[list[_Fault]] = []
    by_key = itertools.groupby(
        sorted(enumerate(faults), key=lambda entry: _first(entry[1].key, faults)),
        key=lambda entry: entry[1].key,
    )
    for key, entries in by_key:
        group = [fault for _, fault in entries]
        keys = [fault for fault in group if fault.of_key]
        values = [fault for fault in group if not fault.of_key]
        wrong_type = [fault for fault in values if fault.kind in _WRONG_TYPE]
        others = [fault for fault in values if fault.kind not in _WRONG_TYPE]
        if keys:
            groups.append(keys[:1])
        if others:
            groups.append(_most_telling(others, wrong_type))
        elif wrong_type and not any(_is_below(fault.key, key) for fault in faults):
            groups.append(wrong_type)
    return groups


def _first(key: Key, faults: Sequence[_Fault]) -> int:
    return next(index for index, fault in enumerate(faults) if fault.key == key)


def _most_telling(others: list[_Fault], wrong_type: list[_Fault]) -> list[_Fault]:
    """A text that is no template, where a number was possible, is the wrong type for both."""
    if all(fault.context.get("pattern") == _TEMPLATE_PATTERN for fault in others):
        return [*wrong_type, *others[:1]]
    return others[:1]


def _is_below(key: Key, above: Key) -> bool:
    return len(key) > len(above) and key[: len(above)] == above


def _is_misspelt(fault: _Fault, faults: Sequence[_Fault], model: type[BaseModel]) -> bool:
    """The key is missing because an unknown key beside it was meant to be it."""
    return fault.kind == "missing" and any(
        other.kind == "extra_forbidden"
        and other.key[:-1] == fault.key[:-1]
        and nearest(str(other.key[-1]), known_keys(model, other.key[:-1])) == fault.key[-1]
        for other in faults
    )


def _problem(tree: Located, at: Key, model: type[BaseModel], mistake: Sequence[_Fault]) -> Problem:
    first = mistake[0]
    key = (*at, *first.key)
    if first.kind == "extra_forbidden":
        return unknown_key(tree, key, known_keys(model, first.key[:-1]))
    message, hint = _explained(mistake)
    return Problem(place=find(tree, key).place, key=key_text(key), message=message, hint=hint)


def _explained(mistake: Sequence[_Fault]) -> tuple[str, str]:
    """Message and hint."""
    fault = mistake[0]
    if fault.of_key:
        return f"{_expected(fault)} as the key, {found(fault.input)}", ""
    if fault.kind == "missing":
        return f"the key {fault.key[-1]!r} is missing", ""
    if fault.kind in _WRONG_TYPE or len(mistake) > 1:
        return _of_wrong_type(mistake)
    if fault.kind == "value_error":
        message = fault.message.removeprefix("Value error, ")
        is_scalar = not isinstance(fault.input, dict | list)
        return message + (f", {found(fault.input)}" if is_scalar else ""), ""
    hint = ""
    if fault.kind == "literal_error" and isinstance(fault.input, str):
        near = nearest(fault.input, _choices(fault))
        hint = f"did you mean {near!r}?" if near else ""
    return f"{_expected(fault)}, {found(fault.input)}", hint


def _of_wrong_type(mistake: Sequence[_Fault]) -> tuple[str, str]:
    kinds = [fault.kind for fault in mistake]
    expected = list(dict.fromkeys(_WRONG_TYPE.get(kind, _TEMPLATE) for kind in kinds))
    fault = mistake[0]
    if fault.context.get("class_name") == "RoleSpec":
        expected = ["a number of nodes", "a table"]
    elif set(kinds) == {"int_type", "string_type"} and fault.key[-1] != "port":
        # Everywhere else the text beside a number is a template.
        expected = ["a whole number", _TEMPLATE]
    return f"expected {_alternatives(expected)}, {found(fault.input)}", ""


def _alternatives(texts: Sequence[str]) -> str:
    *most, last = texts
    return f"{', '.join(most)} or {last}" if most else last


def _choices(fault: _Fault) -> list[str]:
    """Of "'a', 'b' or 'c'"."""
    quoted = str(fault.context.get("expected", "")).split("'")
    return quoted[1::2]


def _expected(fault: _Fault) -> str:
    context = fault.context
    match fault.kind:
        case "greater_than_equal":
            return f"expected at least {context['ge']:g}"
        case "greater_than":
            return f"expected more than {context['gt']:g}"
        case "less_than_equal":
            return f"expected at most {context['le']:g}"
        case "less_than":
            return f"expected less than {context['lt']:g}"
        case "finite_number":
            return "expected a finite number"
        case "string_too_short":
            return "expected a text that is not empty"
        case "too_short":
            return f"expected at least {context['min_length']} entry"
        case "string_pattern_mismatch":
            return f"expected {_PATTERNS.get(context['pattern'], 'another form')}"
        case "literal_error":
            return f"expected {str(context['expected']).replace('True', 'true')}"
        case _:
            return fault.message[0].lower() + fault.message[1:]


_PATTERNS = {
    r"^[A-Za-z][A-Za-z0-9_-]{0,62}$": (
        "a name (a letter, then letters, digits, _ or -, at most 63 in all)"
    ),
    r"^[a-z][a-z0-9-]{0,38}$": (
        "a name (a lower-case letter, then lower-case letters, digits or -, at most 39 in all)"
    ),
    _TEMPLATE_PATTERN: _TEMPLATE,
}


# --- what the models know ------------------------------------------------------------------------


def known_keys(model: type[BaseModel], key: Key) -> list[str]:
    """The keys that the table at `key` may have, as far as the models say."""
    annotations: list[Any] = [model]
    for part in key:
        annotations = [inner for annotation in annotations for inner in _inner(annotation, part)]
    return [
        name
        for annotation in annotations
        for member in _members(annotation)
        if isinstance(member, type) and issubclass(member, BaseModel)
        for name in member.model_fields
    ]


def _inner(annotation: Any, part: str | int) -> list[Any]:
    inner: list[Any] = []
    for member in _members(annotation):
        origin = get_origin(member)
        if isinstance(part, int) and origin is list:
            inner.append(get_args(member)[0])
        elif isinstance(part, str) and origin is dict:
            inner.append(get_args(member)[1])
        elif isinstance(member, type) and issubclass(member, BaseModel):
            field = member.model_fields.get(str(part))
            inner.extend([field.annotation] if field else [])
    return inner


def _members(annotation: Any) -> list[Any]:
    """The types behind unions and annotations."""
    origin = get_origin(annotation)
    if origin is Annotated:
        return _members(get_args(annotation)[0])
    if origin in (Union, types.UnionType):
        return [entry for member in get_args(annotation) for entry in _members(member)]
    if origin is Literal:
        return []
    return [annotation]
