"""The template of run_experiment.py, filled in, cast and taken apart."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from cloister.config.loading import load
from cloister.config.spec import ExperimentSpec
from cloister.errors import UsageError
from cloister.experiment.benchmark import (
    Benchmark,
    cast,
    filled,
    manager_port,
    ports_by_node,
    run_identity,
    template_of,
    without,
)
from cloister.experiment.check import faults
from cloister.experiment.placement import Instance, place
from cloister.experiment.trial import trials
from cloister.plan.observed import Node

TEMPLATE = Path(__file__).parents[2] / "configs" / "run_experiment.yaml"


@pytest.fixture(scope="module")
def template() -> ExperimentSpec:
    return template_of(load([TEMPLATE]).experiments, "the template")


def node(name: str) -> Node:
    address = {"head": "10.0.0.1", "one": "10.0.0.2", "two": "10.0.0.3"}[name]
    return Node(name=name, roles=("any",), number=1, address=address, private_address=address)


NODES = cast(node("head"), node("head"), [node("one"), node("two")])


def placed(template: ExperimentSpec, **flags: Any) -> tuple[Instance, ...]:
    spec = filled(template, Benchmark(name="kmeans", **flags), "now")
    return place(spec, trials(spec)[0], NODES, cluster="c")


def command(instance: Instance) -> str:
    return " ".join(instance.command)


def test_the_template_gives_the_argument_lists_of_the_first_cloister(
    template: ExperimentSpec,
) -> None:
    manager, *workers, master = placed(template, workers=2, procs=2)
    assert command(manager) == (
        "./kmeans -i 10.0.0.1 -m manager -r 40000 -t 2 -l kmeans.weld -w 10.0.0.2,10.0.0.3 -x 4"
    )
    assert [command(worker) for worker in workers] == [
        f"./kmeans -i {address} -m worker -p {port} -d 10.0.0.1 -l kmeans.weld"
        for port in (50000, 50001)
        for address in ("10.0.0.2", "10.0.0.3")
    ]
    assert command(master) == (
        "./kmeans -i 10.0.0.1 -p 45000 -m driver -d 10.0.0.1 -l kmeans.weld -t 2"
        " -w 10.0.0.2,10.0.0.3 -x 4"
    )
    assert {i.folder for i in (manager, *workers, master)} == {"experiments/cpp/kmeans"}
    assert all(i.merge_stderr and i.env_file == "experiment_vars" for i in (manager, *workers))


def test_a_separate_worker_binary(template: ExperimentSpec) -> None:
    instances = placed(template, workers=2, separate_worker=True)
    binaries = {i.process: i.command[0] for i in instances}
    assert binaries == {"manager": "./kmeans", "workers": "./kmeans-worker", "master": "./kmeans"}


def test_the_filled_template_has_no_faults_and_marks_every_process(
    template: ExperimentSpec,
) -> None:
    for with_master in (True, False):
        spec = filled(template, Benchmark(name="a.b", workers=2, with_master=with_master), "now")
        assert faults(spec, NODES, "c") == []
        assert faults(without(spec, "manager"), NODES, "c") == []
        assert all(p.env["CLOISTER_BENCHMARK"] == "a.b" for p in spec.processes.values())


def test_without_a_master_the_workers_end_the_trial(template: ExperimentSpec) -> None:
    spec = filled(template, Benchmark(name="b", with_master=False), "now")
    assert list(spec.processes) == ["manager", "workers"]
    assert spec.end is not None
    assert spec.end.process == "workers"


def test_what_does_not_depend_on_the_removed_process_stays(template: ExperimentSpec) -> None:
    spec = ExperimentSpec.model_validate(
        {
            "name": "x",
            "processes": {
                "manager": {"role": "manager", "command": "m"},
                "workers": {"role": "workers", "command": "w", "after": ["manager"]},
                "master": {"role": "master", "command": "d", "after": ["manager", "workers"]},
            },
            "end": {"duration": "3s"},
            "metrics": {
                "a": {"process": "manager", "pattern": "(.)"},
                "b": {"process": "master", "pattern": "(.)"},
            },
        }
    )
    rest = without(spec, "manager")
    assert [process.after for process in rest.processes.values()] == [[], ["workers"]]
    assert list(rest.metrics) == ["b"]
    assert rest.end == spec.end


def test_every_run_is_a_point_of_its_own(template: ExperimentSpec) -> None:
    runs = [filled(template, Benchmark(name="b"), run_identity()) for _ in range(100)]
    assert len({trials(spec)[0].id for spec in runs}) == 100
    three = filled(template, Benchmark(name="b", iterations=3), "now")
    assert [trial.repeat for trial in trials(three)] == [1, 2, 3]


def test_a_node_may_play_several_parts_and_workers_keep_their_order() -> None:
    nodes = cast(node("two"), node("one"), [node("two"), node("one")])
    assert [(n.name, n.roles) for n in nodes] == [
        ("two", ("manager", "workers")),
        ("one", ("master", "workers")),
    ]


def test_the_ports_of_each_node(template: ExperimentSpec) -> None:
    instances = placed(template, workers=2, procs=2)
    assert manager_port(instances) == 40000
    assert ports_by_node(instances) == {
        "head": (40000, 45000),
        "one": (50000, 50001),
        "two": (50000, 50001),
    }


def test_a_manager_whose_port_nobody_knows(template: ExperimentSpec) -> None:
    silent = [dataclasses.replace(instance, ready=None) for instance in placed(template)]
    assert manager_port(silent) is None


@pytest.mark.parametrize("name", ["", "../x", "a/b", "-x", ".hidden", "a b", "x" * 64])
def test_what_cannot_be_a_benchmark(name: str) -> None:
    with pytest.raises(UsageError, match="not the name of a benchmark"):
        Benchmark(name=name)


def test_what_is_no_template(template: ExperimentSpec) -> None:
    with pytest.raises(UsageError, match="has 2 experiments"):
        template_of([template, template], "f.yaml")
    with pytest.raises(UsageError, match="has no process 'manager'") as error:
        template_of([without(template, "manager")], "f.yaml")
    assert "configs/run_experiment.yaml" in error.value.hint
