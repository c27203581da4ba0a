"""Single trials on real nodes, for the tests of execution and runner."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import signal
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from cloister.cluster import Cluster
from cloister.config.spec import ExperimentSpec
from cloister.experiment.record import TrialRecord
from cloister.experiment.runner import Job, Surroundings, run_trial
from cloister.experiment.trial import trials
from cloister.providers.local.processes import ClusterProcess, cluster_processes
from cloister.transport.links import Links

# Well below every time-out in these tests: what ends sooner did not wait for one.
AT_ONCE_S = 8.0
FOREVER = "sleep 1000"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Ran:
    """A trial's record, with the folder of its artifacts, and how long it took here."""

    record: TrialRecord
    folder: Path
    took_s: float

    @property
    def verdict(self) -> str:
        return self.record.verdict

    def log(self, label: str, stream: str = "stdout") -> str:
        return (self.folder / label / f"{stream}.log").read_text()

    def process(self, name: str, instance: int = 0) -> Any:
        return next(p for p in self.record.processes if (p.process, p.instance) == (name, instance))

    @property
    def paths(self) -> set[str]:
        return {artifact.path for artifact in self.record.artifacts}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Lab:
    """A cluster with open links."""

    cluster: Cluster
    links: Links
    folder: Path

    def run(self, processes: Mapping[str, Any], **fields: Any) -> Ran:
        """The only trial of an experiment with these processes."""
        spec = experiment(processes, **fields)
        folder = Path(tempfile.mkdtemp(dir=self.folder))
        began = time.monotonic()
        record = run_trial(
            Job(spec=spec, trial=trials(spec)[0]),
            1,
            folder,
            around(self.cluster, self.links),
            lambda *_: ({}, {}),
        )
        return Ran(record=record, folder=folder, took_s=time.monotonic() - began)

    def work_folder(self, node: str) -> Path:
        return self.cluster.folder / "nodes" / node / "home" / "cloister"

    def processes_of(self, node: str) -> list[ClusterProcess]:
        found = cluster_processes(self.cluster.folder, self.cluster.uid).values()
        return [entry for entry in found if entry.node == node]


def around(cluster: Cluster, links: Links) -> Surroundings:
    return Surroundings(
        cluster=cluster.name,
        nodes=cluster.nodes,
        links=links,
        sources={},
        provenance={"commit": "c0ffee"},
        facts={node.name: {"cpus": 2, "of": node.name} for node in cluster.nodes},
    )


def experiment(processes: Mapping[str, Any], **fields: Any) -> ExperimentSpec:
    return ExperimentSpec.model_validate(
        {"name": "probe", "timeout": 30.0, "processes": processes, **fields}
    )


def program(command: Any, **fields: Any) -> dict[str, Any]:
    """A process on the first worker."""
    return {"role": "workers", "nodes": 1, "command": command, **fields}


@contextlib.contextmanager
def lab_on(cluster: Cluster, folder: Path) -> Iterator[Lab]:
    with Links(marks=cluster.marks) as links:
        yield Lab(cluster=cluster, links=links, folder=folder)


def send(entries: list[ClusterProcess], number: signal.Signals) -> None:
    for entry in entries:
        with contextlib.suppress(ProcessLookupError):
            os.kill(entry.process.pid, number)


def command_lines(text: str) -> list[str]:
    """Of every process of this machine with the text in it."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            line = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
            if text in line:
                found.append(line)
    return found


def wait_until(condition: Callable[[], bool], what: str, within_s: float = 10.0) -> None:
    ends_at = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < ends_at, f"not within {within_s:g} s: {what}"
        time.sleep(0.01)
