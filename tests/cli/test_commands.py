"""Commands on a real cluster: from init to destroy, each result as text and as JSON."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from calling import Caller, wait_until

from cloister.cluster.lifecycle import cluster_names

NODES = ["manager1", "workers1", "workers2"]


def fresh_results(caller: Caller, folder: Path) -> tuple[str, ...]:
    """Options for a results folder of the test's own."""
    path = folder / "results.yaml"
    path.write_text(f"results: {{folder: {folder}/results}}\n")
    return ("-c", "cloister.yaml", "-c", str(path))


# --- the newcomer's way --------------------------------------------------------------------------


def test_from_init_to_destroy(here: Caller) -> None:
    here.ok("init")
    assert "+ launch workers1" in here.ok("plan").stdout
    assert "2 nodes ready" in here.ok("launch").stdout
    assert "keep 2 nodes" in here.ok("plan").stdout
    assert (here.folder / "servers/workers.txt").read_text().count("\n") == 2
    assert "12 complete, 0 failed" in here.ok("run").stdout
    table = here.ok("results").stdout
    assert re.search(r"^2 +100000 +3 +\d", table, re.MULTILINE), table
    _, figures = here.ok("report").stdout.splitlines()
    assert figures.startswith("figures: ") and figures.endswith("results/report/figures")
    assert (here.folder / "results/report/report.html").stat().st_size > 10_000
    assert "nothing left" in here.ok("destroy").stdout
    assert "no clusters" in here.ok("ls").stdout
    assert not list((here.state / "clusters").iterdir())


def test_every_result_is_also_json_and_nothing_else_is_on_stdout(
    launched: Caller, tmp_path: Path
) -> None:
    results = fresh_results(launched, tmp_path)
    [name] = cluster_names(launched.state)
    assert launched.ok("launch", "--json").json["cluster"] == name
    [listed] = launched.ok("ls", "--json").json
    assert [entry["state"] for entry in listed["nodes"]] == ["running"] * 3
    assert {a["action"] for a in launched.ok("plan", "--json").json["actions"]} == {"keep"}
    assert launched.ok("launch", "--dry-run", "--json").json["provider"] == "local"
    assert set(launched.ok("sync", "--json").json["keys"]) == {"app"}
    said = launched.ok("run-command", "--json", "echo hi").json
    assert {name: entry["outcome"]["stdout"] for name, entry in said.items()} == dict.fromkeys(
        NODES, "hi\n"
    )
    assert launched.ok("ps", "--json").json == []
    assert launched.ok("run", "-e", "count", "--json", *results).json["complete"] == 4
    [table] = launched.ok("results", "-e", "count", "--json", "--verify", *results).json
    assert [row["n"] for row in _rows(table)] == [2, 2]
    assert launched.ok("report", "--json", *results).json["report"].endswith("report.html")
    assert all(finding["ok"] for finding in launched.ok("doctor", "--json").json)


def _rows(table: dict[str, object]) -> list[dict[str, object]]:
    """The summaries of the only metric, however deep they lie."""
    found: list[dict[str, object]] = []

    def look(value: object) -> None:
        if isinstance(value, dict):
            if "n" in value and "mean" in value:
                found.append(value)
            for inner in value.values():
                look(inner)
        elif isinstance(value, list):
            for inner in value:
                look(inner)

    look(table)
    return found


def test_destroy_prints_a_receipt_as_json(here: Caller) -> None:
    (here.folder / "cloister.yaml").write_text("cluster: {name: tiny, roles: {workers: 1}}\n")
    here.ok("launch")
    receipt = here.ok("destroy", "--json").json
    assert receipt["found"] == receipt["removed"]
    assert receipt["left"] == []
    again = here.ok("destroy", "--json").json
    assert again["found"] == []


# --- run -----------------------------------------------------------------------------------------


def test_a_run_with_failed_trials_ends_with_status_3_and_says_why(
    launched: Caller, tmp_path: Path
) -> None:
    called = launched("run", *fresh_results(launched, tmp_path))
    assert called.status == 3
    assert "4 complete, 1 failed" in called.stdout
    assert "exit status 7" in called.stderr
    assert "  | about to fail" in called.stderr
    assert "1 trials are no results" in called.stderr


def test_progress_is_plain_lines_where_there_is_no_terminal(
    launched: Caller, tmp_path: Path
) -> None:
    called = launched.ok("run", "-e", "count", *fresh_results(launched, tmp_path))
    assert "\x1b" not in called.stderr + called.stdout
    for number in range(1, 5):
        assert re.search(
            rf"^trial {number} of 4: count/n=\d/rep-\d: complete in ", called.stderr, re.MULTILINE
        )
    assert "left]" in called.stderr
    assert "trial" not in called.stdout


def test_progress_is_a_live_line_in_a_terminal(launched: Caller, tmp_path: Path) -> None:
    status, shown = launched.in_terminal("run", "-e", "count", *fresh_results(launched, tmp_path))
    assert status == 0, shown
    assert "\x1b[" in shown
    assert "trial 4 of 4: count/" in shown
    assert "4 complete, 0 failed" in shown
    # The cursor is shown again.
    assert shown.rindex("\x1b[?25h") > shown.rindex("\x1b[?25l")


@contextmanager
def going_on(caller: Caller, folder: Path) -> Iterator[tuple[subprocess.Popen[str], Path]]:
    """A run in the middle of a trial that ends when the file given is removed."""
    going = folder / "going"
    path = folder / "long.yaml"
    path.write_text(
        "experiments:\n  - name: long\n    processes:\n      p: {role: workers, command: "
        f'"touch {going}; while [ -e {going} ]; do sleep 0.05; done"}}\n'
        f"results: {{folder: {folder}/long}}\n"
    )
    # Without deploy: two configurations of one cluster.
    text = (caller.folder / "cloister.yaml").read_text()
    (folder / "cluster.yaml").write_text(text[: text.index("deploy:")])
    process = caller.start("run", "-c", str(folder / "cluster.yaml"), "-c", str(path))
    try:
        wait_until(going.exists, "the trial has begun", 30.0)
        yield process, going
    finally:
        going.unlink(missing_ok=True)
        process.kill()
        process.communicate(timeout=30)


def test_an_interrupted_run_ends_with_status_130_and_leaves_nothing_running(
    launched: Caller, tmp_path: Path
) -> None:
    with going_on(launched, tmp_path) as (process, going):
        process.send_signal(signal.SIGINT)
        output, errors = process.communicate(timeout=30)
        assert process.returncode == 130, errors
        assert errors.splitlines()[-1] == "cloister: interrupted"
        assert "Traceback" not in errors
        assert output == ""
        wait_until(lambda: not _mentions(str(going)), "its processes are gone", 5.0)


def _mentions(text: str) -> list[str]:
    """Command lines of processes other than cloister's own that have the text in them."""
    lines = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            lines.append(path.read_bytes().replace(b"\0", b" ").decode(errors="replace"))
    return [line for line in lines if text in line and "cloister" not in line.split()[0]]


def test_a_second_command_is_told_whom_it_waits_for_and_then_gives_up(
    launched: Caller, tmp_path: Path
) -> None:
    with going_on(launched, tmp_path) as (process, _):
        called = launched("run", "-e", "count", "--wait", "0")
        assert process.poll() is None
        assert called.status == 1
        assert f"process {process.pid}" in called.stderr
        assert "`cloister run`" in called.stderr
        # With nothing to wait for, it does not say that it waits.
        assert "waiting for" not in called.stderr


def test_a_second_command_waits_its_turn(launched: Caller, tmp_path: Path) -> None:
    with going_on(launched, tmp_path) as (process, going):
        second = launched.start("sync", "--wait", "60")
        assert second.stderr is not None
        line = second.stderr.readline()
        assert "waiting for `cloister run`" in line
        assert f"process {process.pid}" in line
        going.unlink()
        _, errors = process.communicate(timeout=30)
        assert process.returncode == 0, errors
        second.communicate(timeout=60)
        assert second.returncode == 0


def test_results_that_may_not_be_written_are_named(launched: Caller, tmp_path: Path) -> None:
    if os.geteuid() == 0:
        # Nothing else is forbidden to root.
        folder = Path("/sys/results")
    else:
        folder = tmp_path / "locked" / "results"
        folder.parent.mkdir(mode=0o500)
    path = tmp_path / "results.yaml"
    path.write_text(f"results: {{folder: {folder}}}\n")
    called = launched("run", "-e", "count", "-c", "cloister.yaml", "-c", str(path))
    assert called.status == 1
    assert str(folder) in called.stderr
    assert "internal error" not in called.stderr


def test_damaged_evidence_is_a_failure_of_results_and_mended_by_run(
    launched: Caller, tmp_path: Path
) -> None:
    options = ("-e", "count", *fresh_results(launched, tmp_path))
    launched.ok("run", *options)
    launched.ok("results", "--verify", *options)
    log = next((tmp_path / "results").glob("count/*/rep-1/attempt-1/p-0@*/stdout.log"))
    log.write_bytes(log.read_bytes()[:-1])
    called = launched("results", "--verify", *options)
    assert called.status == 1
    assert str(log) in called.stderr
    assert "1 complete" in launched.ok("run", *options).stdout
    assert re.search(r"^1 +2 ", launched("results", *options).stdout, re.MULTILINE)


def test_changed_results_are_left_out_and_it_is_said(launched: Caller, tmp_path: Path) -> None:
    options = ("-e", "count", *fresh_results(launched, tmp_path))
    launched.ok("run", *options)
    text = (launched.folder / "cloister.yaml").read_text()
    edited = tmp_path / "edited.yaml"
    edited.write_text(
        text.replace("echo n {{ n }}", "echo n {{ n }} again").replace(
            "source: app", f"source: {launched.folder}/app"
        )
    )
    changed = ("-e", "count", "-c", str(edited), "-c", options[-1])
    called = launched.ok("results", *changed)
    assert "4 trials were measured with another configuration and are left out" in called.stderr
    assert "0 of 2" in called.stdout
    assert "4 were complete already" in launched.ok("run", "--accept-changed", *changed).stdout
    assert "4 complete, 0 failed" in launched.ok("run", *changed).stdout
    assert "left out" not in launched.ok("results", *changed).stderr


def test_exports_are_written(launched: Caller, tmp_path: Path) -> None:
    options = ("-e", "count", *fresh_results(launched, tmp_path))
    launched.ok("run", *options)
    out = tmp_path / "out"
    launched.ok(
        "results",
        "--export",
        "csv",
        "--export",
        "json",
        "--export",
        "parquet",
        "-o",
        str(out),
        *options,
    )
    assert {path.suffix for path in out.iterdir()} == {".csv", ".json", ".parquet"}


# --- reaching nodes ------------------------------------------------------------------------------


def test_login_gives_a_terminal_and_its_exit_status(launched: Caller) -> None:
    status, shown = launched.in_terminal(
        "login",
        "workers2",
        typed="echo $((6*7)) $CLOISTER_NODE; test -t 0 && echo is a terminal; exit 5\r",
    )
    assert status == 5, shown
    assert "42 workers2" in shown
    assert "\nis a terminal" in shown


def test_login_without_a_name_goes_to_the_manager(launched: Caller) -> None:
    status, shown = launched.in_terminal("login", typed="echo at $CLOISTER_NODE; exit\r")
    assert status == 0
    assert "at manager1" in shown


def test_equal_outputs_are_shown_once(launched: Caller) -> None:
    called = launched.ok("run-command", "echo same; echo oops >&2")
    assert called.stdout.count("same") == 1
    assert "manager1,workers[1-2]" in called.stdout
    assert called.stderr.count("oops") == 1


def test_a_command_that_fails_on_some_nodes_is_partly_done(launched: Caller) -> None:
    called = launched("run-command", "test $CLOISTER_NODE != workers2")
    assert called.status == 3
    assert "1 of 3 nodes: workers2" in called.stderr
    assert launched("run-command", "-r", "workers", "exit 4").status == 1
    assert launched("run-command", "-r", "workers", "sleep 100", "--timeout", "0.5").status == 1


@pytest.mark.parametrize(
    "line",
    ["login nobody", "run-command -r nobody true", "run-command -r worker true", "ps -r nobody"],
)
def test_a_node_or_role_that_is_not_there_is_named(line: str, launched: Caller) -> None:
    called = launched(*line.split())
    assert called.status == 2
    assert "nobody" in called.stderr or "did you mean workers" in called.stderr


def test_a_detached_process_outlives_its_command_and_can_be_ended(launched: Caller) -> None:
    launched.ok("run-command", "-r", "manager", "--detach", "server", "echo up; sleep 1000.5")
    listed = launched.ok("ps", "--json").json
    assert [(entry["node"], entry["name"], entry["running"]) for entry in listed] == [
        ("manager1", "server", True)
    ]
    assert "up" in launched.ok("ps", "--log", "server").stdout
    assert "stopped" in launched.ok("ps", "--stop", "server").stdout
    assert not _mentions("sleep 1000.5")
    assert launched("ps", "--stop", "nothing").status == 2


def test_the_names_of_the_nodes_are_on_every_node(launched: Caller) -> None:
    [cluster] = (launched.state / "clusters").iterdir()
    folders = [cluster / f"nodes/{name}/home/cloister/servers" for name in NODES]
    for folder in folders:
        (folder / "workers.txt").write_text("damaged\n")
    called = launched.ok("copy-dns")
    assert "manager1,workers[1-2]: 6 files verified" in called.stdout
    here = launched.folder / "servers"
    names = {path.name for path in here.glob("*.txt")}
    assert {"manager.txt", "workers.txt", "servers.txt", "mpi_hosts.txt"} <= names
    for folder in folders:
        assert {path.name: path.read_bytes() for path in folder.glob("*.txt")} == {
            path.name: path.read_bytes() for path in here.glob("*.txt")
        }


# --- clusters that are not as they should be -----------------------------------------------------


def test_a_node_killed_by_hand_is_seen_and_replaced(here: Caller) -> None:
    (here.folder / "cloister.yaml").write_text("cluster: {name: tiny, roles: {workers: 2}}\n")
    here.ok("launch")
    pid = int((here.state / "clusters/tiny/nodes/workers2/sshd.pid").read_text())
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: "dead" in here("ls").stdout, "ls says that it is dead")
    called = here("run-command", "true")
    assert called.status == 3
    assert "workers2" in called.stderr
    assert "cloister launch" in called.stderr
    here.ok("launch")
    assert here.ok("run-command", "echo ok").stdout.startswith("workers[1-2]")


def test_two_launches_at_once_launch_once(here: Caller) -> None:
    (here.folder / "cloister.yaml").write_text("cluster: {name: tiny, roles: {workers: 2}}\n")
    statuses: list[int] = []

    def launch() -> None:
        statuses.append(here("launch", "--wait", "60").status)

    threads = [threading.Thread(target=launch) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert statuses == [0, 0, 0]
    [listed] = json.loads(here.ok("ls", "--json").stdout)
    assert [entry["state"] for entry in listed["nodes"]] == ["running", "running"]
    assert len(_mentions(f"{here.state}/clusters/tiny/nodes/workers1/sshd_config")) == 1
