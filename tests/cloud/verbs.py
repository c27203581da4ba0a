"""What the names of API calls say."""

from __future__ import annotations

_READING = ("Describe", "Get", "List")


def is_mutating(action: str) -> bool:
    return not action.startswith(_READING)
