"""Several files become one configuration, with absolute paths and with the place of every key."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cloister.config.loading import Configuration, load
from cloister.config.merging import absolute_path
from cloister.config.problems import Problem
from cloister.errors import ConfigurationError, UsageError

CLUSTER = "cluster: {name: demo, roles: {workers: 2}}\n"
PROCESSES = 'processes: {p: {role: workers, command: "true"}}'

Write = Callable[[str, str], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write_file(name: str, text: str) -> Path:
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, "utf-8")
        return file

    return write_file


def problems(*files: Path) -> tuple[Problem, ...]:
    with pytest.raises(ConfigurationError) as caught:
        load(files)
    return caught.value.problems


def experiment(name: str) -> str:
    return f"experiments:\n  - name: {name}\n    {PROCESSES}\n"


# --- one file ------------------------------------------------------------------------------------


def test_the_three_formats_give_the_same_configuration(write: Write) -> None:
    yaml = write(
        "c.yaml",
        """
cluster:
  name: demo
  roles: {manager: 1, workers: {count: 3}, master: {same_as: manager}}
experiments:
  - name: e
    sweep: {workers: [1, 2], client: {rate: [0.5, 1e3]}}
    timeout: 1m30s
    processes:
      p: {role: workers, command: [sleep, "1"], nodes: "{{ workers }}", ports: {a: 5000}}
""",
    )
    json = write(
        "c.json",
        """{
\t"$schema": "cloister.schema.json",
\t"cluster": {"name": "demo",
\t\t"roles": {"manager": 1, "workers": {"count": 3}, "master": {"same_as": "manager"}}},
\t"experiments": [{"name": "e", "timeout": 90,
\t\t"sweep": {"workers": [1, 2], "client": {"rate": [0.5, 1000.0]}},
\t\t"processes": {"p": {"role": "workers", "command": ["sleep", "1"],
\t\t\t"nodes": "{{ workers }}", "ports": {"a": 5000}}}}]
}""",
    )
    toml = write(
        "c.toml",
        """
[cluster]
name = "demo"
roles = {manager = 1, workers = {count = 3}, master = {same_as = "manager"}}
[[experiments]]
name = "e"
timeout = "1.5m"
sweep.workers = [1, 2]
sweep.client.rate = [0.5, 1e3]
[experiments.processes.p]
role = "workers"
command = ["sleep", "1"]
nodes = "{{ workers }}"
ports.a = 5000
""",
    )
    first, *others = (load([file]) for file in (yaml, json, toml))
    for other in others:
        assert other.cluster == first.cluster
        assert other.experiments == first.experiments
        assert other.results == first.results
    assert len({first.sha256, *(other.sha256 for other in others)}) == 3


def test_a_problem_of_a_later_stage_has_its_place(write: Write) -> None:
    file = write("c.yaml", CLUSTER + "\n" + experiment("e"))
    configuration = load([file])
    assert str(configuration.place(["experiments", 0, "processes", "p", "command"])) == f"{file}:5"
    problem = configuration.problem(["experiments", 0, "sweep", "x"], "no", "yes")
    assert str(problem) == f"{file}:4: experiments[0].sweep.x: no (yes)"
    assert configuration.place([]).line == 1
    assert configuration.place(["experiments", 7, "name"]).line == 3


def test_a_configuration_may_be_changed_on_the_command_line(write: Write) -> None:
    configuration = load([write("c.yaml", CLUSTER)])
    changed = dataclasses.replace(configuration, cluster=None)
    assert isinstance(changed, Configuration)
    assert changed.files == configuration.files


def test_no_file_is_a_usage_error() -> None:
    with pytest.raises(UsageError):
        load([])


def test_a_missing_file_is_a_problem_of_its_own(tmp_path: Path, write: Write) -> None:
    missing = tmp_path / "nowhere.yaml"
    bad = write("bad.yaml", "cluster: [")
    first, second = problems(missing, bad)
    assert str(first) == f"{missing}:1: cannot read the file: No such file or directory"
    assert second.place.file == bad


def test_the_digest_is_of_the_bytes_of_all_files(write: Write) -> None:
    one = write("one.yaml", CLUSTER)
    two = write("two.yaml", experiment("e"))
    before = load([one, two]).sha256
    assert load([one, two]).sha256 == before
    write("two.yaml", experiment("e") + "# a comment\n")
    assert load([one, two]).sha256 != before


# --- paths ---------------------------------------------------------------------------------------


def test_paths_are_relative_to_the_file_that_wrote_them(
    tmp_path: Path, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", "/home/someone")
    write(
        "clusters/manual.yaml",
        """
cluster:
  name: demo
  provider: manual
  ssh: {key: ~/.ssh/id}
  nodes: [{name: a, address: b, roles: [w], key: keys/a}, {name: b, address: b, roles: [w], key: /k}]
deploy: [{source: ../code, target: code}]
""",
    )
    main = write(
        "main.yaml",
        "include: [clusters/manual.yaml]\nresults: {folder: out}\ndeploy: [{source: ., target: x}]\n",
    )
    configuration = load([main])
    assert configuration.cluster
    assert configuration.cluster.ssh.key == "/home/someone/.ssh/id"
    assert configuration.cluster.nodes[0].key == f"{tmp_path}/clusters/keys/a"
    assert configuration.cluster.nodes[1].key == "/k"
    assert [sync.source for sync in configuration.deploy] == [f"{tmp_path}/code", str(tmp_path)]
    assert configuration.results.folder == f"{tmp_path}/out"


def test_the_results_lie_beside_the_first_file_by_default(tmp_path: Path, write: Write) -> None:
    first = write("one/a.yaml", CLUSTER)
    second = write("two/b.yaml", experiment("e"))
    assert load([first, second]).results.folder == f"{tmp_path}/one/results"
    third = write("three/c.yaml", "results: {seed: 3}")
    assert load([third, first]).results.folder == f"{tmp_path}/three/results"


def test_a_relative_file_name_still_gives_absolute_paths(
    tmp_path: Path, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    write("sub/c.yaml", CLUSTER)
    monkeypatch.chdir(tmp_path)
    assert load([Path("sub/c.yaml")]).results.folder == f"{tmp_path}/sub/results"


def test_a_path_stays_as_it_is_written() -> None:
    assert absolute_path("../a/./b", Path("/x/y")) == "/x/a/b"
    assert absolute_path("../../../a", Path("/x")) == "/a"
    assert absolute_path("~nobody-of-that-name/a", Path("/x")) == "/x/~nobody-of-that-name/a"


# --- several files -------------------------------------------------------------------------------


def test_lists_of_several_files_are_joined_and_tables_merged(write: Write) -> None:
    figure = "results: {figures: [{name: %s, experiment: e, kind: cdf, y: m}]}\n"
    metrics = "    metrics: {m: {process: p, pattern: '(x)'}}\n"
    one = write("one.yaml", CLUSTER + experiment("e") + metrics + figure % "f")
    two = write(
        "two.json",
        '{"cluster": {"roles": {"manager": 1}, "local": {"port": 2222}}, "results": {"seed": 7}}',
    )
    three = write("three.yaml", experiment("g") + figure % "h")
    configuration = load([one, two, three])
    assert configuration.cluster
    assert list(configuration.cluster.roles) == ["workers", "manager"]
    assert configuration.cluster.local.port == 2222
    assert [spec.name for spec in configuration.experiments] == ["e", "g"]
    assert [spec.name for spec in configuration.results.figures] == ["f", "h"]
    assert configuration.results.seed == 7
    assert configuration.files == (one, two, three)
    assert configuration.place(["experiments", 1, "name"]).file == three


def test_the_later_file_wins(write: Write) -> None:
    one = write("one.yaml", "cluster: {name: one, roles: {workers: 1}}")
    two = write("two.yaml", "cluster: {name: two, roles: {workers: {count: 2}}}")
    for files, name, count in (((one, two), "two", 2), ((two, one), "one", 1)):
        cluster = load(files).cluster
        assert cluster
        assert (cluster.name, cluster.roles["workers"].count) == (name, count)


def test_lists_that_are_one_value_are_replaced(write: Write) -> None:
    node = "cluster: {name: d, provider: manual, nodes: [{name: %s, address: x, roles: [w]}]}"
    cluster = load([write("a.yaml", node % "a"), write("b.yaml", node % "b")]).cluster
    assert cluster
    assert [entry.name for entry in cluster.nodes] == ["b"]


def test_the_including_file_wins_over_the_included(write: Write) -> None:
    write("base.yaml", "cluster: {name: base, roles: {workers: 1, manager: 1}}\n" + experiment("b"))
    write("more.toml", 'cluster.name = "more"\nresults.seed = 3\n')
    main = write(
        "main.yaml",
        "include: [base.yaml, more.toml]\ncluster: {roles: {workers: 5}}\n" + experiment("m"),
    )
    configuration = load([main])
    assert configuration.cluster
    assert configuration.cluster.name == "more"
    assert configuration.cluster.roles["workers"].count == 5
    assert configuration.cluster.roles["manager"].count == 1
    assert [spec.name for spec in configuration.experiments] == ["b", "m"]
    assert [file.name for file in configuration.files] == ["base.yaml", "more.toml", "main.yaml"]


def test_a_file_that_is_included_twice_is_read_once(write: Write) -> None:
    write("base.yaml", CLUSTER + experiment("b"))
    write("left.yaml", "include: [base.yaml]\n" + experiment("l"))
    write("right.yaml", "include: [./base.yaml]\n" + experiment("r"))
    main = write("main.yaml", "include: [left.yaml, right.yaml]\nresults: {}\n")
    configuration = load([main, main])
    assert [spec.name for spec in configuration.experiments] == ["b", "l", "r"]
    assert len(configuration.files) == 4


def test_a_cycle_of_includes_is_a_problem_of_the_file_that_closes_it(write: Write) -> None:
    one = write("one.yaml", "results: {}\ninclude: [two.yaml]\n")
    two = write("two.yaml", "results: {}\n\ninclude:\n  - one.yaml\n")
    (problem,) = problems(one)
    assert (problem.place.file.name, problem.place.line) == (two.name, 4)
    assert "one.yaml → two.yaml → one.yaml" in problem.message


def test_endless_includes_are_a_problem(write: Write) -> None:
    for number in range(120):
        write(f"{number}.yaml", f"include: [{number + 1}.yaml]\nresults: {{}}\n")
    first = write("0.yaml", "include: [1.yaml]\nresults: {}\n")
    assert [problem.message for problem in problems(first)] == ["more than 100 files"]


def test_the_problems_of_all_files_are_reported_together(write: Write) -> None:
    write("bad.toml", "[cluster]\nname = demo\n")
    two = write("two.yaml", "include: [bad.toml, missing.yaml]\nresults: {}\n")
    three = write("three.json", '{"results": {"seed": 1, "seed": 2}}')
    found = {(problem.place.file.name, problem.place.line) for problem in problems(two, three)}
    assert found == {("bad.toml", 2), ("two.yaml", 1), ("three.json", 1)}


def test_equal_names_in_two_files_are_a_problem_that_names_both(write: Write) -> None:
    one = write("one.yaml", experiment("e"))
    two = write("two.yaml", "\n" + experiment("e"))
    (problem,) = problems(one, two)
    assert (problem.place.file, problem.place.line) == (two, 3)
    assert f"the first one is at {one}:2" in problem.message


def test_a_mistake_in_a_merged_table_is_in_the_file_that_made_it(write: Write) -> None:
    one = write("one.yaml", CLUSTER)
    two = write("two.yaml", "results: {}\ncluster:\n  provder: local\n")
    (problem,) = problems(one, two)
    assert (problem.place.file, problem.place.line) == (two, 3)


# --- anything ------------------------------------------------------------------------------------

PYDANTIC_WORDS = ("constrained", "function-", "list[", "dict[", "nullable")
SECTIONS = ["cluster", "experiments", "results", "deploy", "include", "x", "int", "*", "[key]"]
INNER = ["name", "roles", "workers", "processes", "p", "command", "sweep", "figures", "source"]
INNERMOST = ["target", "nodes", "provider", "literal", "ready", "port", "log", "metrics", "end"]
WORDS = st.sampled_from([*SECTIONS, *INNER, *INNERMOST, "local", "network", ""])
VALUES = st.recursive(
    WORDS | st.none() | st.booleans() | st.integers(-2, 3) | st.just(1.5) | st.just("127.0.0.0/8"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=4),
    max_leaves=20,
)


@settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.dictionaries(WORDS, VALUES, max_size=5))
def test_any_data_is_a_configuration_or_gives_located_problems(
    tmp_path: Path, data: object
) -> None:
    file = tmp_path / "c.json"
    file.write_text(json.dumps(data, indent=1))
    try:
        load([file])
    except ConfigurationError as error:
        assert error.problems
        for problem in error.problems:
            assert problem.place.line >= 1
            assert not any(noise in problem.key for noise in PYDANTIC_WORDS)
