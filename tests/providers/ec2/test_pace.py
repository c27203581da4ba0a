"""A clock that only `sleep` moves."""

from __future__ import annotations

from cloister.providers.ec2.pace import Pace


def test_a_burst_goes_at_once_and_the_rest_at_the_rate() -> None:
    now = [100.0]

    def sleep(seconds: float) -> None:
        now[0] += seconds

    pace = Pace(burst=3, per_s=2, clock=lambda: now[0], sleep=sleep)
    times = []
    for _ in range(6):
        pace.wait()
        times.append(now[0] - 100)
    assert times == [0, 0, 0, 0.5, 1.0, 1.5]
    now[0] += 1.0
    times = []
    for _ in range(3):
        pace.wait()
        times.append(now[0] - 102.5)
    # A second has brought two new ones.
    assert times == [0, 0, 0.5]
