"""Trials one after the other: a record for each, whatever became of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from trying import FOREVER, Lab, around, command_lines, experiment, lab_on, program

from cloister.errors import CloisterError
from cloister.experiment.placement import definition
from cloister.experiment.record import TrialRecord, from_json, to_json
from cloister.experiment.runner import Job, ReadMetrics, run
from cloister.experiment.trial import trials


@pytest.fixture(scope="module")
def lab(module_cluster: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with lab_on(module_cluster(1), tmp_path_factory.mktemp("trials")) as found:
        yield found


def started(
    lab: Lab, folder: Path, jobs: list[Job], read_metrics: ReadMetrics, **callbacks: Any
) -> Iterator[TrialRecord]:
    def new_attempt(trial: Any) -> tuple[int, Path]:
        place = folder / trial.id
        place.mkdir(parents=True)
        return 7, place

    return run(
        jobs,
        around(lab.cluster, lab.links),
        new_attempt=new_attempt,
        read_metrics=read_metrics,
        **callbacks,
    )


def no_metrics(*_: Any) -> tuple[dict[str, float], dict[str, str]]:
    return {}, {}


def test_there_is_a_record_for_each_job_in_their_order(lab: Lab, tmp_path: Path) -> None:
    spec = experiment(
        {"p": program("echo {{ n }}; exit {{ 1 if n == 2 else 0 }}")}, sweep={"n": [3, 1, 2]}
    )
    jobs = [Job(spec=spec, trial=trial) for trial in trials(spec)]
    begun: list[str] = []
    records = list(
        started(lab, tmp_path, jobs, no_metrics, on_start=lambda job: begun.append(job.trial.id))
    )
    assert [record.trial for record in records] == begun == [job.trial.id for job in jobs]
    assert {record.parameters["n"]: record.verdict for record in records} == {
        1: "complete",
        2: "failed",
        3: "complete",
    }
    assert {record.attempt for record in records} == {7}
    for record, job in zip(records, jobs, strict=True):
        assert record.definition == definition(spec, job.trial, {})
        assert record.seed == job.trial.seed
        assert from_json(to_json(record)) == record


def test_a_trial_without_a_number_for_a_metric_is_failed(lab: Lab, tmp_path: Path) -> None:
    spec = experiment({"p": program("echo nothing")})
    job = Job(spec=spec, trial=trials(spec)[0])
    [record] = started(
        lab, tmp_path, [job], lambda *_: ({"other": 2.0}, {"rate": "no line matches"})
    )
    assert record.verdict == "failed"
    assert record.reason == "no value for rate: no line matches"
    assert record.metrics == {"other": 2.0}


def test_metrics_that_cannot_be_read_fail_the_trial(lab: Lab, tmp_path: Path) -> None:
    def broken(*_: Any) -> Any:
        raise CloisterError("the log is no text")

    spec = experiment({"p": program("true")})
    [record] = started(lab, tmp_path, [Job(spec=spec, trial=trials(spec)[0])], broken)
    assert record.verdict == "failed"
    assert "the log is no text" in record.reason


def test_metrics_of_a_failed_trial_are_not_read(lab: Lab, tmp_path: Path) -> None:
    spec = experiment({"p": program("exit 1")})
    job = Job(spec=spec, trial=trials(spec)[0])
    [record] = started(lab, tmp_path, [job], lambda *_: ({"rate": 5.0}, {}))
    assert record.metrics == {}


def test_output_that_is_no_text_can_be_shown(lab: Lab, tmp_path: Path) -> None:
    spec = experiment({"p": program(r"printf 'caf\351 \000\377\n' >&2; exit 1")})
    [record] = started(lab, tmp_path, [Job(spec=spec, trial=trials(spec)[0])], no_metrics)
    assert record.last_lines == ("caf\ufffd \x00\ufffd",)


def test_without_errors_the_last_lines_are_those_of_the_output(lab: Lab, tmp_path: Path) -> None:
    spec = experiment({"p": program("seq 100; exit 1")})
    [record] = started(lab, tmp_path, [Job(spec=spec, trial=trials(spec)[0])], no_metrics)
    assert record.last_lines == tuple(str(number) for number in range(81, 101))


def test_a_run_that_is_given_up_between_trials_leaves_nothing_running(
    lab: Lab, tmp_path: Path
) -> None:
    spec = experiment({"s": program(f"{FOREVER}.17"), "p": program("true")}, repeats=3)
    records = started(
        lab, tmp_path, [Job(spec=spec, trial=trial) for trial in trials(spec)], no_metrics
    )
    assert next(records).verdict == "complete"
    records.close()  # type: ignore[attr-defined]
    assert not command_lines(f"{FOREVER}.17")
