"""What a trial costs that does nothing: a sweep of `true` on four local nodes, records saved.

    .venv/bin/python benchmarks/idle_trial.py [--nodes 4] [--trials 30] [--folder /dev/shm] [--profile]

Prints milliseconds per trial, from one record's saving to the next one's, and what they were spent on.
Saving waits for the disk (fsync); --folder tells how much of it is that. --profile shows the functions
of this process in which the time went.
"""

from __future__ import annotations

import argparse
import cProfile
import itertools
import pstats
import statistics
import tempfile
import time
from pathlib import Path

from cloister.cluster import Cluster
from cloister.cluster.lifecycle import destroy, launch
from cloister.config.spec import ClusterSpec, ExperimentSpec
from cloister.experiment.record import TrialRecord
from cloister.results.conduct import Watcher, conduct
from cloister.results.store import Store

TARGET_MS = 50.0
NAME = "idle"
SHOWN_FUNCTIONS = 25


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--nodes", type=int, default=4)
    parser.add_argument("--trials", type=int, default=30)
    parser.add_argument("--folder", help="where state and results go; by default as tempfile says")
    parser.add_argument("--profile", action="store_true")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="cloister-idle-", dir=arguments.folder) as folder:
        state = Path(folder, "state")
        cluster = launch(
            ClusterSpec.model_validate({"name": NAME, "roles": {"workers": arguments.nodes}}),
            state=state,
        )
        try:
            measure(
                cluster, TimedStore(Path(folder, "results")), arguments.trials, arguments.profile
            )
        finally:
            destroy(NAME, state=state)


class TimedStore(Store):
    """Says how long saving took, of which most is waiting for the disk."""

    def save(self, record: TrialRecord) -> None:
        began = time.perf_counter()
        super().save(record)
        SAVING_MS.append(1000 * (time.perf_counter() - began))


SAVING_MS: list[float] = []


def measure(cluster: Cluster, store: Store, trials: int, profile: bool) -> None:
    spec = ExperimentSpec.model_validate(
        {
            "name": "idle",
            "repeats": trials,
            "processes": {"nothing": {"role": "workers", "command": "true"}},
        }
    )
    saved: list[float] = []
    cpu: list[float] = []
    records: list[TrialRecord] = []

    def on_record(record: TrialRecord) -> None:
        saved.append(time.perf_counter())
        cpu.append(time.process_time())
        records.append(record)

    profiler = cProfile.Profile()
    watcher = Watcher(
        on_standings=lambda _: profiler.enable() if profile else None, on_record=on_record
    )
    done = conduct([spec], [], cluster, store, configuration={}, watcher=watcher)
    profiler.disable()
    if done.complete != trials:
        raise SystemExit(f"not every trial was complete: {done}")
    wall = [1000 * (later - earlier) for earlier, later in itertools.pairwise(saved)]
    inside = [1000 * record.duration_s for record in records[1:]]
    rest = [w - i - s for w, i, s in zip(wall, inside, SAVING_MS[1:], strict=True)]
    used = [1000 * (later - earlier) for earlier, later in itertools.pairwise(cpu)]
    print(f"{trials} trials of `true` on {len(records[0].processes)} nodes; medians, ms per trial")
    for name, values in {
        "wall": wall,
        "  start, wait for the end": inside,
        "  stop, collect, clean": rest,
        "  save": SAVING_MS[1:],
        "CPU of this process": used,
    }.items():
        print(f"{name:28} {statistics.median(values):7.1f}   slowest {max(values):7.1f}")
    print(f"target {TARGET_MS:g} ms: {'met' if statistics.median(wall) <= TARGET_MS else 'MISSED'}")
    if profile:
        pstats.Stats(profiler).sort_stats("tottime").print_stats(SHOWN_FUNCTIONS)


if __name__ == "__main__":
    main()
