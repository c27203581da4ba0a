"""Two times: the real one, in which machines boot, and the simulated one, in which leases end and bills grow."""

from __future__ import annotations

import dataclasses
import datetime
import time


@dataclasses.dataclass(frozen=True, kw_only=True)
class Moment:
    """When something happened, in each time. `advanced_s` is what tests had skipped until then."""

    real_s: float
    simulated_s: float
    wall_s: float
    advanced_s: float


class Clock:
    def __init__(self, scale: float) -> None:
        self._scale = scale
        self._advanced_s = 0.0
        self._counted_s = time.time()
        self._since_s = time.monotonic()

    @property
    def simulated_s(self) -> float:
        """Seconds since the epoch, as they are in the simulation."""
        return self._counted_s + (time.monotonic() - self._since_s) * self._scale

    def rescale(self, scale: float) -> None:
        self._counted_s, self._since_s = self.simulated_s, time.monotonic()
        self._scale = scale

    def advance(self, seconds: float) -> None:
        self._counted_s += seconds
        self._advanced_s += seconds

    def real_seconds_until(self, simulated_s: float) -> float:
        return (simulated_s - self.simulated_s) / self._scale if self._scale > 0 else 3600.0

    def now(self) -> Moment:
        return Moment(
            real_s=time.monotonic(),
            simulated_s=self.simulated_s,
            wall_s=time.time(),
            advanced_s=self._advanced_s,
        )

    def shown(self, moment: Moment) -> datetime.datetime:
        """The date that the API gives: it recedes by what tests skip, because the callers' own clocks
        do not know of that, and to them an instance of two hours ago has to look two hours old."""
        skipped_s = self._advanced_s - moment.advanced_s
        return datetime.datetime.fromtimestamp(moment.wall_s - skipped_s, datetime.UTC)
