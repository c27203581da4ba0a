"""run_experiment.py as its user has it: a real local cluster, the real C++ benchmark."""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import os
import random
import re
import secrets
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml

from cloister.cli.run_experiment import main
from cloister.cluster import Cluster, addresses
from cloister.cluster.inventory import write_inventory
from cloister.experiment.record import TrialRecord
from cloister.results.store import Store

ROOT = Path(__file__).parents[2]
PROGRAM = ROOT / "run_experiment.py"
SOURCE = ROOT / "examples" / "experiments" / "cpp" / "ring"
TEMPLATE = ROOT / "configs" / "run_experiment.yaml"
WITHIN_S = 30.0


@pytest.fixture(scope="session")
def ring(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The example, compiled once for all test processes."""
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    folder = shared / "run_experiment_ring"
    with (shared / "run_experiment_ring.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "made").exists():
            shutil.copytree(SOURCE, folder, dirs_exist_ok=True)
            make = ["make", "-C", str(folder), "-j2", "CXXFLAGS=-O0"]
            subprocess.run(make, check=True, capture_output=True)
            (folder / "made").touch()
    return folder


@pytest.fixture(scope="module")
def cluster(module_cluster: Callable[..., Cluster], ring: Path) -> Cluster:
    launched = module_cluster(manager=1, workers=2)
    for name in ("manager1", "workers1", "workers2"):
        shutil.copytree(ring, cpp(launched, name) / "ring")
    return launched


def cpp(cluster: Cluster, node: str) -> Path:
    home = cluster.folder / "nodes" / node / "home"
    return home / "cloister" / "experiments" / "cpp"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Ended:
    status: int
    out: str
    err: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class User:
    """Types commands in a folder that has the cluster's servers/."""

    folder: Path
    cluster: Cluster
    capture: pytest.CaptureFixture[str]

    @property
    def state(self) -> Path:
        return self.cluster.folder.parent.parent

    def __call__(self, *arguments: str) -> Ended:
        self.capture.readouterr()
        status = main(list(arguments))
        out, err = self.capture.readouterr()
        assert "internal error" not in err, err
        return Ended(status=status, out=out, err=err)

    @contextlib.contextmanager
    def meanwhile(self, *arguments: str, says: str = "") -> Iterator[Background]:
        """In the background, from the moment that it has said so; interrupted at the end."""
        output = self.folder / f"output-{secrets.token_hex(4)}"
        with output.open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, PROGRAM, *arguments],
                cwd=self.folder,
                env={**os.environ, "CLOISTER_STATE": str(self.state)},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        background = Background(process=process, output=output)
        try:
            wait_until(lambda: re.search(says, background.text) is not None, background)
            yield background
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGINT)
            process.wait(WITHIN_S)

    def records(self, benchmark: str = "ring", results: str = "results") -> list[TrialRecord]:
        store = Store(self.folder / results / benchmark)
        records = list(store.records())
        assert not [damage for record in records for damage in store.verify(record)]
        return records

    def template(self, change: Callable[[dict], None]) -> None:  # type: ignore[type-arg]
        """A template of the user's own, in the place where it is looked for."""
        content = yaml.safe_load(TEMPLATE.read_text())
        change(content["experiments"][0])
        (self.folder / "configs").mkdir(exist_ok=True)
        (self.folder / "configs" / "run_experiment.yaml").write_text(yaml.safe_dump(content))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Background:
    process: subprocess.Popen[bytes]
    output: Path

    @property
    def text(self) -> str:
        return self.output.read_text(errors="replace")

    def ended(self) -> int:
        return self.process.wait(WITHIN_S)


def wait_until(condition: Callable[[], bool], about: object = "") -> None:
    ends_at = time.monotonic() + WITHIN_S
    while not condition():
        assert time.monotonic() < ends_at, about.text if isinstance(about, Background) else about
        time.sleep(0.02)


@pytest.fixture
def user(
    tmp_path: Path,
    cluster: Cluster,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> User:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("CLOISTER_CLUSTER", raising=False)
    found = User(folder=tmp_path, cluster=cluster, capture=capfd)
    monkeypatch.setenv("CLOISTER_STATE", str(found.state))
    write_inventory(cluster, tmp_path / "servers")
    return found


def run_of(record: TrialRecord) -> str:
    return str(record.parameters["run"])


# --- experiment ----------------------------------------------------------------------------------


def test_an_experiment_runs_n_times_and_never_skips(user: User) -> None:
    done = user("-a", "experiment", "-b", "ring", "-k", "2", "-p", "2", "-n", "2")
    assert done.status == 0, done
    assert "ring: 2 of 2 complete" in done.out
    assert done.out.count("| result: 4 workers") == 2
    again = user("-b", "ring", "-k", "1")
    assert again.status == 0, again
    records = user.records()
    assert sorted(record.repeat for record in records) == [1, 1, 2]
    assert len({run_of(record) for record in records}) == 2
    for record in records:
        assert str(record.point) in done.out + again.out
        assert len(record.processes) in (3, 6)


def test_one_log_per_process_has_its_standard_error_too(user: User) -> None:
    def loud(experiment: dict) -> None:  # type: ignore[type-arg]
        experiment["processes"]["master"]["command"] = "echo to-out; echo to-err >&2"

    user.template(loud)
    done = user("-b", "ring", "-z", "-a", "master")
    assert done.status == 0, done
    assert done.out == "to-out\nto-err\n"
    user.template(lambda e: (loud(e), e.update(end={"process": "master"})))  # type: ignore[func-returns-value]
    assert user("-b", "ring").status == 0
    [record] = user.records()
    [log] = [a.path for a in record.artifacts if a.path.startswith("master")]
    assert log == "master-0@manager1/stdout.log"
    text = (Store(user.folder / "results" / "ring").attempt_folder(record) / log).read_text()
    assert text == "to-out\nto-err\n"


def test_separate_workers_run_their_own_binary(user: User) -> None:
    assert user("-b", "ring", "-k", "2", "-w", "--results", "elsewhere").status == 0
    [record] = user.records(results="elsewhere")
    binaries = {p.process: p.command.split()[0] for p in record.processes}
    assert binaries == {"manager": "./ring", "workers": "./ring-worker", "master": "./ring"}


def test_without_a_master_it_ends_with_the_workers(user: User) -> None:
    with user.meanwhile("-b", "ring", "-k", "2", "-z", says="trials to run") as rest:
        master = user("-a", "master", "-b", "ring", "-k", "2")
        assert master.status == 0, (master, rest.text)
        assert "result: 2 workers" in master.out
        assert rest.ended() == 0
        assert "ring: 1 of 1 complete" in rest.text
    [record] = user.records()
    assert {p.process for p in record.processes} == {"manager", "workers"}
    [log] = (user.folder / "results" / "ring" / "by-hand").iterdir()
    assert "result: 2 workers" in log.read_text()


def test_a_manager_started_by_hand_is_used(user: User) -> None:
    with user.meanwhile("-a", "manager", "-b", "ring", says="manager: listening") as manager:
        done = user("-b", "ring", "-n", "2")
        assert done.status == 0, done
        assert "using the manager that runs on manager1: process" in done.err
        assert manager.ended() == 0
        assert "manager: finished" in manager.text
    # It served one trial and ended: the second one got a manager of its own.
    by_repeat = {r.repeat: {p.process for p in r.processes} for r in user.records()}
    assert by_repeat == {1: {"workers", "master"}, 2: {"manager", "workers", "master"}}


def test_a_stranger_on_the_managers_port_is_not_taken_for_one(user: User) -> None:
    address = user.cluster.nodes[0].address
    with listener(address, 40000) as stranger:
        done = user("-b", "ring")
    assert done.status == 2
    assert f"port 40000 of the manager on manager1 is taken by process {stranger.pid}" in done.err
    assert "-a killall" in done.err


def test_the_users_own_template_decides(user: User) -> None:
    port = free_ports(1)[0]

    def change(experiment: dict) -> None:  # type: ignore[type-arg]
        experiment["parameters"]["manager_port"] = port
        for name in ("workers", "master"):
            experiment["processes"][name]["command"] += ["-r", "{{ manager_port }}"]
        experiment["processes"]["master"]["command"] += ["--payload", "128", "--seconds", "0.2"]
        experiment["processes"]["manager"]["env"] = {"FROM_TEMPLATE": "yes"}
        experiment["metrics"] = {
            "throughput": {"process": "master", "json_key": "throughput_messages_per_s"}
        }

    user.template(change)
    done = user("-b", "ring", "-k", "2")
    assert done.status == 0, done
    assert "throughput" in done.err
    assert "result: 2 workers, 128 bytes" in done.out
    [record] = user.records()
    assert record.metrics["throughput"] > 0
    assert f"-r {port}" in record.processes[0].command


def test_a_run_that_fails_is_status_3_with_the_last_lines(user: User) -> None:
    for node in user.cluster.nodes:
        broken = cpp(user.cluster, node.name) / "broken"
        broken.mkdir(exist_ok=True)
        (broken / "broken").write_text("#!/bin/sh\necho out of luck >&2\nexit 4\n")
        (broken / "broken").chmod(0o755)
    done = user("-b", "broken")
    assert done.status == 3, done
    assert "manager-0@manager1 ended with exit status 4" in done.err
    assert "| out of luck" in done.out
    assert "broken: 0 of 1 complete, 1 failed" in done.out


def test_a_configured_cluster_needs_no_lists(user: User) -> None:
    shutil.rmtree(user.folder / "servers")
    config = {"cluster": {"name": user.cluster.name, "roles": {"manager": 1, "workers": 2}}}
    (user.folder / "c.yaml").write_text(yaml.safe_dump(config))
    assert user("-b", "ring", "-k", "2", "-c", "c.yaml").status == 0
    done = user("-b", "ring")
    assert (done.status, "servers/servers.txt cannot be read" in done.err) == (2, True)


def test_addresses_of_no_cluster_are_reached_with_a_key(
    user: User, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The cluster's own nodes, from a state folder that does not know them."""
    monkeypatch.setenv("CLOISTER_STATE", str(tmp_path / "other"))
    done = user("-b", "ring")
    assert done.status == 2
    assert f"not in your known_hosts: {user.cluster.nodes[0].address}" in done.err
    assert not (tmp_path / "other" / "by_address").exists()
    by_address = {node.address: node for node in user.cluster.nodes}
    # In place of ~/.ssh/config and known_hosts, which are not for tests to write.
    monkeypatch.setattr(
        addresses,
        "stranger",
        lambda address, key: dataclasses.replace(
            by_address[address], name=address, roles=(), key=str(key), port_space=""
        ),
    )
    key = str(user.cluster.nodes[0].key)
    done = user("-b", "ring", "-k", "2", "-y", key)
    assert done.status == 0, done
    assert {p.node for p in user.records()[0].processes} == set(by_address)


# --- bad input -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "Missing option '-b'"),
        (["-b", "../ring"], "not the name of a benchmark"),
        (["-b", "ring", "-k", "3"], "servers/servers.txt has 2 addresses, -k asks for 3"),
        (["-b", "ring", "-k", "0"], "0 is not in the range"),
        (["-b", "ring", "-a", "manger"], "'manger' is not one of"),
        (["-b", "ring", "-n", "none"], "'none' is not a valid integer"),
        (["-b", "ring", "-s", "gone.txt"], "the list of servers gone.txt cannot be read"),
        (["-b", "ring", "-m", "gone.txt"], "the list of servers gone.txt cannot be read"),
        (["-b", "ring", "-y", "gone.pem"], "'gone.pem' does not exist"),
        (["-b", "ring", "-c", "gone.yaml"], "gone.yaml:1: cannot read the file"),
        (["-b", "ring", "-l"], "not with -a experiment"),
        (["-b", "rong"], "experiments/cpp/rong/rong on manager1,workers1"),
        (["-b", "rong", "-a", "worker"], "experiments/cpp/rong/rong on workers1"),
        (["-b", "rong", "-a", "make"], "none has experiments/cpp/rong"),
        (["-b", "rong", "-a", "make", "-l"], "there is no folder experiments/cpp/rong"),
        (["-b", "ring", "-c", str(ROOT / "configs/experiments/ring.yaml")], "no process 'workers'"),
    ],
)
def test_bad_input_is_status_2_and_says_what(
    user: User, arguments: list[str], message: str
) -> None:
    done = user(*arguments)
    assert done.status == 2, done
    assert message in done.err
    assert not (user.folder / "results").exists() or not user.records()


def test_a_template_that_cannot_run_is_located(user: User) -> None:
    def change(experiment: dict) -> None:  # type: ignore[type-arg]
        experiment["processes"]["master"]["command"][-1] = "{{ partitions }}"

    user.template(change)
    done = user("-b", "ring")
    assert done.status == 2
    assert re.search(
        r"configs/run_experiment.yaml:\d+: experiments\[0\]\.processes\.master", done.err
    )
    assert "'partitions' is not known" in done.err


def test_help_has_an_example() -> None:
    done = subprocess.run([sys.executable, PROGRAM, "--help"], capture_output=True, text=True)
    assert done.returncode == 0
    assert "run_experiment.py -b ring -k 2 -p 2 -n 3" in done.stdout


# --- roles by hand -------------------------------------------------------------------------------


def test_interrupting_a_role_ends_it_on_the_nodes(user: User) -> None:
    says = r"worker3: worker: listening"
    with user.meanwhile("-a", "worker", "-b", "ring", "-k", "2", "-p", "2", says=says) as workers:
        wait_until(lambda: len(running_at(user.cluster)) == 4)
        workers.process.send_signal(signal.SIGINT)
        assert workers.ended() == 130
        assert "interrupted" in workers.text
        assert running_at(user.cluster) == []
    names = [p.name for p in (user.folder / "results" / "ring" / "by-hand").iterdir()]
    assert sorted(name.split("_")[0] for name in names) == [f"worker{i}" for i in range(4)]


def test_a_role_that_fails_is_status_1(user: User) -> None:
    with listener(user.cluster.nodes[0].address, 40000):
        done = user("-a", "manager", "-b", "ring")
    assert done.status == 1
    assert "Address already in use" in done.out
    assert "manager on manager1 ended with exit status 1" in done.err


@pytest.fixture
def alone(user: User, ring: Path) -> User:
    """A folder with the benchmark and without lists, with ports that no other test has."""
    shutil.rmtree(user.folder / "servers")
    shutil.copytree(ring, user.folder / "experiments" / "cpp" / "ring")
    manager, worker, driver = free_ports(3)

    def change(experiment: dict) -> None:  # type: ignore[type-arg]
        experiment["parameters"]["manager_port"] = manager
        experiment["processes"]["workers"]["ports"] = {"worker": worker}
        experiment["processes"]["master"]["ports"] = {"driver": driver}
        for name in ("workers", "master"):
            experiment["processes"][name]["command"] += ["-r", "{{ manager_port }}"]

    user.template(change)
    return user


def test_all_roles_on_this_machine(alone: User) -> None:
    folder = alone.folder / "experiments" / "cpp" / "ring"
    run = ("-b", "ring", "-l", "-p", "2")
    with (
        alone.meanwhile("-a", "manager", *run, says="manager: listening") as manager,
        alone.meanwhile("-a", "worker", *run, says="worker1: worker: listening") as worker,
    ):
        done = alone("-a", "driver", *run)
        assert done.status == 0, done
        assert "result: 2 workers" in done.out
        assert (manager.ended(), worker.ended()) == (0, 0)
    logs = {path.name.split("_")[0]: path.read_text() for path in folder.glob("*.log")}
    assert sorted(logs) == ["driver", "manager", "worker0", "worker1"]
    assert logs["driver"] == done.out
    assert all("greeting: hello from experiment_vars" in log for log in logs.values())


def test_interrupting_a_role_ends_it_on_this_machine(alone: User) -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        with alone.meanwhile("-a", "manager", "-b", "ring", "-l", says="listening") as manager:
            manager.process.send_signal(number)
            assert manager.ended() == 130
        folder = alone.folder / "experiments" / "cpp" / "ring"
        assert [pid for pid in pids() if link(pid, "cwd") == str(folder)] == []


# --- make ----------------------------------------------------------------------------------------


def test_make_on_every_node_and_the_compilers_last_lines(user: User) -> None:
    def write(node: str, program: str) -> None:
        folder = cpp(user.cluster, node) / "tiny"
        folder.mkdir(exist_ok=True)
        (folder / "Makefile").write_text("tiny: tiny.cpp\n\t$(CXX) -o tiny tiny.cpp\n")
        (folder / "tiny.cpp").write_text(program)

    nodes = [node.name for node in user.cluster.nodes]
    for name in nodes:
        write(name, "int main() {}\n")
    done = user("-a", "make", "-b", "tiny")
    assert (done.status, done.out) == (0, "workers[1-2],manager1: made\n")
    assert all((cpp(user.cluster, name) / "tiny" / "tiny").exists() for name in nodes)
    time.sleep(0.01)
    write("workers2", "int main() { retrun 0; }\n")
    os.utime(cpp(user.cluster, "workers2") / "tiny" / "tiny.cpp", (2e9, 2e9))
    done = user("-a", "make", "-b", "tiny")
    assert done.status == 3, done
    assert re.search(r"workers2: make: exit status 2\n(.*\n)*.*retrun.* was not declared", done.out)
    assert "workers1,manager1: made" in done.out


# --- killall -------------------------------------------------------------------------------------


def free_ports(count: int) -> list[int]:
    """Numbers that nothing else here is likely to use, unlike those that the kernel hands out."""
    first = random.SystemRandom().randrange(21_000, 29_000, 10)
    return [first + step for step in range(count)]


def pids() -> list[int]:
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]


def link(pid: int, name: str) -> str:
    with contextlib.suppress(OSError):
        return str(Path(f"/proc/{pid}/{name}").readlink())
    return ""


def running_at(cluster: Cluster) -> list[int]:
    """The processes of the ring on the nodes of this cluster."""
    return [
        pid
        for pid in pids()
        if link(pid, "exe").startswith(str(cluster.folder)) and "ring" in link(pid, "exe")
    ]


@contextlib.contextmanager
def running(*command: str | Path, **env: str) -> Iterator[subprocess.Popen[bytes]]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith("CLOISTER_")}
    process = subprocess.Popen(
        [str(word) for word in command], env={**kept, **env}, stdout=subprocess.PIPE
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


@contextlib.contextmanager
def listener(address: str, port: int, **env: str) -> Iterator[subprocess.Popen[bytes]]:
    program = (
        "import socket, time; s = socket.socket(); s.setsockopt(1, 2, 1); "
        f"s.bind(('{address}', {port})); s.listen(); print('listens', flush=True); time.sleep(99)"
    )
    with running(sys.executable, "-c", program, **env) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"listens\n"
        yield process


@pytest.fixture
def sleeper(user: User) -> str:
    """A benchmark of a name that nobody else has, whose manager only sleeps; with ports of its own."""
    name = f"sleeper{secrets.token_hex(4)}"
    for node in user.cluster.nodes:
        folder = cpp(user.cluster, node.name) / name
        folder.mkdir()
        shutil.copy("/bin/sleep", folder / name)
        shutil.copy("/bin/sleep", folder / f"{name}-worker")
    manager, worker, driver = free_ports(3)

    def change(experiment: dict) -> None:  # type: ignore[type-arg]
        experiment["parameters"]["manager_port"] = manager
        processes = experiment["processes"]
        processes["workers"]["ports"] = {"worker": worker}
        processes["master"]["ports"] = {"driver": driver}
        for process in processes.values():
            process["command"] = "echo sleeps; ./{{ benchmark }} 99 & wait"

    user.template(change)
    return name


def test_killall_ends_the_benchmark_and_nothing_else(
    user: User, sleeper: str, tmp_path: Path
) -> None:
    for name in (sleeper, f"{sleeper}-worker", f"x{sleeper}", f"{sleeper}x"):
        shutil.copy("/bin/sleep", tmp_path / name)
    head, worker = (user.cluster.nodes[0].address, user.cluster.nodes[1].address)
    content = yaml.safe_load((user.folder / "configs/run_experiment.yaml").read_text())
    experiment = content["experiments"][0]
    port = experiment["parameters"]["manager_port"]
    driver = experiment["processes"]["master"]["ports"]["driver"]
    other = {"CLOISTER_CLUSTER": "another"}
    child_without_environment = f"env -i {tmp_path / sleeper} 98 & wait"
    with contextlib.ExitStack() as stack:
        manager = stack.enter_context(user.meanwhile("-a", "manager", "-b", sleeper, says="sleeps"))
        ended = {
            "name": stack.enter_context(running(tmp_path / sleeper, "97")),
            "worker's name": stack.enter_context(running(tmp_path / f"{sleeper}-worker", "97")),
            "own address": stack.enter_context(listener(head, port)),
        }
        spared = {
            "another cluster": stack.enter_context(running(tmp_path / sleeper, "97", **other)),
            "its child": stack.enter_context(
                running("/bin/bash", "-c", child_without_environment, **other)
            ),
            "a longer name": stack.enter_context(running(tmp_path / f"x{sleeper}", "97")),
            "a longer name too": stack.enter_context(running(tmp_path / f"{sleeper}x", "97")),
            "its argument": stack.enter_context(
                running(sys.executable, "-c", "import time; time.sleep(97)", sleeper)
            ),
            "another address": stack.enter_context(listener("127.0.0.1", port)),
            "another node's port": stack.enter_context(listener(worker, port)),
            "everywhere, another cluster": stack.enter_context(
                listener("0.0.0.0", driver, **other)
            ),
        }
        wait_until(lambda: any(b"98" in cmdline(pid) for pid in children(spared["its child"].pid)))
        done = user("-a", "killall", "-b", sleeper)
        assert done.status == 0, done
        for what, process in ended.items():
            assert process.wait(5) == -signal.SIGKILL, what
            assert done.out.count(f" {process.pid} (") == 1, (what, done.out)
        assert {w: p.poll() for w, p in spared.items() if p.poll() is not None} == {}
        assert children(spared["its child"].pid), done.out
        assert manager.ended() == 1
        assert "killed by SIGKILL" in manager.text
        assert re.search(rf"manager1: killed \d+ \(mark\): .*{sleeper} 99", done.out)
        assert f"(name {sleeper}-worker): {tmp_path}" in done.out
        assert f"(port {port}): {sys.executable}" in done.out
        held = spared["everywhere, another cluster"].pid
        assert f"port {driver} stays taken: process {held}" in done.out
        # The shell of the manager and its child, and the three.
        assert f"{sleeper}: 5 processes killed on 3 nodes" in done.out
        again = user("-a", "killall", "-b", sleeper)
        assert f"{sleeper}: no processes killed on 3 nodes" in again.out


def children(pid: int) -> list[int]:
    with contextlib.suppress(OSError):
        return [int(n) for n in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return []


def cmdline(pid: int) -> bytes:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    return b""
