"""What one attempt at a trial left: its verdict, its evidence and where it came from."""

from __future__ import annotations

import dataclasses
from typing import Any, Literal

# Raised when a field changes its meaning; readers refuse formats that they do not know.
FORMAT = 1

# complete: a result.  failed: the program was at fault.  invalid: the machine was.
Verdict = Literal["complete", "failed", "invalid"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Artifact:
    """One file of evidence; `path` is relative to the attempt's folder, `sha256` was taken on the node."""

    path: str
    node: str
    process: str
    size: int
    sha256: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class ProcessRecord:
    """How one instance of a process went; times are Unix seconds of the node's own clock.

    `end` says who ended it: itself, or cloister when the trial was over (then its status means nothing).
    """

    process: str
    instance: int
    node: str
    command: str
    status: int | None
    signal: str | None
    end: Literal["itself", "stopped", "lost", "not started"]
    started_at: float | None
    ended_at: float | None
    ready_after_s: float | None
    cpu_user_s: float
    cpu_system_s: float
    max_rss_bytes: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrialRecord:
    """One attempt at one trial.

    `trial` is its id, `experiment/point/rep-N`; `parameters` has dotted keys in the order of the sweep.
    `definition` is the SHA-256 of all that decides what the trial measures (commands, files, code):
    a record with another definition is not a result of the present configuration.
    `reason`, `guilty` and `last_lines` explain a verdict other than complete.
    `metrics` are the numbers as read right after the trial; `results` can read them anew from the artifacts.
    """

    format: int = FORMAT
    trial: str
    experiment: str
    point: str
    repeat: int
    attempt: int
    seed: int
    parameters: dict[str, Any]
    definition: str
    verdict: Verdict
    reason: str
    guilty: str
    last_lines: tuple[str, ...]
    started_at: float
    duration_s: float
    measured_s: float
    processes: tuple[ProcessRecord, ...]
    artifacts: tuple[Artifact, ...]
    metrics: dict[str, float]
    nodes: tuple[dict[str, Any], ...]
    provenance: dict[str, Any]


def to_json(record: TrialRecord) -> dict[str, Any]:
    return dataclasses.asdict(record)


def from_json(data: dict[str, Any]) -> TrialRecord:
    """The record that `to_json` gave; ValueError for a format or a field that this version does not know."""
    if data.get("format") != FORMAT:
        raise ValueError(f"record format {data.get('format')!r}, expected {FORMAT}")
    try:
        fields = dict(data)
        fields["last_lines"] = tuple(data["last_lines"])
        fields["processes"] = tuple(ProcessRecord(**entry) for entry in data["processes"])
        fields["artifacts"] = tuple(Artifact(**entry) for entry in data["artifacts"])
        fields["nodes"] = tuple(data["nodes"])
        return TrialRecord(**fields)
    except (KeyError, TypeError) as error:
        raise ValueError(f"not a trial record: {error}") from None
