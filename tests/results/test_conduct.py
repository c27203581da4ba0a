"""Whole runs on real nodes: what is missing is run, what is there is checked, one run at a time."""

from __future__ import annotations

import dataclasses
import os
import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from cloister.cluster import Cluster
from cloister.cluster.lifecycle import destroy, launch
from cloister.config.spec import ClusterSpec, ExperimentSpec, SyncSpec
from cloister.errors import Busy, CloisterError
from cloister.experiment.record import TrialRecord
from cloister.results.conduct import Conducted, Standings, Watcher, conduct
from cloister.results.store import Store


@pytest.fixture(scope="module")
def cluster(module_cluster: Any) -> Any:
    return module_cluster(2)


class Study:
    """An experiment of four trials; how often each program really ran is counted on the side."""

    def __init__(self, cluster: Cluster, folder: Path) -> None:
        self.cluster, self.folder = cluster, folder
        self.store = Store(folder / "results")
        self.counter = folder / "counter"
        self.switch = folder / "fails"
        self.command = (
            f"echo >> {self.counter}; [ ! -e {self.switch} ] || exit 1; echo rate {{{{ n * 10 }}}}"
        )
        self.deploys: list[SyncSpec] = []
        self.standings: list[Standings] = []
        self.fields: dict[str, Any] = {}

    @property
    def spec(self) -> ExperimentSpec:
        return ExperimentSpec.model_validate(
            {
                "name": "study",
                "sweep": {"n": [1, 2]},
                "repeats": 2,
                "timeout": 20.0,
                "processes": {"p": {"role": "workers", "nodes": 1, "command": self.command}},
                "metrics": {"rate": {"process": "p", "pattern": r"rate (\d+)"}},
                **self.fields,
            }
        )

    def run(
        self, cluster: Cluster | None = None, store: Store | None = None, **more: Any
    ) -> Conducted:
        watcher = Watcher(on_standings=self.standings.append, **more.pop("watch", {}))
        return conduct(
            [self.spec],
            self.deploys,
            cluster or self.cluster,
            store or self.store,
            configuration={"study.yaml": b"name: study\n"},
            watcher=watcher,
            **more,
        )

    @property
    def runs(self) -> int:
        return len(self.counter.read_text()) if self.counter.exists() else 0

    @property
    def records(self) -> tuple[TrialRecord, ...]:
        return self.store.records()

    def reasons(self) -> set[str]:
        return {standing.kind for standing in self.standings[-1].reasons.values()}


@pytest.fixture
def study(cluster: Cluster, tmp_path: Path) -> Study:
    return Study(cluster, tmp_path)


def counts(done: Conducted) -> tuple[int, int, int, int]:
    return done.skipped, done.complete, done.failed, done.invalid


def test_a_run_leaves_a_verified_record_of_every_trial(study: Study) -> None:
    assert counts(study.run()) == (0, 4, 0, 0)
    assert study.runs == 4
    assert len(study.records) == 4
    for record in study.records:
        assert record.verdict == "complete"
        assert study.store.verify(record) == []
        assert record.metrics == {"rate": record.parameters["n"] * 10}


def test_a_record_says_where_it_comes_from(study: Study) -> None:
    study.run()
    record = study.records[0]
    kept = record.provenance
    assert kept["cluster"] == {
        "name": study.cluster.name,
        "uid": study.cluster.uid,
        "provider": "local",
        "dollars_per_hour": None,
    }
    path = study.store.folder / "study" / kept["configuration"]["study.yaml"]
    assert path.read_bytes() == b"name: study\n"
    facts = record.nodes[0]["facts"]
    assert facts["cpus"] == len(os.sched_getaffinity(0))
    assert facts["kernel"] == os.uname().release
    assert facts["machine"] == os.uname().machine


def test_running_again_runs_nothing(study: Study) -> None:
    study.run()
    assert counts(study.run()) == (4, 0, 0, 0)
    assert study.runs == 4


def test_only_what_is_missing_is_run(study: Study) -> None:
    study.run()
    shutil.rmtree(study.store.folder / study.records[0].trial)
    assert counts(study.run()) == (3, 1, 0, 0)
    assert study.reasons() == {"missing"}
    study.fields = {"repeats": 3}
    assert counts(study.run()) == (4, 2, 0, 0)


def test_an_attempt_without_a_record_is_run_again(study: Study) -> None:
    study.run()
    record = study.records[0]
    (study.store.attempt_folder(record) / "record.json").unlink()
    assert counts(study.run()) == (3, 1, 0, 0)
    again = study.store.latest(record.trial)
    assert again is not None
    assert again.attempt == 2


def test_failed_trials_are_run_again(study: Study) -> None:
    study.switch.touch()
    assert counts(study.run()) == (0, 0, 4, 0)
    assert counts(study.run()) == (0, 0, 4, 0)
    assert study.reasons() == {"failed"}
    study.switch.unlink()
    assert counts(study.run()) == (0, 4, 0, 0)
    assert counts(study.run()) == (4, 0, 0, 0)


def test_one_failed_trial_does_not_stop_the_others(study: Study) -> None:
    study.command = "echo rate 1; [ {{ n }} = 1 ]"
    done = study.run()
    assert counts(done) == (0, 2, 2, 0)
    assert not done.all_complete


def test_invalid_trials_are_run_again(study: Study) -> None:
    study.fields = {"repeats": 1}
    study.run()
    for record in study.records:
        folder = study.store.attempt_folder(record)
        (folder / "record.json").unlink()
        study.store.save(dataclasses.replace(record, verdict="invalid", reason="node lost"))
    assert counts(study.run()) == (0, 2, 0, 0)
    assert study.reasons() == {"invalid"}


def flip(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(bytes([content[0] ^ 1]) + content[1:])


DAMAGES = {
    "a flipped bit": flip,
    "a truncated file": lambda path: path.write_bytes(path.read_bytes()[:-1]),
    "an appended byte": lambda path: path.write_bytes(path.read_bytes() + b"x"),
    "a deleted file": lambda path: path.unlink(),
    "a link in its place": lambda path: (
        path.rename(f"{path}.away"),
        path.symlink_to(f"{path}.away"),
    ),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_evidence_is_measured_again_after(damage: str, study: Study) -> None:
    study.run()
    record = study.records[1]
    DAMAGES[damage](study.store.attempt_folder(record) / "p-0@workers1/stdout.log")
    assert counts(study.run()) == (3, 1, 0, 0)
    [standing] = study.standings[-1].reasons.values()
    assert standing.kind == "damaged"
    assert "stdout.log" in str(standing.damages[0].path)
    assert counts(study.run()) == (4, 0, 0, 0)


def test_a_record_that_cannot_be_read_is_measured_again(study: Study) -> None:
    study.run()
    path = study.store.attempt_folder(study.records[1]) / "record.json"
    path.write_bytes(path.read_bytes()[:100])
    assert counts(study.run()) == (3, 1, 0, 0)
    assert study.reasons() == {"damaged"}


def test_an_edited_command_makes_old_results_count_no_more(study: Study) -> None:
    study.run()
    study.command += " # changed"
    assert counts(study.run()) == (0, 4, 0, 0)
    assert study.reasons() == {"changed"}
    assert study.runs == 8


def test_going_back_to_the_earlier_command_finds_its_results(study: Study) -> None:
    before = study.command
    study.run()
    study.command += " # changed"
    study.run()
    study.command = before
    assert counts(study.run()) == (4, 0, 0, 0)


def test_changed_results_can_be_accepted(study: Study) -> None:
    study.run()
    study.command += " # changed"
    assert counts(study.run(accept_changed=True)) == (4, 0, 0, 0)
    assert study.runs == 4


def test_accepting_changed_results_accepts_no_damaged_ones(study: Study) -> None:
    study.run()
    study.command += " # changed"
    flip(study.store.attempt_folder(study.records[0]) / "p-0@workers1/stdout.log")
    assert counts(study.run(accept_changed=True)) == (3, 1, 0, 0)


def test_an_edited_source_makes_old_results_count_no_more(study: Study) -> None:
    source = study.folder / "source"
    source.mkdir()
    (source / "main.txt").write_text("one")
    build = {"command": "cp main.txt made", "artifacts": ["made"]}
    study.deploys = [
        SyncSpec.model_validate({"source": str(source), "target": "app", "build": build})
    ]
    study.command += "; cat app/made"
    study.run()
    os.utime(source / "main.txt", (5, 5))
    assert counts(study.run()) == (4, 0, 0, 0)
    (source / "main.txt").write_text("two")
    assert counts(study.run()) == (0, 4, 0, 0)
    record = study.records[0]
    assert record.provenance["sources"][0]["target"] == "app"
    assert record.provenance["builds"][0]["artifacts"] == ["made"]
    log = study.store.attempt_folder(record) / "p-0@workers1/stdout.log"
    assert log.read_text().endswith("two")


# --- two at once ---------------------------------------------------------------------------------


@contextmanager
def running(study: Study) -> Iterator[None]:
    """While a run of the study is in the middle of its first trial; it must end well."""
    begun, result = threading.Event(), []
    going = study.folder / "going"
    study.command = f"touch {going}; while [ -e {going} ]; do sleep 0.02; done; " + study.command

    def work() -> None:
        result.append(study.run(watch={"on_start": lambda job: begun.set()}))

    thread = threading.Thread(target=work)
    thread.start()
    try:
        assert begun.wait(20.0)
        yield
    finally:
        while thread.is_alive():
            going.unlink(missing_ok=True)
            time.sleep(0.02)
    assert counts(result[0]) == (0, 4, 0, 0)


def test_a_second_run_on_the_same_results_is_told_and_disturbs_nothing(study: Study) -> None:
    with running(study), pytest.raises(Busy, match=f"in use by process {os.getpid()} on "):
        study.run()
    assert all(study.store.verify(record) == [] for record in study.records)
    assert counts(study.run()) == (4, 0, 0, 0)


def test_a_second_run_on_the_same_nodes_is_told_who_holds_them(study: Study) -> None:
    other = Study(study.cluster, study.folder / "other")
    with running(study), pytest.raises(Busy) as raised:
        other.run()
    assert "workers1 is in use" in str(raised.value)
    assert f"process {os.getpid()}" in str(raised.value)


def test_a_run_from_another_machine_on_the_same_nodes_is_told_who_holds_them(study: Study) -> None:
    """Another state folder, and a manual cluster of the same nodes: nothing is shared but the nodes."""
    state = study.folder / "elsewhere"
    spec = ClusterSpec.model_validate(
        {
            "name": "theirs",
            "provider": "manual",
            "nodes": [
                {
                    "name": f"box{number}",
                    "roles": ["workers"],
                    "address": node.address,
                    "port": node.port,
                    "user": node.user,
                    "key": node.key,
                    "host_key": node.host_key,
                }
                for number, node in enumerate(study.cluster.nodes)
            ],
        }
    )
    theirs = launch(spec, state=state)
    other = Study(theirs, study.folder / "other")
    other.folder.mkdir()
    try:
        with running(study), pytest.raises(Busy) as raised:
            other.run()
        assert "box0 is in use: `cloister run` of " in str(raised.value)
        assert f"process {os.getpid()}" in str(raised.value)
        assert counts(other.run()) == (0, 4, 0, 0)
    finally:
        destroy("theirs", state=state)


def test_a_results_folder_that_cannot_be_made_is_named(study: Study) -> None:
    (study.folder / "file").write_text("")
    with pytest.raises(CloisterError, match="file"):
        study.run(store=Store(study.folder / "file" / "results"))
