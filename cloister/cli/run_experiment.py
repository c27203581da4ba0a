"""`run_experiment.py`: benchmarks in the layout experiments/cpp/NAME/NAME, with the first cloister's flags."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cloister.cli import exit_status
from cloister.cli.output import say, seconds_text, show
from cloister.errors import CloisterError, PartlyDone, UsageError

if TYPE_CHECKING:
    from cloister.cli.benchmark_scene import Flags, Scene
    from cloister.experiment.by_hand import Ended
    from cloister.experiment.killing import Found, Killed
    from cloister.experiment.placement import Instance
    from cloister.experiment.record import TrialRecord
    from cloister.results.store import Store
    from cloister.transport.fanout import FanOut
    from cloister.transport.process import Outcome

NAME = "run_experiment.py"
# Action → the template's process.
ROLES = {"manager": "manager", "master": "master", "driver": "master", "worker": "workers"}
_SHOWN_LINES = 3
_SHOWN_BYTES = 4096
ACTIONS = ("experiment", "killall", "make", *ROLES)

_EPILOG = """\b
Examples:
  cloister launch -c configs/clusters/local-4.yaml
  cloister sync -c configs/clusters/local-4.yaml -c configs/experiments/ring.yaml
  run_experiment.py -b ring -k 2 -p 2 -n 3
  run_experiment.py -a manager -b ring -k 2     (by hand; -a experiment then uses it)
  run_experiment.py -a killall -b ring
"""


@click.command(
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog=_EPILOG,
)
@click.option(
    "-a",
    "--action",
    type=click.Choice(ACTIONS),
    default="experiment",
    show_default=True,
    help="experiment: a whole run, each iteration a new one. killall: end the benchmark on all nodes. "
    "make: build it on all nodes. manager, master (or driver), worker: that role in the foreground.",
)
@click.option(
    "-b", "--benchmark", required=True, metavar="NAME", help="In experiments/cpp/NAME/NAME."
)
@click.option(
    "-k",
    "--nworkers",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="Worker nodes: the first so many of the list.",
)
@click.option(
    "-p",
    "--nprocs",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="Worker processes on each node.",
)
@click.option(
    "-n",
    "--num_iterations",
    "--num-iterations",
    "iterations",
    type=click.IntRange(1, 10_000),
    default=1,
    show_default=True,
    help="How often the experiment runs.",
)
@click.option(
    "-l", "--local", is_flag=True, help="Run the role, or make, on this machine and not over SSH."
)
@click.option(
    "-s",
    "--server_names",
    "--server-names",
    "servers",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Addresses of the workers, one per line. Default: servers/servers.txt.",
)
@click.option(
    "-m",
    "--driver_name",
    "--master_name",
    "master",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Address of the master, and of the manager if there is no manager.txt beside it. "
    "Default: servers/master.txt, or driver.txt.",
)
@click.option(
    "-w", "--worker", "separate", is_flag=True, help="Workers are the binary NAME-worker."
)
@click.option(
    "-z", "--no_driver", "--no_master", "no_master", is_flag=True, help="Start no master."
)
@click.option(
    "-y",
    "--aws-key",
    "--aws_key",
    "key",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    metavar="FILE",
    help="Private key for addresses that belong to no cluster.",
)
@click.option(
    "-c",
    "--config",
    multiple=True,
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="A cluster, whose own lists are used then, or another template than configs/run_experiment.yaml; "
    "may be repeated.",
)
@click.option(
    "--results",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="FOLDER",
    help="Logs and records go to FOLDER/NAME. Default: results.",
)
@click.option(
    "--wait",
    "wait_s",
    type=click.FloatRange(min=0),
    default=10.0,
    metavar="SECONDS",
    help="How long to wait while another command works on the cluster (default: 10).",
)
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
def command(
    action: str,
    benchmark: str,
    nworkers: int,
    nprocs: int,
    iterations: int,
    local: bool,
    separate: bool,
    no_master: bool,
    wait_s: float,
    debug: bool,
    **paths: Any,
) -> None:
    """Run a benchmark in the layout experiments/cpp/NAME/NAME on the nodes in servers/.

    Its code is below the work folder of each node; experiment_vars beside the binary is sourced
    first. Ports, arguments and environment of each role are in configs/run_experiment.yaml.
    """
    from cloister.cli.benchmark_scene import Flags
    from cloister.experiment.benchmark import Benchmark

    if local and action in ("experiment", "killall"):
        raise UsageError(
            f"-l goes with make and with the roles {', '.join(ROLES)}, not with -a {action}",
            hint="a cluster on this machine: `cloister launch -c configs/clusters/local-4.yaml`",
        )
    flags = Flags(
        benchmark=Benchmark(
            name=benchmark,
            workers=nworkers,
            procs=nprocs,
            separate_worker=separate,
            # By hand, the master is asked for by its name.
            with_master=not no_master or action in ("master", "driver"),
            iterations=iterations,
        ),
        **paths,
    )
    match action:
        case "experiment":
            _experiment(flags, wait_s)
        case "killall":
            _kill(flags)
        case "make" if local:
            _make_here(flags)
        case "make":
            _make(flags, wait_s)
        case role if local:
            _role_here(flags, role)
        case role:
            _role_on_nodes(flags, role)


# --- experiment ----------------------------------------------------------------------------------


def _experiment(flags: Flags, wait_s: float) -> None:
    from cloister.cli.benchmark_scene import on_nodes, results_folder
    from cloister.cli.progress import Progress
    from cloister.cluster.lock import holding
    from cloister.cluster.state import state_folder
    from cloister.results.benchmark_trials import run_benchmark
    from cloister.results.store import Store

    state = state_folder()
    scene = on_nodes(flags, state)
    store = Store(results_folder(flags, scene.configuration))
    with (
        holding(scene.cluster.name, NAME, state=state, wait_s=wait_s, say=say),
        Progress() as progress,
    ):
        done, records = run_benchmark(
            scene.spec(),
            scene.configuration.deploy,
            scene.benchmark,
            scene.cluster,
            store,
            configuration={path.name: path.read_bytes() for path in scene.configuration.files},
            check=scene.check,
            watcher=progress.watcher(),
        )
    _show_logs(records, store)
    show(
        f"{flags.benchmark.name}: {done.complete} of {len(records)} complete, {done.failed} failed, "
        f"{done.invalid} invalid; {seconds_text(done.duration_s)}"
    )
    if not done.all_complete:
        raise PartlyDone(
            f"{done.failed + done.invalid} of {len(records)} runs are no results",
            hint=f"the last lines are above, the rest in the logs; `{NAME} -a killall "
            f"-b {flags.benchmark.name}` ends what may still be in the way",
        )


def _show_logs(records: Sequence[TrialRecord], store: Store) -> None:
    """Where each iteration's logs are, and what the process that ended it said last."""
    point = ""
    for record in records:
        folder = store.attempt_folder(record)
        if record.point != point:
            point = record.point
            show(f"logs in {folder.parent.parent}:")
        logs = [artifact.path for artifact in record.artifacts if artifact.path.endswith(".log")]
        show(f"  {folder.relative_to(folder.parent.parent)}: {record.verdict}, {len(logs)} logs")
        for path in logs:
            if path.split("-")[0] in ("master", record.guilty.split("-")[0]):
                show(f"    {path}:")
                for line in _last_lines(folder / path):
                    show(f"    | {line}")


def _last_lines(log: Path) -> list[str]:
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - _SHOWN_BYTES))
        return file.read().decode("utf-8", "replace").splitlines()[-_SHOWN_LINES:]


# --- killall -------------------------------------------------------------------------------------


def _kill(flags: Flags) -> None:
    from cloister.cli.benchmark_scene import on_nodes
    from cloister.cluster.state import state_folder
    from cloister.experiment.benchmark import ports_by_node
    from cloister.experiment.killing import kill_all
    from cloister.transport.links import Links

    # Not held: it is for when another command hangs.
    scene = on_nodes(flags, state_folder(), every_node=True)
    cluster = scene.cluster
    ports = ports_by_node(scene.instances())
    with Links(marks=cluster.marks) as links:
        killed = kill_all(links, cluster.nodes, scene.benchmark, cluster.uid, ports)
    _show_killed(killed, flags.benchmark.name, len(cluster.nodes))


def _show_killed(killed: Killed, benchmark: str, nodes: int) -> None:
    for entry in killed.ended:
        show(f"{entry.node}: killed {_described(entry)}")
    for entry in killed.resisted:
        show(f"{entry.node}: could not kill {_described(entry)}")
    for node, port, why in killed.ports_left:
        show(f"{node}: port {port} stays taken: {why}")
    for error in killed.errors.values():
        say(str(error))
    count = len(killed.ended)
    show(
        f"{benchmark}: {count or 'no'} process{'' if count == 1 else 'es'} killed on "
        f"{nodes - len(killed.errors)} node{'' if nodes - len(killed.errors) == 1 else 's'}"
    )
    if killed.resisted:
        raise PartlyDone(
            f"{len(killed.resisted)} processes could not be killed",
            hint="they are another user's; log in as that user, or as root",
        )
    if killed.errors:
        message = f"{len(killed.errors)} of {nodes} nodes could not be asked"
        raise CloisterError(message) if len(killed.errors) == nodes else PartlyDone(message)


def _described(entry: Found) -> str:
    return f"{entry.pid} ({entry.why}): {entry.command}"


# --- make ----------------------------------------------------------------------------------------


def _make(flags: Flags, wait_s: float) -> None:
    from cloister.cli.benchmark_scene import on_nodes
    from cloister.cluster.lock import holding
    from cloister.cluster.state import state_folder
    from cloister.deploy.making import make
    from cloister.transport.links import Links

    state = state_folder()
    scene = on_nodes(flags, state, every_node=True)
    folder = scene.instances()[0].folder
    with (
        holding(scene.cluster.name, NAME, state=state, wait_s=wait_s, say=say),
        Links(marks=scene.cluster.marks) as links,
    ):
        result = make(links, scene.cluster.nodes, folder)
    _show_made(result, folder, flags.benchmark.name)


def _show_made(result: FanOut[Outcome], folder: str, benchmark: str) -> None:
    from cloister.deploy.making import NO_FOLDER, last_lines
    from cloister.transport.fold import fold_equal

    reports = {name: str(error).removeprefix(f"{name}: ") for name, error in result.errors.items()}
    for name, outcome in result.values.items():
        if outcome.ok:
            reports[name] = "made"
        elif outcome.status == NO_FOLDER:
            reports[name] = f"there is no folder {folder} below the work folder"
        else:
            reports[name] = f"make: {outcome}\n{_indented(last_lines(outcome))}"
    for names, text in fold_equal(reports):
        show(f"{names}: {text}")
    bad = [name for name, text in reports.items() if text != "made"]
    if not bad:
        return
    message = f"{benchmark} could not be made on {len(bad)} of {len(reports)} nodes"
    if all(outcome.status == NO_FOLDER for outcome in result.values.values()) and not result.errors:
        raise UsageError(
            f"{message}: none has {folder}",
            hint="is the name right? `cloister sync` brings code to the nodes",
        )
    raise CloisterError(message) if len(bad) == len(reports) else PartlyDone(message)


def _indented(text: str) -> str:
    return "\n".join(f"  {line}" for line in text.splitlines())


def _make_here(flags: Flags) -> None:
    import subprocess

    from cloister.cli.benchmark_scene import work_folder

    folder = work_folder(flags.benchmark) / "experiments" / "cpp" / flags.benchmark.name
    status = subprocess.run(["make"], cwd=folder, check=False).returncode
    if status != 0:
        raise CloisterError(f"make in {folder}: exit status {status}")
    show(f"{folder}: made")


# --- roles by hand -------------------------------------------------------------------------------


def _role_on_nodes(flags: Flags, role: str) -> None:
    from cloister.cli.benchmark_scene import on_nodes, results_folder
    from cloister.cluster.state import state_folder
    from cloister.experiment.by_hand import outputs, run_on_nodes
    from cloister.results.benchmark_trials import expect_programs
    from cloister.transport.links import Links

    scene = on_nodes(flags, state_folder())
    instances = _instances(scene, role)
    folder = results_folder(flags, scene.configuration) / "by-hand"
    with Links(marks=scene.cluster.marks) as links:
        links.open_all({i.node.name: i.node for i in instances}.values()).raise_first()
        expect_programs(links, instances, scene.benchmark)
        with outputs(instances, role, folder, _write) as made:
            _announce(instances, [output.log for output in made])
            ended = run_on_nodes(links, instances, made)
    _conclude(ended)


def _role_here(flags: Flags, role: str) -> None:
    from cloister.cli.benchmark_scene import on_this_machine, work_folder
    from cloister.cluster.state import state_folder
    from cloister.experiment.by_hand import outputs, own_address, run_here

    work = work_folder(flags.benchmark)
    scene = on_this_machine(flags, state_folder(), work)
    instances = _instances(scene, role)
    if role == "worker":
        addresses = list(dict.fromkeys(instance.node.address for instance in instances))
        mine = own_address(addresses)
        if mine is None:
            raise UsageError(
                f"none of the first {flags.benchmark.workers} workers is this machine: {', '.join(addresses)}",
                hint="give -k the number of all workers, or leave -l out",
            )
        instances = [instance for instance in instances if instance.node.address == mine]
    with outputs(instances, role, work / instances[0].folder, _write) as made:
        _announce(instances, [output.log for output in made])
        ended = run_here(instances, work, made)
    _conclude(ended)


def _instances(scene: Scene, role: str) -> list[Instance]:
    chosen = [entry for entry in scene.instances() if entry.process == ROLES[role]]
    if not chosen:
        raise UsageError(f"the template starts no {ROLES[role]} with these flags")
    return chosen


def _announce(instances: Sequence[Instance], logs: Sequence[Path]) -> None:
    import shlex

    for instance, log in zip(instances, logs, strict=True):
        text = instance.command
        line = text if isinstance(text, str) else shlex.join(text)
        say(f"{instance.node.name}: {line}\n  log: {log}")


def _conclude(ended: Sequence[Ended]) -> None:
    for entry in ended:
        say(f"{entry.instance.node.name}: {entry.log.stem.split('_')[0]} ended: {entry.how}")
    bad = [entry for entry in ended if not entry.ok]
    if bad:
        raise CloisterError(
            f"{bad[0].instance.process} on {bad[0].instance.node.name} ended with {bad[0].how}",
            hint=f"its output is in {bad[0].log}",
        )


def _write(data: bytes) -> None:
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()


def main(arguments: list[str] | None = None) -> int:
    return exit_status(command, NAME, sys.argv[1:] if arguments is None else arguments)


def entry_point() -> None:
    sys.exit(main())
