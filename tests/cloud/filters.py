"""Filters and pages of the describe calls."""

from __future__ import annotations

import base64
import binascii
import fnmatch
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from cloud.refusals import Refusal, invalid_value

Item = TypeVar("Item")
# What an item has under the name of a filter; a sequence matches when one of it does.
Attribute = Callable[[Item], Any]

MAX_RESULTS = 1000
# In all filters of a call together.
VALUES_MAX = 200
MIN_RESULTS = 5


def filtered(
    items: Sequence[Item],
    filters: Sequence[Mapping[str, Any]],
    attributes: Mapping[str, Attribute[Item]],
    tags: Callable[[Item], Mapping[str, str]],
) -> list[Item]:
    found = list(items)
    if sum(len(wanted.get("Values", [])) for wanted in filters) > VALUES_MAX:
        raise Refusal(
            "FilterLimitExceeded",
            f"The maximum number of filter values specified on a single call is {VALUES_MAX}",
        )
    for wanted in filters:
        attribute = _attribute(wanted["Name"], attributes, tags)
        patterns = [_pattern(value) for value in wanted.get("Values", [])]
        found = [item for item in found if _matches(attribute(item), patterns)]
    return found


def page(
    items: Sequence[Item], asked: Mapping[str, Any], *, size: int, ids: Sequence[str] = ()
) -> tuple[list[Item], str | None]:
    """The items that this call gets, and the token for the next ones."""
    limit = asked.get("MaxResults")
    if limit is not None and ids:
        raise Refusal(
            "InvalidParameterCombination",
            "The parameter MaxResults cannot be used with the parameter that lists ids",
        )
    if limit is not None and not MIN_RESULTS <= limit <= MAX_RESULTS:
        raise invalid_value(
            f"Value ( {limit} ) for parameter maxResults is invalid. "
            f"Expecting a value between {MIN_RESULTS} and {MAX_RESULTS}."
        )
    start = _offset(asked.get("NextToken"))
    end = start + (limit or (len(items) if ids else size))
    return list(items[start:end]), _token(end) if end < len(items) else None


def _attribute(
    name: str,
    attributes: Mapping[str, Attribute[Item]],
    tags: Callable[[Item], Mapping[str, str]],
) -> Attribute[Item]:
    if name.startswith("tag:"):
        key = name.removeprefix("tag:")
        return lambda item: [tags(item)[key]] if key in tags(item) else []
    if name == "tag-key":
        return lambda item: list(tags(item))
    if name == "tag-value":
        return lambda item: list(tags(item).values())
    if name not in attributes:
        raise invalid_value(f"The filter '{name}' is invalid")
    return attributes[name]


def _pattern(value: str) -> re.Pattern[str]:
    """EC2 knows * and ? but no brackets."""
    return re.compile(fnmatch.translate(value.replace("[", "[[]")))


def _matches(value: Any, patterns: Sequence[re.Pattern[str]]) -> bool:
    values = value if isinstance(value, list | tuple | set) else [value]
    return any(pattern.match(_text(one)) for one in values for pattern in patterns)


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return "" if value is None else str(value)


def _token(offset: int) -> str:
    return base64.urlsafe_b64encode(f"after {offset}".encode()).decode()


def _offset(token: str | None) -> int:
    if not token:
        return 0
    try:
        return int(base64.urlsafe_b64decode(token).decode().removeprefix("after "))
    except (ValueError, binascii.Error) as error:
        raise Refusal("InvalidNextToken", f"The token '{token}' is invalid") from error
