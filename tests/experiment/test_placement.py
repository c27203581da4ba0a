"""Which process runs where: nodes, instances, ports, texts and order of one trial."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cloister.config.spec import ExperimentSpec
from cloister.errors import UsageError
from cloister.experiment.placement import Instance, Ready, Unplaceable, definition, place
from cloister.experiment.trial import Trial, trials
from cloister.plan.observed import Node


def node(role: str, number: int, *also: str, space: str = "shared", port: int = 2222) -> Node:
    return Node(
        name=f"{role}{number}",
        roles=(role, *also),
        number=number,
        address=f"203.0.113.{number}",
        private_address=f"10.0.0.{number}",
        port=port,
        region="here",
        labels={"rack": number},
        port_space=space,
    )


WORKERS = tuple(node("workers", number) for number in (1, 2, 3))
NODES = (node("manager", 1, "master"), *WORKERS)


def experiment(processes: dict[str, dict[str, Any]], **keys: Any) -> ExperimentSpec:
    filled = {
        name: {"role": "workers", "command": "true", **process}
        for name, process in processes.items()
    }
    return ExperimentSpec.model_validate({"name": "e", "processes": filled, **keys})


def placed(
    spec: ExperimentSpec, nodes: tuple[Node, ...] = NODES, **taken: frozenset[int]
) -> tuple[Instance, ...]:
    return place(spec, trials(spec)[0], nodes, cluster="demo", taken=taken)


def seats(instances: tuple[Instance, ...]) -> list[tuple[str, int, int, str]]:
    return [(i.process, i.instance, i.number, i.node.name) for i in instances]


def faults(spec: ExperimentSpec, nodes: tuple[Node, ...] = NODES) -> list[str]:
    with pytest.raises(Unplaceable) as caught:
        placed(spec, nodes)
    return [fault.message for fault in caught.value.faults]


# --- where ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        ({}, [(0, 0, "workers1"), (1, 0, "workers2"), (2, 0, "workers3")]),
        ({"nodes": 2}, [(0, 0, "workers1"), (1, 0, "workers2")]),
        ({"nodes": "{{ n }}"}, [(0, 0, "workers1"), (1, 0, "workers2")]),
        ({"nodes": "{{ n / 2 }}"}, [(0, 0, "workers1")]),
        (
            {"nodes": 2, "per_node": 2},
            [(0, 0, "workers1"), (1, 0, "workers2"), (2, 1, "workers1"), (3, 1, "workers2")],
        ),
        (
            {"instances": 4},
            [(0, 0, "workers1"), (1, 0, "workers2"), (2, 0, "workers3"), (3, 1, "workers1")],
        ),
        ({"instances": 2, "nodes": 1}, [(0, 0, "workers1"), (1, 1, "workers1")]),
        ({"instances": 1}, [(0, 0, "workers1")]),
        ({"nodes": 0}, []),
        ({"per_node": 0}, []),
        ({"instances": 0}, []),
        ({"nodes": 0, "role": "nowhere"}, []),
    ],
)
def test_instances_are_dealt_out_over_the_nodes_in_turn(
    counts: dict[str, Any], expected: list[tuple[int, int, str]]
) -> None:
    spec = experiment({"p": counts}, parameters={"n": 2})
    assert seats(placed(spec)) == [("p", *seat) for seat in expected]


def test_a_role_may_be_shared_with_the_nodes_of_another() -> None:
    spec = experiment(
        {"p": {"role": "master", "command": "{{ node.role }} {{ node.roles | join(',') }}"}}
    )
    (instance,) = placed(spec)
    assert instance.node.name == "manager1"
    assert instance.command == "master manager,master"


@pytest.mark.parametrize(
    ("process", "message"),
    [
        ({"role": "clients"}, "the cluster has no node of role 'clients'"),
        ({"nodes": 4}, "needs 4 nodes of role 'workers', the cluster has 3"),
        ({"nodes": "{{ n }}"}, "the name 'n' is not known"),
        ({"nodes": "{{ 'x' }}"}, "gives 'x'"),
        ({"per_node": "{{ -1 }}"}, "gives '-1'"),
        ({"instances": "{{ 0.5 }}"}, "gives '0.5'"),
        ({"instances": "{{ 'nan' }}"}, "gives 'nan'"),
        ({"instances": "{{ 10 ** 9 }}"}, "gives '1000000000'"),
        ({"nodes": 0, "instances": 1}, "there are no nodes for its 1 instances"),
        ({"command": "{{ x }}"}, "the name 'x' is not known"),
        ({"after": ["q"]}, "there is no process 'q'"),
        ({"ready": {"port": "main"}}, "expected a name from `ports`"),
        ({"ready": {"port": 70000}}, "found '70000'"),
        ({"ports": {"a": 0}}, "expected a port from 1 to 65535"),
    ],
)
def test_what_cannot_be_placed_is_said(process: dict[str, Any], message: str) -> None:
    (found,) = faults(experiment({"p": process}))
    assert message in found


def test_all_faults_of_a_trial_are_said_at_once() -> None:
    spec = experiment({"p": {"nodes": 9}, "q": {"role": "nobody"}}, end={"process": "r"})
    assert len(faults(spec)) == 3
    with pytest.raises(UsageError, match=r"e/point/rep-1: end\.process: there is no process 'r'"):
        placed(spec)


# --- order ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("after", "order"),
    [
        ({}, ["a", "b", "c"]),
        ({"a": ["c"], "b": ["a"], "c": []}, ["c", "a", "b"]),
        ({"a": ["b", "c"], "b": []}, ["b", "c", "a"]),
        ({"b": [], "c": []}, ["a", "b", "c"]),
    ],
)
def test_processes_start_behind_those_they_wait_for(
    after: dict[str, list[str]], order: list[str]
) -> None:
    processes = {
        name: {"role": "manager", **({"after": after[name]} if name in after else {})}
        for name in ("a", "b", "c")
    }
    assert [instance.process for instance in placed(experiment(processes))] == order


def test_a_process_waits_for_the_one_listed_before_it() -> None:
    spec = experiment({"a": {"nodes": 1}, "b": {"nodes": 1}, "c": {"nodes": 1, "after": []}})
    assert [instance.after for instance in placed(spec)] == [(), ("a",), ()]


def test_processes_that_wait_for_each_other_are_a_fault() -> None:
    spec = experiment({"a": {"after": ["b"]}, "b": {}})
    assert faults(spec) == ["the processes wait for each other: a after b after a"]


# --- ports ---------------------------------------------------------------------------------------


def test_no_port_is_given_twice_where_nodes_share_a_network() -> None:
    spec = experiment({"p": {"ports": ["a", "b"]}, "q": {"per_node": 2, "ports": ["a"]}})
    numbers = [number for instance in placed(spec) for number in instance.ports.values()]
    assert sorted(numbers) == list(range(20000, 20012))


def test_nodes_with_networks_of_their_own_may_have_the_same_ports() -> None:
    nodes = tuple(node("workers", number, space=f"n{number}") for number in (1, 2))
    spec = experiment({"p": {"ports": ["a"], "per_node": 2}})
    assert [i.ports["a"] for i in placed(spec, nodes)] == [20000, 20000, 20001, 20001]


def test_a_node_without_a_port_space_has_one_of_its_own() -> None:
    nodes = tuple(node("workers", number, space="") for number in (1, 2))
    spec = experiment({"p": {"ports": {"a": 8080}}})
    assert [i.ports["a"] for i in placed(spec, nodes)] == [8080, 8080]


def test_a_port_with_a_wish_is_tried_from_there_and_before_all_others() -> None:
    spec = experiment(
        {"p": {"ports": ["a"]}, "q": {"ports": {"b": "{{ first }}"}}}, parameters={"first": 20001}
    )
    found = {(i.process, i.instance): tuple(i.ports.values()) for i in placed(spec)}
    assert [found[("q", index)] for index in range(3)] == [(20001,), (20002,), (20003,)]
    assert [found[("p", index)] for index in range(3)] == [(20000,), (20004,), (20005,)]


def test_taken_ports_and_those_of_sshd_are_not_given() -> None:
    nodes = (node("workers", 1, port=20001), node("workers", 2, port=20003))
    spec = experiment({"p": {"ports": ["a"]}, "q": {"ports": {"b": 20000}}})
    found = placed(spec, nodes, shared=frozenset([20000, 20004]))
    assert [tuple(i.ports.values()) for i in found] == [(20006,), (20007,), (20002,), (20005,)]


def test_the_ports_that_a_node_lacks_are_a_fault() -> None:
    spec = experiment({"p": {"ports": ["a"]}})
    with pytest.raises(Unplaceable, match="no free port from 20000 to 32767 is left on workers2"):
        placed(spec, shared=frozenset(range(20001, 40000)))


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.integers(0, 4), min_size=1, max_size=4),
    st.sets(st.integers(20000, 20010)),
    st.lists(st.sampled_from(["x", "y"]), min_size=4, max_size=4),
    st.integers(19_998, 20_006),
)
def test_ports_never_clash(
    per_node: list[int], taken: set[int], spaces: list[str], wish: int
) -> None:
    nodes = tuple(
        node("workers", number, space=space, port=22) for number, space in enumerate(spaces, 1)
    )
    processes: dict[str, dict[str, Any]] = {
        f"p{index}": {"per_node": count, "ports": {"a": wish} if index % 2 else ["a", "b"]}
        for index, count in enumerate(per_node)
    }
    found = place(
        spec := experiment(processes),
        trials(spec)[0],
        nodes,
        cluster="demo",
        taken={"x": frozenset(taken)},
    )
    given_out = Counter((i.node.port_space, port) for i in found for port in i.ports.values())
    assert all(count == 1 for count in given_out.values())
    assert not {port for space, port in given_out if space == "x"} & taken
    assert len(found) == sum(count * len(nodes) for count in per_node)


# --- texts ---------------------------------------------------------------------------------------


def test_templates_know_nodes_processes_ports_and_the_trial() -> None:
    spec = experiment(
        {
            "server": {
                "role": "manager",
                "ports": ["main"],
                "ready": {"port": "main", "within": 3},
            },
            "client": {
                "nodes": 2,
                "command": [
                    "{{ node }} {{ node.address }} {{ node.public_address }} {{ node.number }}",
                    "{{ node.index }} {{ node.region }} {{ node.labels.rack }} {{ node.work_folder }}",
                    "{{ process.name }} {{ process.instance }} {{ process.number }} {{ process.instances }}",
                    "{{ processes.server[0].address }}:{{ processes.server[0].ports.main }}",
                    "{{ nodes.workers | map(attribute='name') | join(',') }} {{ nodes.manager | length }}",
                    "{{ trial.id }} {{ trial.repeat }} {{ seed == trial.seed }} {{ cluster.name }}",
                    "{{ client.rate }}",
                ],
            },
        },
        parameters={"client": {"rate": 3}},
    )
    server, _, client = placed(spec)
    assert server.ready == Ready(kind="port", value=20000, within_s=3.0)
    assert client.command == (
        "workers2 10.0.0.2 203.0.113.2 2",
        "1 here 2 cloister",
        "client 1 0 2",
        "10.0.0.1:20000",
        "workers1,workers2 1",
        "e/client.rate=3/rep-1 1 true demo",
        "3",
    )


def test_the_nodes_of_a_role_that_no_process_has_are_all_known() -> None:
    spec = experiment({"p": {"role": "manager", "command": "{{ nodes.workers | length }}"}})
    assert placed(spec)[0].command == "3"


def test_two_processes_of_one_role_use_the_nodes_of_both() -> None:
    command = "{{ nodes.workers | join(',') }}"
    spec = experiment(
        {"p": {"nodes": 1, "command": command}, "q": {"nodes": 2, "command": command}}
    )
    assert {instance.command for instance in placed(spec)} == {"workers1,workers2"}


def test_every_text_of_a_process_is_a_template() -> None:
    spec = experiment(
        {
            "p": {
                "nodes": 1,
                "command": "run {{ n }}",
                "folder": "f{{ n }}",
                "env": {"N": "{{ n }}", "HOST": "{{ node.address }}"},
                "env_file": "{{ n }}.sh",
                "stdin": "{{ n }}\n",
                "collect": ["*.{{ n }}"],
                "ready": {"http": "http://{{ node.address }}:{{ n }}/"},
                "stop": {"signal": "INT", "grace": 2},
                "expect": [0, 3],
                "merge_stderr": True,
            }
        },
        parameters={"n": 5},
    )
    (instance,) = placed(spec)
    assert instance == Instance(
        process="p",
        instance=0,
        number=0,
        node=WORKERS[0],
        command="run 5",
        folder="f5",
        env={"N": "5", "HOST": "10.0.0.1"},
        env_file="5.sh",
        stdin="5\n",
        ports={},
        after=(),
        ready=Ready(kind="http", value="http://10.0.0.1:5/", within_s=30.0),
        stop_signal="INT",
        stop_grace_s=2.0,
        expect=(0, 3),
        merge_stderr=True,
        collect=("*.5",),
    )


@pytest.mark.parametrize(
    ("ready", "kind", "value"),
    [
        ({"port": 80}, "port", 80),
        ({"port": "8080"}, "port", 8080),
        ({"port": "{{ ports.main + 1 }}"}, "port", 20001),
        ({"log": r"^\{\{ready"}, "log", r"^\{\{ready"),
        ({"file": "{{ process.instance }}.pid"}, "file", "0.pid"),
        ({"command": "nc -z localhost {{ ports.main }}"}, "command", "nc -z localhost 20000"),
    ],
)
def test_conditions_of_readiness(ready: dict[str, Any], kind: str, value: object) -> None:
    (instance,) = placed(experiment({"p": {"nodes": 1, "ports": ["main"], "ready": ready}}))
    assert instance.ready == Ready(kind=kind, value=value, within_s=30.0)  # type: ignore[arg-type]


# --- identity ------------------------------------------------------------------------------------

BASE: dict[str, Any] = {"p": {"command": "run {{ n }}"}, "q": {}}


def trial_of(spec: ExperimentSpec, **changes: Any) -> Trial:
    fields = {"experiment": spec.name, "parameters": {"n": 1}, "repeat": 1, "seed": 7, **changes}
    return Trial(**fields)


def test_a_definition_changes_with_what_decides_the_measurement() -> None:
    spec = experiment(BASE)
    first = definition(spec, trial_of(spec), {"code": "abc"})
    others = [
        definition(spec, trial_of(spec, parameters={"n": 2}), {"code": "abc"}),
        definition(spec, trial_of(spec, parameters={"n": "1"}), {"code": "abc"}),
        definition(spec, trial_of(spec, seed=8), {"code": "abc"}),
        definition(spec, trial_of(spec), {"code": "abd"}),
        definition(spec, trial_of(spec), {}),
        *(
            definition(changed, trial_of(changed), {"code": "abc"})
            for changed in (
                experiment({**BASE, "p": {"command": "run  {{ n }}"}}),
                experiment({"q": {}, "p": BASE["p"]}),
                experiment({**BASE, "q": {"env": {"A": "1"}}}),
                experiment(BASE, timeout=5),
                experiment(BASE, end={"duration": 3}),
            )
        ),
    ]
    assert len({first, *others}) == len(others) + 1
    assert all(len(entry) == 64 for entry in others)


def test_a_definition_does_not_change_with_anything_else() -> None:
    spec = experiment(BASE)
    same = experiment(
        {"p": {"command": "run {{ n }}", "per_node": 1, "folder": "."}, "q": {"expect": [0]}},
        description="new",
        repeats=9,
        order="listed",
        sweep={"n": [1, 2, 3]},
        metrics={"m": {"process": "p", "pattern": "(x)"}},
    )
    trial = trial_of(spec, parameters={"a": 1, "n": 1})
    swapped = trial_of(spec, parameters={"n": 1, "a": 1}, repeat=3)
    assert definition(spec, trial, {"x": "1", "y": "2"}) == definition(
        same, swapped, {"y": "2", "x": "1"}
    )
