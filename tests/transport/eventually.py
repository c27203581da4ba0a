"""Waiting for what can be observed, with a bound."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

PAUSE_S = 0.01


def eventually(seen: Callable[[], T], *, within_s: float = 10.0, what: str = "") -> T:
    """The first true value of `seen`; a failed test if there is none in time."""
    ends_at = time.monotonic() + within_s
    while True:
        value = seen()
        if value:
            return value
        if time.monotonic() > ends_at:
            raise AssertionError(f"not within {within_s:g} s: {what or seen}")
        time.sleep(PAUSE_S)
