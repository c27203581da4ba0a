"""What will happen by itself, in real or in simulated time, one thing after the other in one thread."""

from __future__ import annotations

import heapq
import itertools
import threading
import time
import traceback
from collections.abc import Callable

from cloud.clock import Clock

IDLE_S = 5.0

Event = Callable[[], None]


class Agenda:
    """Events run under `lock`, so that they and the API calls see each other whole."""

    def __init__(self, clock: Clock, lock: threading.RLock) -> None:
        self._clock = clock
        self._changed = threading.Condition(lock)
        self._numbers = itertools.count()
        self._real: list[tuple[float, int, Event]] = []
        self._simulated: list[tuple[float, int, Event]] = []

    def start(self) -> None:
        threading.Thread(target=self._run, name="agenda", daemon=True).start()

    def after(self, delay_s: float, event: Event) -> None:
        """In so many real seconds."""
        self._add(self._real, time.monotonic() + delay_s, event)

    def at(self, simulated_s: float, event: Event) -> None:
        self._add(self._simulated, simulated_s, event)

    def catch_up(self) -> None:
        """Run what is due now, before anything else happens."""
        with self._changed:
            while (event := self._due()) is not None:
                _run(event)
            self._changed.notify()

    def _add(self, heap: list[tuple[float, int, Event]], when_s: float, event: Event) -> None:
        with self._changed:
            heapq.heappush(heap, (when_s, next(self._numbers), event))
            self._changed.notify()

    def _run(self) -> None:
        while True:
            with self._changed:
                event = self._due()
                if event is None:
                    self._changed.wait(self._pause_s())
                else:
                    _run(event)

    def _due(self) -> Event | None:
        if self._simulated and self._simulated[0][0] <= self._clock.simulated_s:
            return heapq.heappop(self._simulated)[2]
        if self._real and self._real[0][0] <= time.monotonic():
            return heapq.heappop(self._real)[2]
        return None

    def _pause_s(self) -> float:
        pauses = [IDLE_S]
        if self._real:
            pauses.append(self._real[0][0] - time.monotonic())
        if self._simulated:
            pauses.append(self._clock.real_seconds_until(self._simulated[0][0]))
        return max(0.0, min(pauses))


def _run(event: Event) -> None:
    try:
        event()
    except Exception:  # noqa: BLE001
        # One failed event must not stop all others; the server's log is shown with failed tests.
        traceback.print_exc()
