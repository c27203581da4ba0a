"""One trial on real nodes: how it starts, gets ready, ends, and what it leaves."""

from __future__ import annotations

import hashlib
import os
import secrets
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from trying import (
    AT_ONCE_S,
    FOREVER,
    Lab,
    command_lines,
    experiment,
    lab_on,
    program,
    send,
    wait_until,
)

from cloister.experiment.placement import place
from cloister.experiment.starting import levels
from cloister.experiment.trial import trials


@pytest.fixture(scope="module")
def lab(module_cluster: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with lab_on(module_cluster(3), tmp_path_factory.mktemp("trials")) as found:
        yield found


# --- the end -------------------------------------------------------------------------------------


def test_a_trial_ends_with_the_process_listed_last(lab: Lab) -> None:
    ran = lab.run({"server": program(FOREVER), "client": program("echo done")})
    assert ran.verdict == "complete", ran.record.reason
    assert ran.took_s < AT_ONCE_S
    assert ran.process("server").end == "stopped"
    assert ran.process("client").end == "itself"
    assert ran.log("client-0@workers1") == "done\n"


def test_a_trial_ends_with_the_process_that_is_named(lab: Lab) -> None:
    ran = lab.run({"client": program("true"), "other": program(FOREVER)}, end={"process": "client"})
    assert ran.verdict == "complete"
    assert ran.process("other").end == "stopped"


def test_a_trial_ends_when_each_of_several_named_processes_has(lab: Lab) -> None:
    ran = lab.run(
        {
            "quick": program("true"),
            "slow": program("sleep 0.3", after=[]),
            "other": program(FOREVER, after=[]),
        },
        end={"process": ["quick", "slow"]},
    )
    assert ran.verdict == "complete"
    assert ran.process("slow").end == "itself"
    assert ran.process("other").end == "stopped"


def test_a_trial_of_a_given_duration_is_stopped_after_it(lab: Lab) -> None:
    ran = lab.run({"server": program(FOREVER)}, end={"duration": 0.3})
    assert ran.verdict == "complete"
    assert 0.3 <= ran.record.measured_s < AT_ONCE_S
    assert ran.process("server").end == "stopped"


def test_within_a_duration_a_process_may_end_well_and_none_may_crash(lab: Lab) -> None:
    assert lab.run({"quick": program("true")}, end={"duration": 0.3}).verdict == "complete"
    ran = lab.run({"quick": program("exit 4")}, end={"duration": 20.0})
    assert ran.verdict == "failed"
    assert ran.took_s < AT_ONCE_S


def test_a_trial_ends_when_all_have(lab: Lab) -> None:
    ran = lab.run(
        {"slow": program("sleep 0.3; echo slow"), "quick": program("true")}, end={"all": True}
    )
    assert ran.verdict == "complete"
    assert ran.process("slow").end == "itself"
    assert ran.log("slow-0@workers1") == "slow\n"


# --- ready ---------------------------------------------------------------------------------------

WEB = "sleep 0.2; exec python3 -m http.server {{ ports.web }} --bind {{ node.address }}"
READY = {
    "port by name": (WEB, {"port": "web"}),
    "port by template": (WEB, {"port": "{{ ports.web }}"}),
    "log": (
        "sleep 0.2; echo warming; echo listening on port 17; " + FOREVER,
        {"log": r"port \d+$"},
    ),
    "log on stderr": ("sleep 0.2; echo up >&2; " + FOREVER, {"log": "^up$"}),
    "file": ("rm -f up.pid; sleep 0.2; touch up.pid; " + FOREVER, {"file": "up.pid"}),
    "http": (WEB, {"http": "http://{{ node.address }}:{{ ports.web }}/"}),
    "command": ("rm -f up; sleep 0.2; touch up; " + FOREVER, {"command": "test -e up"}),
}


@pytest.mark.parametrize("kind", READY)
def test_a_process_is_ready_by(kind: str, lab: Lab) -> None:
    command, ready = READY[kind]
    ran = lab.run(
        {
            "server": program(command, ports=["web"], ready={**ready, "within": "20s"}),
            "client": program("true"),
        }
    )
    assert ran.verdict == "complete", ran.record.reason
    assert 0.1 < ran.process("server").ready_after_s < AT_ONCE_S
    assert ran.process("client").started_at >= ran.process("server").started_at + 0.15


@pytest.mark.parametrize("kind", READY)
def test_a_process_that_does_not_get_ready_fails_the_trial_by(kind: str, lab: Lab) -> None:
    _, ready = READY[kind]
    ran = lab.run(
        {
            "server": program(
                "rm -f up up.pid; echo warming; " + FOREVER,
                ports=["web"],
                # Time enough to say something, also on a busy machine.
                ready={**ready, "within": "1s"},
            ),
            "client": program("true"),
        }
    )
    assert ran.verdict == "failed"
    assert ran.record.guilty == "server-0@workers1"
    assert "not ready within 1 s" in ran.record.reason
    assert ran.record.last_lines == ("warming",)
    assert ran.took_s < AT_ONCE_S
    assert ran.process("client").end == "not started"


def test_a_process_that_ends_before_it_is_ready_fails_at_once(lab: Lab) -> None:
    ran = lab.run({"server": program("echo no config; exit 9", ready={"log": "listening"})})
    assert ran.verdict == "failed"
    assert "exit status 9" in ran.record.reason
    assert ran.record.last_lines == ("no config",)
    assert ran.took_s < AT_ONCE_S


def test_a_crash_is_seen_while_another_process_is_awaited(lab: Lab) -> None:
    ran = lab.run(
        {
            "slow": program(FOREVER, ready={"log": "never", "within": "20s"}),
            "broken": program("sleep 0.2; echo broken; exit 7", after=[]),
        }
    )
    assert ran.verdict == "failed"
    assert ran.record.guilty == "broken-0@workers1"
    assert ran.took_s < AT_ONCE_S


def test_a_server_that_crashes_while_a_later_process_is_awaited_is_guilty(lab: Lab) -> None:
    ran = lab.run(
        {
            "server": program("echo up; sleep 0.3; echo bye >&2; exit 5", ready={"log": "up"}),
            "client": program(FOREVER, ready={"log": "never", "within": "20s"}),
        }
    )
    assert (ran.verdict, ran.record.guilty) == ("failed", "server-0@workers1")
    assert ran.record.last_lines == ("bye",)
    assert ran.took_s < AT_ONCE_S


# --- order, placement, ports ---------------------------------------------------------------------


def test_processes_start_in_levels() -> None:
    spec = experiment(
        {
            "store": program("true"),
            "cache": program("true", after=[]),
            "server": program("true", after=["store", "cache"]),
            "client": program("true"),
            "watcher": program("true", after=["store"]),
        }
    )
    node = _node("workers1")
    instances = place(spec, trials(spec)[0], [node], cluster="c")
    assert levels(instances) == [{"store", "cache"}, {"server", "watcher"}, {"client"}]


def _node(name: str) -> Any:
    from cloister.plan.observed import Node

    return Node(
        name=name, roles=("workers",), number=1, address="127.0.0.1", private_address="127.0.0.1"
    )


def test_processes_without_order_start_together(lab: Lab) -> None:
    # Each waits for the other: one after the other they would never end.
    meet = "touch {0}; until [ -e {1} ]; do sleep 0.01; done; rm {1}"
    ran = lab.run(
        {
            "one": program(meet.format("here-1", "here-2")),
            "two": program(meet.format("here-2", "here-1"), after=[]),
        },
        end={"all": True},
        timeout=10.0,
    )
    assert ran.verdict == "complete", ran.record.reason


def test_instances_are_dealt_out_over_the_nodes(lab: Lab) -> None:
    def placed(**fields: Any) -> list[str]:
        ran = lab.run({"p": {"role": "workers", "command": "true", **fields}})
        assert ran.verdict == "complete", ran.record.reason
        return [process.node for process in ran.record.processes]

    assert placed() == ["workers1", "workers2", "workers3"]
    assert placed(nodes=2) == ["workers1", "workers2"]
    assert placed(instances=4) == ["workers1", "workers2", "workers3", "workers1"]
    assert sorted(placed(nodes=2, per_node=2)) == ["workers1"] * 2 + ["workers2"] * 2


def test_ports_are_free_distinct_and_in_the_commands(lab: Lab) -> None:
    with socket.socket() as busy, socket.socket() as also:
        # The first that would be handed out, one at all addresses and one at another's.
        for holder, where in ((busy, ""), (also, "127.0.0.1")):
            holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            port = _first_free(20_000)
            holder.bind((where, port))
            holder.listen()
        taken = {busy.getsockname()[1], also.getsockname()[1]}
        ran = lab.run(
            {
                "p": {
                    "role": "workers",
                    "per_node": 2,
                    "ports": ["one", "two"],
                    "command": "echo {{ ports.one }} {{ ports.two }}",
                }
            }
        )
    assert ran.verdict == "complete", ran.record.reason
    ports = []
    for process in ran.record.processes:
        said = ran.log(f"p-{process.instance}@{process.node}").split()
        assert process.command == f"echo {said[0]} {said[1]}"
        ports += [int(text) for text in said]
    assert len(set(ports)) == 12
    assert not taken & set(ports)


def _first_free(port: int) -> int:
    while True:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("", port))
                return port
            except OSError:
                port += 1


# --- what a process gets -------------------------------------------------------------------------


def test_a_process_gets_its_environment_and_marks(lab: Lab) -> None:
    ran = lab.run({"p": program("env", env={"SIZE": "{{ 6 * 7 }}", "TEXT": "a 'b' $c"})})
    lines = ran.log("p-0@workers1").splitlines()
    assert {"SIZE=42", "TEXT=a 'b' $c", "CLOISTER_NAME=p", "CLOISTER_NODE=workers1"} <= set(lines)
    assert f"CLOISTER_TRIAL={ran.record.trial}" in lines
    assert f"CLOISTER_CLUSTER={lab.cluster.uid}" in lines


@pytest.mark.parametrize("command", ["env", ["env"]], ids=["text", "list"])
@pytest.mark.parametrize("path", ["settings.sh", "~/settings.sh", "~/with space/set.sh"])
def test_an_environment_file_is_sourced(path: str, command: Any, lab: Lab) -> None:
    home = lab.work_folder("workers1").parent
    file = home / path[2:] if path.startswith("~/") else lab.work_folder("workers1") / path
    file.parent.mkdir(exist_ok=True)
    file.write_text('export GREETING="hello there"\nexport ROOT=~/data\n')
    ran = lab.run({"p": program(command, env_file=path)})
    lines = ran.log("p-0@workers1").splitlines()
    assert "GREETING=hello there" in lines
    assert f"ROOT={home}/data" in lines


def test_an_environment_file_may_be_missing(lab: Lab) -> None:
    ran = lab.run({"p": program("echo ran", env_file="none.sh")})
    assert ran.log("p-0@workers1") == "ran\n"


def test_standard_input_is_the_given_text_or_empty(lab: Lab) -> None:
    ran = lab.run({"p": program("cat", stdin="a\n{{ 1 + 1 }}\n"), "q": program("cat")})
    assert ran.log("p-0@workers1") == "a\n2\n"
    assert ran.log("q-0@workers1") == ""


def test_a_process_works_in_its_folder(lab: Lab) -> None:
    (lab.work_folder("workers1") / "below").mkdir(exist_ok=True)
    ran = lab.run(
        {
            "default": program("pwd"),
            "below": program("pwd", folder="below"),
            "absolute": program("pwd", folder="/"),
        }
    )
    assert ran.log("default-0@workers1") == f"{lab.work_folder('workers1')}\n"
    assert ran.log("below-0@workers1") == f"{lab.work_folder('workers1')}/below\n"
    assert ran.log("absolute-0@workers1") == "/\n"


def test_no_shell_sees_a_list(lab: Lab) -> None:
    ran = lab.run({"p": program(["printf", "%s|", "a b", "$HOME", "; exit 1"])})
    assert ran.verdict == "complete"
    assert ran.log("p-0@workers1") == "a b|$HOME|; exit 1|"


def test_standard_error_has_its_own_log_or_shares_one(lab: Lab) -> None:
    command = "echo out; echo err >&2"
    ran = lab.run({"apart": program(command), "merged": program(command, merge_stderr=True)})
    assert ran.log("apart-0@workers1") == "out\n"
    assert ran.log("apart-0@workers1", "stderr") == "err\n"
    assert ran.log("merged-0@workers1") == "out\nerr\n"
    assert "merged-0@workers1/stderr.log" not in ran.paths


def test_an_expected_exit_status_is_no_failure(lab: Lab) -> None:
    assert lab.run({"p": program("exit 3", expect=[0, 3])}).verdict == "complete"
    ran = lab.run({"p": program("exit 4", expect=[0, 3])})
    assert ran.verdict == "failed"
    assert "exit status 4" in ran.record.reason


# --- failures of the program ---------------------------------------------------------------------


def test_a_crash_fails_the_trial_at_once_with_the_last_lines_of_the_guilty(lab: Lab) -> None:
    crash = "for i in $(seq 50); do echo line $i >&2; done; sleep 0.2; kill -SEGV $$"
    ran = lab.run({"server": program(crash), "client": program(FOREVER)})
    assert ran.verdict == "failed"
    assert ran.record.guilty == "server-0@workers1"
    assert "SIGSEGV" in ran.record.reason
    assert ran.record.last_lines[-1] == "line 50"
    assert len(ran.record.last_lines) == 20
    assert ran.took_s < AT_ONCE_S
    assert ran.process("server").signal == "SIGSEGV"


def test_a_time_out_names_who_still_ran(lab: Lab) -> None:
    ran = lab.run(
        {
            "server": program(FOREVER),
            "client": {"role": "workers", "command": "echo at work; " + FOREVER},
        },
        timeout=0.5,
    )
    assert ran.verdict == "failed"
    assert "not over within 0.5 s" in ran.record.reason
    for node in ("workers1", "workers2", "workers3"):
        assert f"@{node}" in ran.record.reason
    assert "server" not in ran.record.reason
    assert ran.record.last_lines == ("at work",)
    assert ran.took_s < AT_ONCE_S


def test_the_time_out_counts_while_a_process_gets_ready(lab: Lab) -> None:
    ran = lab.run({"p": program(FOREVER, ready={"log": "never", "within": "60s"})}, timeout=0.5)
    assert ran.verdict == "failed"
    assert ran.took_s < AT_ONCE_S


def test_a_process_that_ignores_its_signal_is_killed_after_the_grace(lab: Lab) -> None:
    token = f"1000.{secrets.randbelow(10**8)}"
    stubborn = f"trap '' TERM; echo up; sleep {token}; sleep {token}"
    ran = lab.run(
        {
            "stubborn": program(stubborn, ready={"log": "up"}, stop={"grace": 0.3}),
            "client": program("true"),
        }
    )
    assert ran.verdict == "complete"
    assert ran.process("stubborn").signal == "SIGKILL"
    assert ran.took_s < AT_ONCE_S
    assert not command_lines(token)


def test_a_process_is_stopped_with_the_signal_that_it_wants(lab: Lab) -> None:
    polite = "trap 'echo flushed; exit 0' INT; echo up; while true; do sleep 0.01; done"
    ran = lab.run(
        {
            "polite": program(polite, ready={"log": "up"}, stop={"signal": "INT"}),
            "client": program("true"),
        }
    )
    assert ran.verdict == "complete"
    assert ran.log("polite-0@workers1") == "up\nflushed\n"


def test_strays_of_a_trial_are_gone_before_the_next_one_starts(lab: Lab) -> None:
    token = f"1000.{secrets.randbelow(10**8)}"
    daemon = f"(setsid sleep {token} >/dev/null 2>&1 &); env -i setsid sleep {token} & sleep 0.1"
    first = lab.run({"p": program(daemon)})
    assert first.verdict == "complete"
    second = lab.run({"p": program(f"pgrep -f 'sleep {token}' | grep -v $$; true")})
    assert second.log("p-0@workers1") == ""
    assert not command_lines(f"sleep {token} ")


def test_the_working_folder_of_the_trials_is_empty_afterwards(lab: Lab) -> None:
    lab.run({"p": program("echo x")})
    folder = lab.work_folder("workers1") / ".cloister" / "trials"
    assert not list(folder.iterdir())


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"command": ["no-such-program-17"]}, "no-such-program-17"),
        ({"command": ["./not/here"]}, "./not/here"),
        ({"command": "true", "folder": "no/such/folder"}, "no/such/folder"),
        ({"command": "true", "folder": "/etc/passwd"}, "/etc/passwd"),
    ],
    ids=["program", "path", "folder", "folder is a file"],
)
def test_what_is_missing_fails_the_trial_with_its_name(
    fields: dict[str, Any], reason: str, lab: Lab
) -> None:
    ran = lab.run({"p": program(**fields)})
    assert ran.verdict == "failed"
    assert reason in ran.record.reason
    assert ran.record.guilty == "p-0@workers1"
    assert ran.took_s < AT_ONCE_S


def test_a_shell_command_that_is_not_found_says_so_in_its_last_lines(lab: Lab) -> None:
    ran = lab.run({"p": program("no-such-program-17 --fast")})
    assert ran.verdict == "failed"
    assert "exit status 127" in ran.record.reason
    assert "no-such-program-17" in ran.record.last_lines[-1]


# --- evidence ------------------------------------------------------------------------------------


def test_collected_files_come_with_the_hash_of_what_the_node_had(lab: Lab) -> None:
    write = "mkdir -p out/deep; seq 100000 > out/numbers.txt; echo x > out/deep/x.bin; echo y > y"
    ran = lab.run({"p": program(write, collect=["out/**/*.bin", "out/*.txt"])})
    assert ran.verdict == "complete", ran.record.reason
    by_path = {artifact.path: artifact for artifact in ran.record.artifacts}
    prefix = "p-0@workers1"
    assert set(by_path) == {
        f"{prefix}/{name}"
        for name in ("stdout.log", "stderr.log", "files/out/numbers.txt", "files/out/deep/x.bin")
    }
    there = (lab.work_folder("workers1") / "out/numbers.txt").read_bytes()
    entry = by_path[f"{prefix}/files/out/numbers.txt"]
    assert (entry.size, entry.sha256) == (len(there), hashlib.sha256(there).hexdigest())
    assert (ran.folder / entry.path).read_bytes() == there
    assert (entry.node, entry.process) == ("workers1", "p")


def test_files_of_earlier_trials_are_not_taken(lab: Lab) -> None:
    lab.run({"p": program("echo 1 > result-1.csv", collect=["*.csv"])})
    ran = lab.run({"p": program("sleep 0.1; echo 2 > result-2.csv", collect=["*.csv"])})
    assert {path for path in ran.paths if path.endswith(".csv")} == {
        "p-0@workers1/files/result-2.csv"
    }


def test_logs_and_files_of_a_failed_trial_are_kept_too(lab: Lab) -> None:
    ran = lab.run({"p": program("echo core > dump.txt; exit 1", collect=["dump.txt"])})
    assert ran.verdict == "failed"
    assert "p-0@workers1/files/dump.txt" in ran.paths


def test_a_record_says_what_happened(lab: Lab) -> None:
    began = time.time()
    burn = "import time\nend=time.process_time()+0.3\nblock=bytearray(50<<20)\nwhile time.process_time()<end: pass\n"
    ran = lab.run({"p": program(["python3", "-c", burn])})
    ended = time.time()
    record, process = ran.record, ran.process("p")
    assert began <= record.started_at <= process.started_at <= process.ended_at <= ended
    assert process.ended_at - process.started_at >= 0.3
    assert 0.3 <= process.cpu_user_s + process.cpu_system_s < 5.0
    assert process.max_rss_bytes > 50 << 20
    assert (process.status, process.signal, process.ready_after_s) == (0, None, None)
    assert record.measured_s <= record.duration_s <= ran.took_s
    assert [node["name"] for node in record.nodes] == ["workers1"]
    assert record.nodes[0]["facts"] == {"cpus": 2, "of": "workers1"}
    assert record.nodes[0]["address"] == lab.cluster.nodes[0].private_address
    assert record.provenance == {"commit": "c0ffee"}


# --- failures of machines ------------------------------------------------------------------------


@pytest.fixture
def own_lab(local_cluster: Any, tmp_path: Path) -> Iterator[Lab]:
    """Two nodes of which the test may ruin the second."""
    with lab_on(local_cluster(2), tmp_path) as found:
        yield found


EVERYWHERE = {
    "p": {"role": "workers", "command": "touch here; " + FOREVER, "ready": {"file": "here"}}
}
FIRST_ONLY = {"p": program("echo fine")}


def _during_a_trial(lab: Lab, ruin: Any, **fields: Any) -> Any:
    """A trial on both nodes, with `ruin` called when it has begun on the second."""

    def wait_and_ruin() -> None:
        wait_until((lab.work_folder("workers2") / "here").exists, "the trial has begun")
        ruin()

    thread = threading.Thread(target=wait_and_ruin)
    thread.start()
    ran = lab.run(EVERYWHERE, **fields)
    thread.join()
    return ran


def test_a_node_killed_in_mid_trial_makes_it_invalid_and_the_others_go_on(own_lab: Lab) -> None:
    ran = _during_a_trial(
        own_lab, lambda: send(own_lab.processes_of("workers2"), signal.SIGKILL), timeout=20.0
    )
    assert ran.verdict == "invalid"
    assert "workers2" in ran.record.reason
    assert "lost" in ran.record.reason
    assert ran.took_s < AT_ONCE_S
    assert ran.process("p", 1).end == "lost"
    # What the other node said is kept.
    assert "p-0@workers1/stdout.log" in ran.paths
    assert own_lab.run(FIRST_ONLY).verdict == "complete"
    again = own_lab.run(EVERYWHERE)
    assert again.verdict == "invalid"
    assert "workers2" in again.record.reason


def test_an_sshd_session_that_dies_makes_the_trial_invalid_and_the_next_one_connects_anew(
    own_lab: Lab,
) -> None:
    def sessions() -> list[Any]:
        return [
            entry
            for entry in own_lab.processes_of("workers2")
            if entry.process.name.startswith("sshd")
            and "sshd_config" not in " ".join(entry.process.command)
        ]

    ran = _during_a_trial(own_lab, lambda: send(sessions(), signal.SIGKILL), timeout=20.0)
    assert ran.verdict == "invalid"
    assert "workers2" in ran.record.reason
    assert ran.took_s < AT_ONCE_S
    again = own_lab.run({"p": {"role": "workers", "command": "echo fine"}})
    assert again.verdict == "complete", again.record.reason


def test_a_stopped_node_makes_the_trial_invalid(own_lab: Lab) -> None:
    stopped: list[Any] = []

    def stop() -> None:
        stopped.extend(own_lab.processes_of("workers2"))
        send(stopped, signal.SIGSTOP)

    try:
        ran = _during_a_trial(own_lab, stop, timeout=1.5)
        assert ran.verdict == "invalid"
        assert "workers2" in ran.record.reason
        # One time-out of the trial and one for asking whether the nodes live, not one per step.
        assert ran.took_s < 15.0
        assert own_lab.run(FIRST_ONLY).verdict == "complete"
    finally:
        send(stopped, signal.SIGCONT)


@pytest.fixture
def small_disk(own_lab: Lab) -> Iterator[Path]:
    """The work folder of the second node on a file system of 64 KiB."""
    if os.geteuid() != 0:
        pytest.skip("mounting a small file system needs root")
    folder = own_lab.work_folder("workers2")
    mount = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", folder], capture_output=True, text=True
    )
    if mount.returncode != 0:
        pytest.skip(f"no small file system can be mounted here: {mount.stderr.strip()}")
    try:
        yield folder
    finally:
        own_lab.links.close()
        subprocess.run(["umount", "-l", folder], check=True)


FILL = "head -c 1000000 /dev/zero > filling"


@pytest.mark.parametrize(
    "command", [FILL, FILL + "; true", "seq 100000", "seq 100000; true"], ids=str
)
def test_a_full_disk_makes_the_trial_invalid_and_the_others_go_on(
    command: str, own_lab: Lab, small_disk: Path
) -> None:
    ran = own_lab.run({"p": {"role": "workers", "command": command}})
    assert ran.verdict == "invalid"
    assert "workers2" in ran.record.reason
    assert "disk" in ran.record.reason
    assert own_lab.run(FIRST_ONLY).verdict == "complete"


def test_a_disk_that_is_full_from_the_start_makes_the_trial_invalid(
    own_lab: Lab, small_disk: Path
) -> None:
    subprocess.run(["sh", "-c", FILL], cwd=small_disk, check=False, capture_output=True)
    ran = own_lab.run({"p": {"role": "workers", "command": "true"}})
    assert ran.verdict == "invalid"
    assert "workers2" in ran.record.reason
    assert "disk" in ran.record.reason
