"""The example benchmark, built and run for real on addresses of the loopback network."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[2] / "examples" / "experiments" / "cpp" / "ring"
# Every process of the benchmark must be gone this long after the loss of one.
GONE_WITHIN_S = 2.0
RUN_WITHIN_S = 30.0
STARTED_WITHIN_S = 10.0
# Test processes that run at once keep to addresses of their own.
NETWORK = f"127.{160 + os.getpid() // 200 % 32}.{os.getpid() % 200}"


class Ring:
    """One run of the benchmark: a manager, workers on their own addresses, and a driver."""

    def __init__(self, folder: Path, logs: Path) -> None:
        self.folder = folder
        self.logs = logs
        self.manager_port = free_port()
        self.processes: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, name: str, *arguments: str, binary: str = "ring", **env: str) -> None:
        with (self.logs / name).open("wb") as log:
            self.processes[name] = subprocess.Popen(
                [self.folder / binary, *arguments, "-r", str(self.manager_port)],
                stdout=log,
                stderr=subprocess.STDOUT,
                env=os.environ | env,
            )

    def start_manager(self, workers: int, *arguments: str) -> None:
        self.start(
            "manager", "-m", "manager", "-i", f"{NETWORK}.200", "-x", str(workers), *arguments
        )

    def start_worker(self, node: int, process: int = 0, binary: str = "ring", **env: str) -> None:
        self.start(
            f"worker-{node}-{process}",
            *("-m", "worker", "-i", f"{NETWORK}.{node}", "-p", str(50000 + process)),
            *("-d", f"{NETWORK}.200"),
            binary=binary,
            **env,
        )

    def start_driver(self, workers: int, *arguments: str, role: str = "driver") -> None:
        self.start(
            "driver",
            "-m",
            role,
            "-d",
            f"{NETWORK}.200",
            "-x",
            str(workers),
            "-s",
            "7000",
            *arguments,
        )

    def log(self, name: str) -> str:
        return (self.logs / name).read_text()

    def wait_for_log(self, name: str, text: str) -> None:
        wait_until(lambda: text in self.log(name), f"'{text}' in the log of {name}")

    def statuses(self, within_s: float = RUN_WITHIN_S) -> dict[str, int]:
        end = time.monotonic() + within_s
        return {
            name: process.wait(timeout=max(0.01, end - time.monotonic()))
            for name, process in self.processes.items()
        }

    def result(self) -> dict:
        assert set(self.statuses().values()) == {0}, {n: self.log(n) for n in self.processes}
        lines = self.log("driver").splitlines()
        assert lines[-2].startswith("result: ")
        return json.loads(lines[-1])

    def end(self) -> None:
        for process in self.processes.values():
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            process.wait()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind((f"{NETWORK}.200", 0))
        return probe.getsockname()[1]


def wait_until(condition: Callable[[], bool], what: str) -> None:
    end = time.monotonic() + STARTED_WITHIN_S
    while not condition():
        assert time.monotonic() < end, f"no {what} within {STARTED_WITHIN_S} s"
        time.sleep(0.01)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("build") / "ring"
    shutil.copytree(SOURCE, folder, ignore=shutil.ignore_patterns("*.o", "ring", "ring-worker"))
    subprocess.run(["make", "-C", folder, "CXXFLAGS=-O1"], check=True, capture_output=True)
    return folder


@pytest.fixture
def ring(built: Path, tmp_path: Path) -> Iterator[Ring]:
    run = Ring(built, tmp_path)
    yield run
    run.end()


def run_ring(ring: Ring, nodes: int, processes: int, *arguments: str) -> dict:
    workers = nodes * processes
    ring.start_manager(workers)
    for node in range(1, nodes + 1):
        for process in range(processes):
            ring.start_worker(node, process)
    ring.start_driver(workers, "-t", str(processes), *arguments)
    return ring.result()


def test_a_run_prints_what_it_measured(ring: Ring) -> None:
    result = run_ring(ring, 3, 2, "--payload", "1000", "--seconds", "0.2", "-l", 'odd "name"')
    assert (result["workers"], result["procs_per_node"], result["payload_bytes"]) == (6, 2, 1000)
    assert result["workload"] == 'odd "name"'
    assert result["throughput_messages_per_s"] == pytest.approx(
        result["messages"] / result["seconds"], rel=1e-3
    )
    assert result["throughput_mb_per_s"] == pytest.approx(
        result["throughput_messages_per_s"] / 1000, rel=1e-3
    )
    latency = result["latency_us"]
    assert 0 < latency["p50"] <= latency["p90"] <= latency["p99"]


def test_rounds_are_counted_exactly(ring: Ring) -> None:
    result = run_ring(ring, 2, 1, "--rounds", "300")
    # Two workers, 300 messages each, over two links.
    assert result["messages"] == 2 * 300 * 2


def test_a_ring_of_one_worker_talks_to_itself(ring: Ring) -> None:
    assert run_ring(ring, 1, 1, "--rounds", "10", "--payload", "0")["messages"] == 10


def test_payloads_larger_than_every_socket_buffer_arrive_whole(ring: Ring) -> None:
    result = run_ring(ring, 2, 1, "--rounds", "10", "--payload", "5000000", "--window", "2")
    assert result["messages"] == 40


def test_latency_grows_with_the_ring_and_throughput_in_bytes_with_the_payload(
    built: Path, tmp_path: Path
) -> None:
    def measured(name: str, nodes: int, payload: int) -> dict:
        (tmp_path / name).mkdir()
        run = Ring(built, tmp_path / name)
        try:
            return run_ring(run, nodes, 1, "--payload", str(payload), "--seconds", "0.3")
        finally:
            run.end()

    small, long = measured("small", 1, 64), measured("long", 4, 64)
    large = measured("large", 1, 65536)
    assert long["latency_us"]["p50"] > 1.5 * small["latency_us"]["p50"]
    assert large["throughput_mb_per_s"] > 3 * small["throughput_mb_per_s"]


def test_the_order_of_starting_does_not_matter(ring: Ring) -> None:
    ring.start_driver(2, "--rounds", "5", role="master")
    ring.start_worker(1, binary="ring-worker")
    ring.start_manager(2)
    ring.start_worker(2, binary="ring-worker")
    assert ring.result()["messages"] == 20
    assert "master: 2 workers are ready" in ring.log("driver")


def test_the_environment_is_used_and_printed(ring: Ring) -> None:
    ring.start_manager(1)
    ring.start_worker(1, RING_GREETING="hello", RING_SOCKET_BUFFER="65536")
    ring.start_driver(1, "--rounds", "5")
    ring.result()
    assert "greeting: hello\nsocket buffer: 65536 bytes" in ring.log("worker-1-0")


def test_whoever_only_looks_at_the_ports_disturbs_nothing(ring: Ring) -> None:
    ring.start_manager(2)
    ring.wait_for_log("manager", "manager: listening on")
    ring.start_worker(1)
    ring.wait_for_log("worker-1-0", "worker: listening on")
    for address in ((f"{NETWORK}.200", ring.manager_port), (f"{NETWORK}.1", 50000)):
        socket.create_connection(address).close()
    with socket.create_connection((f"{NETWORK}.1", 50000)) as stranger:
        stranger.sendall(b"GET / HTTP/1.1\r\n\r\n")
        ring.start_worker(2)
        ring.start_driver(2, "--rounds", "5")
        assert ring.result()["messages"] == 20


@pytest.mark.parametrize("victim", ["worker-1-0", "worker-2-1", "driver", "manager"])
def test_the_death_of_one_ends_all_with_an_error(ring: Ring, victim: str) -> None:
    ring.start_manager(4)
    for node, process in ((1, 0), (1, 1), (2, 0), (2, 1)):
        ring.start_worker(node, process)
    ring.start_driver(4, "--seconds", "60")
    ring.wait_for_log("driver", "4 workers are ready")
    ring.processes[victim].send_signal(signal.SIGKILL)
    statuses = ring.statuses(within_s=GONE_WITHIN_S)
    assert statuses.pop(victim) == -signal.SIGKILL
    assert set(statuses.values()) == {1}
    for name in statuses:
        assert "has gone" in ring.log(name), name


def test_a_worker_that_stands_still_ends_the_run(ring: Ring) -> None:
    ring.start_manager(2, "--timeout", "1")
    ring.start_worker(1)
    ring.start_worker(2)
    ring.start_driver(2, "--seconds", "0.5", "--timeout", "1")
    ring.wait_for_log("driver", "2 workers are ready")
    ring.processes["worker-2-0"].send_signal(signal.SIGSTOP)
    # 0.5 s of measuring and a few time-outs of 1 s; the stopped one itself cannot end.
    stopped = ring.processes.pop("worker-2-0")
    try:
        assert set(ring.statuses(within_s=8).values()) == {1}
        assert "in time" in ring.log("driver")
    finally:
        stopped.kill()
        stopped.wait()


def test_a_port_in_use_is_said(ring: Ring) -> None:
    with socket.socket() as other:
        # An earlier run's closed connections still hold the port against those who do not ask so.
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        other.bind((f"{NETWORK}.1", 50000))
        other.listen()
        ring.start_worker(1)
        assert ring.statuses() == {"worker-1-0": 1}
    assert f"cannot listen on {NETWORK}.1:50000: Address already in use" in ring.log("worker-1-0")


def test_a_manager_that_does_not_come_up_is_said(ring: Ring) -> None:
    ring.start(
        "worker", "-m", "worker", "-i", f"{NETWORK}.1", "-d", f"{NETWORK}.200", "--timeout", "0.3"
    )
    assert ring.statuses() == {"worker": 1}
    assert f"cannot connect to {NETWORK}.200:{ring.manager_port}" in ring.log("worker")


def test_workers_that_do_not_come_are_counted(ring: Ring) -> None:
    ring.start_manager(3, "--wait", "0.5")
    ring.start_worker(1)
    ring.start_driver(3)
    assert set(ring.statuses().values()) == {1}
    for name in ring.processes:
        assert "only 1 of 3 workers came in time" in ring.log(name)


def test_a_driver_with_another_count_is_refused(ring: Ring) -> None:
    ring.start_manager(1)
    ring.start_worker(1)
    ring.start_driver(2)
    assert set(ring.statuses().values()) == {1}
    assert "give both the same -x" in ring.log("driver")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "-m ROLE is missing"),
        (["-m", "boss"], "-m wants manager, driver, master or worker, got 'boss'"),
        (["-m", "worker", "-p", "70000"], "-p wants a whole number from 1 to 65535, got '70000'"),
        (["-m", "worker", "-p"], "option '-p' wants a value"),
        (["-m", "worker", "--bogus"], "unknown option '--bogus'"),
        (["-m", "worker", "stray"], "unexpected argument 'stray'"),
        (["-m", "manager"], "give -x PARTITIONS, or -w ADDRESSES"),
        (["-m", "driver", "-x", "1", "--seconds", "nan"], "--seconds wants a number of seconds"),
        (["-m", "driver", "-w", "a,,b"], "-w has an empty address in 'a,,b'"),
    ],
)
def test_a_wrong_command_line_is_status_2(built: Path, arguments: list[str], message: str) -> None:
    ended = subprocess.run([built / "ring", *arguments], capture_output=True, text=True, timeout=10)
    assert ended.returncode == 2
    assert message in ended.stderr


def test_the_worker_binary_is_a_worker_only(built: Path) -> None:
    ended = subprocess.run(
        [built / "ring-worker", "-m", "manager", "-x", "1"],
        capture_output=True,
        text=True,
        timeout=10,
    )
    assert ended.returncode == 2
    assert "this binary is a worker only" in ended.stderr
