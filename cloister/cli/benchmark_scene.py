"""What the flags of run_experiment.py come to: a cluster, its cast, and the template filled in."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

import cloister
from cloister.cluster import Cluster
from cloister.cluster.addresses import Addresses, addresses, as_they_are, cluster_at
from cloister.cluster.lifecycle import open_cluster
from cloister.config.loading import Configuration, load
from cloister.config.located import child
from cloister.config.spec import ExperimentSpec
from cloister.errors import ConfigurationError, UsageError
from cloister.experiment.benchmark import Benchmark, cast, filled, run_identity, template_of
from cloister.experiment.check import faults
from cloister.experiment.placement import Instance, place
from cloister.experiment.trial import trials
from cloister.plan.observed import Node

TEMPLATE = Path("configs") / "run_experiment.yaml"
SERVERS = Path("servers")
# Where the code is on a node, below the home; see ClusterSpec.work_folder.
WORK_FOLDER = Path("~/cloister")
_THIS_MACHINE = "127.0.0.1"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Flags:
    benchmark: Benchmark
    config: tuple[Path, ...]
    servers: Path | None
    master: Path | None
    key: Path | None
    results: Path | None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Scene:
    """`cluster` has exactly the nodes that take part, each with the roles that it plays."""

    benchmark: Benchmark
    configuration: Configuration
    template: ExperimentSpec
    cluster: Cluster

    def spec(self) -> ExperimentSpec:
        """A new run; ConfigurationError if it cannot run on these nodes."""
        spec = filled(self.template, self.benchmark, run_identity())
        self.check(spec)
        return spec

    def check(self, spec: ExperimentSpec) -> None:
        found = faults(spec, self.cluster.nodes, self.cluster.name)
        if found:
            raise ConfigurationError(
                [
                    self.configuration.problem(
                        ("experiments", 0, *fault.key), fault.message, fault.hint
                    )
                    for fault in found
                ]
            )

    def instances(self) -> tuple[Instance, ...]:
        """Of the first trial."""
        spec = self.spec()
        return place(spec, trials(spec)[0], self.cluster.nodes, cluster=self.cluster.name)


def on_nodes(flags: Flags, state: Path, *, every_node: bool = False) -> Scene:
    """On the nodes of the lists; the first -k of the workers, or all of them."""
    configuration, template = _template(flags.config)
    named = _named_cluster(configuration, state)
    found = addresses(
        workers_file=flags.servers, master_file=flags.master, folder=SERVERS, cluster=named
    )
    count = len(found.workers) if every_node else flags.benchmark.workers
    found = found.first(count)
    cluster, nodes = cluster_at(found.every, state=state, cluster=named, key=flags.key)
    return Scene(
        benchmark=dataclasses.replace(flags.benchmark, workers=count),
        configuration=configuration,
        template=template,
        cluster=dataclasses.replace(cluster, nodes=_cast(found, nodes)),
    )


def on_this_machine(flags: Flags, state: Path, work: Path) -> Scene:
    """With the addresses of the lists as they are; without lists, this machine plays every role."""
    configuration, template = _template(flags.config)
    named = _named_cluster(configuration, state)
    folder = work / SERVERS
    alone = named is None and flags.servers is None and flags.master is None
    if alone and not any(folder.glob("*.txt")):
        found = Addresses(
            manager=_THIS_MACHINE,
            master=_THIS_MACHINE,
            workers=(_THIS_MACHINE,),
            source=f"this machine alone (there are no lists in {folder})",
        )
    else:
        found = addresses(
            workers_file=flags.servers, master_file=flags.master, folder=folder, cluster=named
        )
    found = found.first(flags.benchmark.workers)
    return Scene(
        benchmark=flags.benchmark,
        configuration=configuration,
        template=template,
        cluster=Cluster(
            name="this-machine",
            uid="",
            provider="manual",
            folder=state,
            nodes=_cast(found, as_they_are(found)),
        ),
    )


def work_folder(benchmark: Benchmark) -> Path:
    """Where experiments/cpp/NAME is on this machine: here, or where it is on a node."""
    places = (Path.cwd(), WORK_FOLDER.expanduser())
    for place_ in places:
        if (place_ / "experiments" / "cpp" / benchmark.name).is_dir():
            return place_
    raise UsageError(
        f"there is no folder experiments/cpp/{benchmark.name} in {' or '.join(map(str, places))}",
        hint="change to the folder that holds experiments/; without -l it runs on the nodes",
    )


def results_folder(flags: Flags, configuration: Configuration) -> Path:
    """As given, else as the template says, else `results` here; below it, one folder for each benchmark."""
    section = child(configuration.tree, "results")
    says = section is not None and child(section, "folder") is not None
    base = flags.results or (Path(configuration.results.folder) if says else Path("results"))
    return base / flags.benchmark.name


def _cast(found: Addresses, nodes: Mapping[str, Node]) -> tuple[Node, ...]:
    workers: Sequence[Node] = [nodes[address] for address in found.workers]
    return cast(nodes[found.manager], nodes[found.master], workers)


def _template(files: tuple[Path, ...]) -> tuple[Configuration, ExperimentSpec]:
    """The files given; with the template as well if none of them has an experiment."""
    configuration = load(files) if files else None
    if configuration is None or not configuration.experiments:
        configuration = load([*files, _template_file()])
    source = ", ".join(str(path) for path in files) or str(_template_file())
    return configuration, template_of(configuration.experiments, source)


def _template_file() -> Path:
    """The user's own, else the one that came with cloister."""
    return TEMPLATE if TEMPLATE.is_file() else Path(cloister.__file__).parents[1] / TEMPLATE


def _named_cluster(configuration: Configuration, state: Path) -> Cluster | None:
    if configuration.cluster is None:
        return None
    return open_cluster(configuration.cluster.name, state=state, allow_dead=True)
