"""Calls no faster than AWS takes them: who waits here is not refused there, and has no call too many."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable


class Pace:
    """`burst` calls at once, after them `per_s` a second; threads may share it."""

    def __init__(
        self,
        *,
        burst: int,
        per_s: float,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._ahead_s = (burst - 1) / per_s
        self._every_s = 1 / per_s
        self._clock, self._sleep = clock, sleep
        self._lock = threading.Lock()
        # When the bucket will be full again.
        self._full_at = 0.0

    def wait(self) -> None:
        """Until it is this call's turn."""
        with self._lock:
            now = self._clock()
            full_at = max(self._full_at, now)
            self._full_at = full_at + self._every_s
        pause_s = full_at - self._ahead_s - now
        if pause_s > 0:
            self._sleep(pause_s)
