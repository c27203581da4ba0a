"""What is wrong between the parts of a configuration, each of them valid by itself."""

from __future__ import annotations

import dataclasses
import ipaddress
from collections.abc import Iterable, Iterator, Mapping
from pathlib import PurePosixPath

from cloister.config.located import Key, Located, find, key_text
from cloister.config.parameters import leaves, parameter_names
from cloister.config.problems import Place, Problem
from cloister.config.spec import ClusterSpec, ExperimentSpec, FigureSpec, ResultsSpec, SyncSpec
from cloister.config.validating import found, nearest_hint

_LOOPBACK = ipaddress.IPv4Network("127.0.0.0/8")
_KINDS = {"local": "a local cluster", "ec2": "an EC2 cluster"}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sections:
    """The valid parts of a configuration; the lists' entries by their index in the files."""

    cluster: ClusterSpec | None
    deploy: Mapping[int, SyncSpec]
    experiments: Mapping[int, ExperimentSpec]
    results: ResultsSpec | None


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Finding:
    key: Key
    message: str
    hint: str = ""


def inconsistencies(tree: Located, sections: Sections) -> list[Problem]:
    findings = [
        *(_of_cluster(sections.cluster) if sections.cluster else ()),
        *_of_deploy(sections),
        *_of_figures(tree, sections),
    ]
    problems = [
        Problem(
            place=find(tree, finding.key).place,
            key=key_text(finding.key),
            message=finding.message,
            hint=finding.hint,
        )
        for finding in findings
    ]
    return problems + _names_given_twice(tree, sections)


# --- names ---------------------------------------------------------------------------------------


def _names_given_twice(tree: Located, sections: Sections) -> list[Problem]:
    named: list[tuple[str, list[tuple[Key, str]]]] = [
        (
            "experiment",
            [(("experiments", i, "name"), spec.name) for i, spec in sections.experiments.items()],
        )
    ]
    if sections.results:
        figures = enumerate(sections.results.figures)
        named.append(
            ("figure", [(("results", "figures", i, "name"), spec.name) for i, spec in figures])
        )
    if sections.cluster:
        nodes = enumerate(sections.cluster.nodes)
        named.append(("node", [(("cluster", "nodes", i, "name"), node.name) for i, node in nodes]))
    return [problem for kind, names in named for problem in _repeated(tree, kind, names)]


def _repeated(tree: Located, kind: str, names: Iterable[tuple[Key, str]]) -> Iterator[Problem]:
    first: dict[str, Place] = {}
    for key, name in names:
        place = find(tree, key).place
        if name in first:
            message = f"there is a second {kind} {name!r}; the first one is at {first[name]}"
            yield Problem(place=place, key=key_text(key), message=message, hint="rename one")
        first.setdefault(name, place)


# --- the cluster ---------------------------------------------------------------------------------


def _of_cluster(cluster: ClusterSpec) -> Iterator[_Finding]:
    yield from _of_same_as(cluster)
    yield from _of_work_folder(cluster)
    match cluster.provider:
        case "local":
            yield from _of_local(cluster)
        case "manual":
            yield from _of_manual(cluster)
        case "ec2":
            yield from _of_ec2(cluster)


def role_names(cluster: ClusterSpec) -> list[str]:
    """Every role that a node of the cluster may carry."""
    of_nodes = [role for node in cluster.nodes for role in node.roles]
    return list(dict.fromkeys([*cluster.roles, *of_nodes]))


def _of_same_as(cluster: ClusterSpec) -> Iterator[_Finding]:
    own = [name for name in role_names(cluster) if not _is_shared(cluster, name)]
    for name, role in cluster.roles.items():
        if role.same_as is None:
            continue
        key = ("cluster", "roles", name, "same_as")
        if role.same_as not in role_names(cluster):
            message = f"there is no role {role.same_as!r}"
            yield _Finding(key=key, message=message, hint=nearest_hint(role.same_as, own))
        elif role.same_as not in own:
            message = (
                f"the role {role.same_as!r} has no nodes of its own, it is the same as another"
            )
            yield _Finding(key=key, message=message, hint=f"name one of: {', '.join(own)}")
        if "count" in role.model_fields_set:
            yield _Finding(
                key=("cluster", "roles", name, "count"),
                message=f"a role that is the same as {role.same_as!r} has no nodes to count",
                hint="remove count or same_as",
            )


def _is_shared(cluster: ClusterSpec, name: str) -> bool:
    role = cluster.roles.get(name)
    return role is not None and role.same_as is not None


def _of_work_folder(cluster: ClusterSpec) -> Iterator[_Finding]:
    # Destroying a cluster removes this folder, so it must not be the home or lie above it.
    if wrong := outside(cluster.work_folder) or _is_whole(cluster.work_folder):
        yield _Finding(
            key=("cluster", "work_folder"),
            message=f"expected a folder below the user's home, {wrong}",
        )


def _of_local(cluster: ClusterSpec) -> Iterator[_Finding]:
    yield from _of_made_nodes(cluster)
    yield from _of_network(cluster.local.network, sum(_counts(cluster).values()))


def _of_ec2(cluster: ClusterSpec) -> Iterator[_Finding]:
    yield from _of_made_nodes(cluster)
    for name in _counts(cluster):
        for field, example in (("machine", "c7i.large"), ("image", "ubuntu-24.04")):
            given = (getattr(cluster.roles[name], field), getattr(cluster.ec2, field))
            if given == (None, None):
                yield _Finding(
                    key=("cluster", "roles", name),
                    message=f"neither the role nor cluster.ec2 says which {field} its nodes have",
                    hint=f"for example cluster.ec2.{field}: {example}",
                )


def _counts(cluster: ClusterSpec) -> dict[str, int]:
    """Role → nodes of its own."""
    return {name: role.count for name, role in cluster.roles.items() if role.same_as is None}


def _of_made_nodes(cluster: ClusterSpec) -> Iterator[_Finding]:
    """Of a cluster that makes its nodes itself."""
    if "nodes" in cluster.model_fields_set and cluster.nodes:
        yield _Finding(
            key=("cluster", "nodes"),
            message=f"{_KINDS[cluster.provider]} makes its nodes itself",
            hint="give roles with counts, or provider: manual",
        )
    counts = _counts(cluster)
    if sum(counts.values()) == 0:
        yield _Finding(
            key=("cluster", "roles"),
            message=f"{_KINDS[cluster.provider]} needs at least one role that has nodes",
            hint="for example roles: {workers: 2}",
        )
    yield from _of_equal_names(counts)


def _of_network(text: str, nodes: int) -> Iterator[_Finding]:
    key = ("cluster", "local", "network")
    try:
        network = ipaddress.IPv4Network(text)
    except ValueError:
        message = f"expected a network such as 127.64.0.0/10, {found(text)}"
        yield _Finding(key=key, message=message)
        return
    if not network.subnet_of(_LOOPBACK):
        yield _Finding(key=key, message=f"expected a part of {_LOOPBACK}, {found(text)}")
    elif network.num_addresses - 2 < nodes:
        room = max(0, network.num_addresses - 2)
        message = f"{text} has {room} addresses for nodes, the roles need {nodes}"
        yield _Finding(key=key, message=message)


def _of_equal_names(counts: Mapping[str, int]) -> Iterator[_Finding]:
    """Node names are role + number: node 11 of role `w` would be node 1 of role `w1`."""
    role_of: dict[str, str] = {}
    for role, count in counts.items():
        names = [f"{role}{number}" for number in range(1, count + 1)]
        clash = next((name for name in names if name in role_of), "")
        if clash:
            yield _Finding(
                key=("cluster", "roles", role),
                message=f"its node {clash!r} is named like one of role {role_of[clash]!r}",
                hint="rename one of the roles",
            )
        role_of.update(dict.fromkeys(names, role))


def _of_manual(cluster: ClusterSpec) -> Iterator[_Finding]:
    if not cluster.nodes:
        yield _Finding(
            key=("cluster", "nodes"),
            message="a manual cluster needs its nodes",
            hint="for example nodes: [{name: a, address: 10.0.0.1, roles: [workers]}]",
        )
    for name, role in cluster.roles.items():
        if role.same_as is None:
            yield _Finding(
                key=("cluster", "roles", name),
                message="a manual cluster's nodes say which roles they have",
                hint="write the role into nodes[].roles, or give it same_as",
            )


# --- code on the nodes ---------------------------------------------------------------------------


def _of_deploy(sections: Sections) -> Iterator[_Finding]:
    for index, sync in sections.deploy.items():
        key: Key = ("deploy", index)
        if wrong := outside(sync.target) or _is_whole(sync.target):
            message = f"expected a folder below the work folder, {wrong}"
            yield _Finding(key=(*key, "target"), message=message)
        yield from _of_build(sync, key)
        if sections.cluster:
            yield from _of_roles(sync, key, role_names(sections.cluster))
    yield from _of_equal_targets(sections.deploy)


def _of_build(sync: SyncSpec, key: Key) -> Iterator[_Finding]:
    for index, artifact in enumerate(sync.build.artifacts if sync.build else ()):
        if wrong := outside(artifact):
            yield _Finding(
                key=(*key, "build", "artifacts", index),
                message=f"expected a pattern below the source, {wrong}",
            )


def _of_roles(sync: SyncSpec, key: Key, known: list[str]) -> Iterator[_Finding]:
    for index, role in enumerate(sync.roles or ()):
        if role not in known:
            yield _Finding(
                key=(*key, "roles", index),
                message=f"there is no role {role!r}",
                hint=nearest_hint(role, known),
            )


def _of_equal_targets(deploy: Mapping[int, SyncSpec]) -> Iterator[_Finding]:
    """Two sources for one folder of one node would remove each other's files."""
    earlier: list[tuple[int, SyncSpec]] = []
    for index, sync in deploy.items():
        for other_index, other in earlier:
            if _same_folder(sync.target, other.target) and _share_nodes(sync, other):
                yield _Finding(
                    key=("deploy", index, "target"),
                    message=f"deploy[{other_index}] has the same target {sync.target!r}",
                )
                break
        earlier.append((index, sync))


def _same_folder(one: str, other: str) -> bool:
    return PurePosixPath(one) == PurePosixPath(other)


def _share_nodes(one: SyncSpec, other: SyncSpec) -> bool:
    return one.roles is None or other.roles is None or bool(set(one.roles) & set(other.roles))


def outside(path: str) -> str:
    """How a relative path leaves its folder; empty if it does not."""
    pure = PurePosixPath(path)
    if pure.is_absolute():
        return f"found the absolute path {path!r}"
    if ".." in pure.parts:
        return f"found '..' in {path!r}"
    if pure.parts[:1] and pure.parts[0].startswith("~"):
        return f"found {path!r}, in which ~ has no meaning"
    return ""


def _is_whole(path: str) -> str:
    return "" if PurePosixPath(path).parts else "found the folder itself"


# --- figures -------------------------------------------------------------------------------------


def _of_figures(tree: Located, sections: Sections) -> Iterator[_Finding]:
    experiments = {spec.name: spec for spec in sections.experiments.values()}
    for index, figure in enumerate(sections.results.figures if sections.results else ()):
        key: Key = ("results", "figures", index)
        experiment = experiments.get(figure.experiment)
        if experiment is not None:
            yield from _of_figure(figure, experiment, key)
        elif not _has_invalid_experiments(tree, sections):
            yield _Finding(
                key=(*key, "experiment"),
                message=f"there is no experiment {figure.experiment!r}",
                hint=nearest_hint(figure.experiment, experiments),
            )


def _has_invalid_experiments(tree: Located, sections: Sections) -> bool:
    """One of these may be the one that a figure names."""
    every = find(tree, ("experiments",)).value
    return isinstance(every, tuple) and len(every) > len(sections.experiments)


def _of_figure(figure: FigureSpec, experiment: ExperimentSpec, key: Key) -> Iterator[_Finding]:
    parameters: list[tuple[Key, str]] = [(("by", i), name) for i, name in enumerate(figure.by)]
    parameters += [(("where", *path), ".".join(path)) for path, _ in leaves(figure.where)]
    metrics: list[tuple[Key, str]] = [(("y",), figure.y)]
    if figure.x is not None and figure.kind != "cdf":
        of_x = metrics if figure.kind == "throughput-latency" else parameters
        of_x.append((("x",), figure.x))
    yield from _unknown("parameter", parameters, parameter_names(experiment), experiment, key)
    yield from _unknown("metric", metrics, list(experiment.metrics), experiment, key)


def _unknown(
    kind: str,
    names: list[tuple[Key, str]],
    known: list[str],
    experiment: ExperimentSpec,
    key: Key,
) -> Iterator[_Finding]:
    for inner, name in names:
        if name not in known:
            yield _Finding(
                key=(*key, *inner),
                message=f"the experiment {experiment.name!r} has no {kind} {name!r}",
                hint=nearest_hint(name, known),
            )
