"""What the experiments cannot do on the cluster is said before a launch: once each, in its place."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from cases import Case, read_cases, shown

from cloister.config.loading import load
from cloister.config.sample import sample_configuration
from cloister.experiment.check import check

CASES = read_cases(Path(__file__).parent / "unrunnable")
CONFIGS = Path(__file__).parents[2] / "configs"


@pytest.mark.parametrize("case", CASES, ids=str)
def test_each_mistake_is_one_problem_in_its_place(case: Case, tmp_path: Path) -> None:
    problems = check(load([case.write(tmp_path)]))
    assert case.problems
    assert shown(problems, tmp_path) == list(case.problems)


def test_the_sample_runs_as_it_is(tmp_path: Path) -> None:
    file = tmp_path / "cloister.yaml"
    file.write_text(sample_configuration(), "utf-8")
    configuration = load([file])
    assert configuration.experiments
    assert check(configuration) == []


COMMITTED = sorted(p for p in CONFIGS.rglob("*.*") if p.suffix in (".yaml", ".json", ".toml"))


@pytest.mark.parametrize("file", COMMITTED, ids=lambda file: file.name)
def test_committed_configurations_run_as_they_are(file: Path) -> None:
    assert check(load([file])) == []


def test_every_name_of_templates_is_known(tmp_path: Path) -> None:
    file = tmp_path / "e.yaml"
    file.write_text(
        """
cluster: {name: demo, roles: {workers: 2}}
experiments:
  - name: e
    processes:
      p:
        role: workers
        ports: [main]
        instances: "{{ 2 if trial.repeat and cluster.name and seed is number else 1 }}"
        command:
          - "{{ trial.id }} {{ trial.experiment }} {{ trial.point }} {{ trial.repeat }} {{ trial.seed }}"
          - "{{ seed }} {{ cluster }} {{ cluster.name }}"
          - "{{ node }} {{ node.name }} {{ node.address }} {{ node.public_address }} {{ node.role }}"
          - "{{ node.roles[0] }} {{ node.number }} {{ node.index }} {{ node.region }} {{ node.labels }}"
          - "{{ process.name }} {{ process.instance }} {{ process.number }} {{ process.instances }}"
          - "{{ ports.main }} {{ nodes.workers[1].work_folder }}"
          - "{{ processes.p[1].node.name }} {{ processes.p[1].address }} {{ processes.p[1].ports.main }}"
          - "{{ processes.p[1].instance }} {{ processes.p[1].number }}"
"""
    )
    assert check(load([file])) == []


def test_without_a_cluster_only_what_needs_no_nodes_is_checked(tmp_path: Path) -> None:
    file = tmp_path / "e.yaml"
    file.write_text(
        """
experiments:
  - name: e
    processes: {p: {role: anything, command: "{{ unknown }}"}}
    end: {process: q}
"""
    )
    assert [problem.key for problem in check(load([file]))] == ["experiments[0].end.process"]


def test_ten_thousand_points_take_seconds(tmp_path: Path) -> None:
    file = tmp_path / "e.yaml"
    file.write_text(
        """
cluster: {name: demo, roles: {manager: 1, workers: 20}}
experiments:
  - name: e
    sweep:
      workers: [1, 2, 3, 5, 7, 9, 12, 16, 20, 21]
      a: [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]
      b: [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]
      c: [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]
    processes:
      manager:
        role: manager
        command: run {{ a }} {{ b }} {{ c }} {{ nodes.workers | map(attribute='address') | join(',') }}
        ports: [main]
        ready: {port: main}
      worker:
        role: workers
        nodes: "{{ workers }}"
        command: run {{ a }} {{ b }} {{ c }} {{ 8 // a }} {{ processes.manager[0].ports.main }}
"""
    )
    configuration = load([file])
    started = time.process_time()
    problems = check(configuration)
    assert time.process_time() - started < 10
    assert [problem.key for problem in problems] == [
        "experiments[0].processes.worker.nodes",
        "experiments[0].processes.worker.command",
    ]
