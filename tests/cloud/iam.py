"""A policy as IAM evaluates it, as far as cloister's own policies need that.

https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_condition_operators.html
"""

from __future__ import annotations

import dataclasses
import fnmatch
from collections.abc import Callable, Mapping, Sequence
from typing import Any

Context = Mapping[str, str | list[str]]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Grant:
    """The part of a policy that permitted something."""

    sid: str
    action: str
    resource: str


def grant(policy: Mapping[str, Any], permission: str, arn: str, context: Context) -> Grant | None:
    """The first statement that allows it, or None. ValueError for what is not evaluated here."""
    for statement in policy["Statement"]:
        if statement["Effect"] != "Allow":
            raise ValueError(f"{statement['Effect']} is not evaluated")
        action = _first(statement["Action"], permission)
        resource = _first(statement["Resource"], arn)
        if action and resource and _holds(statement.get("Condition", {}), context):
            return Grant(sid=statement["Sid"], action=action, resource=resource)
    return None


def _first(patterns: str | Sequence[str], text: str) -> str | None:
    listed = [patterns] if isinstance(patterns, str) else patterns
    # A bracket is no wildcard in a policy.
    matching = (one for one in listed if fnmatch.fnmatchcase(text, one.replace("[", "[[]")))
    return next(matching, None)


def _holds(condition: Mapping[str, Mapping[str, Any]], context: Context) -> bool:
    return all(
        _OPERATORS[operator](context.get(key), [wanted] if isinstance(wanted, str) else wanted)
        for operator, wanted_of in condition.items()
        for key, wanted in wanted_of.items()
    )


def _values(found: str | list[str] | None) -> list[str]:
    return [found] if isinstance(found, str) else found or []


def _like(value: str, patterns: list[str]) -> bool:
    return any(fnmatch.fnmatchcase(value, one.replace("[", "[[]")) for one in patterns)


_OPERATORS: dict[str, Callable[[Any, list[str]], bool]] = {
    # A key that is not there never equals anything.
    "StringEquals": lambda found, wanted: any(one in wanted for one in _values(found)),
    "StringLike": lambda found, wanted: any(_like(one, wanted) for one in _values(found)),
    "Null": lambda found, wanted: (found is None) is (wanted == ["true"]),
    # True as well when there are no values at all.
    "ForAllValues:StringEquals": lambda found, wanted: all(one in wanted for one in _values(found)),
}
