"""Trials and records for the tests of results, with real files behind them."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from cloister.experiment.record import Artifact, TrialRecord
from cloister.experiment.trial import Trial


def trial(parameters: Mapping[str, Any] | None = None, repeat: int = 1) -> Trial:
    return Trial(experiment="ping", parameters=parameters or {"n": 2}, repeat=repeat, seed=7)


def record(of: Trial, attempt: int = 1, **changes: Any) -> TrialRecord:
    plain = TrialRecord(
        trial=of.id,
        experiment=of.experiment,
        point=of.point,
        repeat=of.repeat,
        attempt=attempt,
        seed=of.seed,
        parameters=dict(of.parameters),
        definition="d1",
        verdict="complete",
        reason="",
        guilty="",
        last_lines=(),
        started_at=1_700_000_000.0,
        duration_s=2.5,
        measured_s=2.0,
        processes=(),
        artifacts=(),
        metrics={},
        nodes=({"name": "worker-1", "cpu": "toy", "kernel": "6.1"},),
        provenance={"commit": "abc123"},
    )
    return dataclasses.replace(plain, **changes)


def artifact(folder: Path, path: str, content: bytes) -> Artifact:
    file = folder / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content)
    instance = path.split("/")[0]
    return Artifact(
        path=path,
        node=instance.partition("@")[2],
        process=instance.rpartition("-")[0].partition("@")[0] or instance.partition("-")[0],
        size=len(content),
        sha256=hashlib.sha256(content).hexdigest(),
    )


Saved = Callable[..., TrialRecord]
