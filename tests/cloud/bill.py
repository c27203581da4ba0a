"""What has been billed: meters that run in simulated time."""

from __future__ import annotations

import dataclasses

MINIMUM_S = 60.0
HOUR_S = 3600.0
MONTH_S = 730 * HOUR_S


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Meter:
    dollars_per_s: float
    minimum_s: float
    since_s: float

    def dollars(self, until_s: float) -> float:
        return self.dollars_per_s * max(self.minimum_s, until_s - self.since_s)


class Bill:
    def __init__(self) -> None:
        self._running: dict[str, _Meter] = {}
        self._closed_dollars = 0.0

    def start(
        self, meter: str, *, dollars_per_s: float, at_s: float, minimum_s: float = 0.0
    ) -> None:
        self.stop(meter, at_s=at_s)
        self._running[meter] = _Meter(
            dollars_per_s=dollars_per_s, minimum_s=minimum_s, since_s=at_s
        )

    def stop(self, meter: str, *, at_s: float) -> None:
        """Nothing happens if it does not run."""
        if meter in self._running:
            self._closed_dollars += self._running.pop(meter).dollars(at_s)

    def dollars(self, at_s: float) -> float:
        return self._closed_dollars + sum(meter.dollars(at_s) for meter in self._running.values())
