from __future__ import annotations

import dataclasses
import os
import signal
import subprocess
import threading
import time

import pytest
from eventually import eventually
from living import children, living
from sshds import listener

from cloister.errors import ConnectionLost, NodeError, Unreachable
from cloister.plan.observed import Node
from cloister.transport.links import Links
from cloister.transport.oneshot import run_once
from cloister.transport.process import Outcome


def once(links: Links, node: Node, command: str, **how: object) -> Outcome:
    return run_once(links, [node], command, **how).raise_first()[node.name]  # type: ignore[arg-type]


@pytest.mark.parametrize("status", [0, 1, 2, 125, 126, 127, 255])
def test_exit_statuses_are_told_as_they_are(links: Links, node: Node, status: int) -> None:
    outcome = once(links, node, f"exit {status}")
    assert (outcome.status, outcome.signal, outcome.ok) == (status, None, status == 0)


@pytest.mark.parametrize("name", ["SIGTERM", "SIGKILL", "SIGSEGV"])
def test_signals_are_told_by_name(links: Links, node: Node, name: str) -> None:
    outcome = once(links, node, f"kill -{int(signal.Signals[name])} $$")
    assert (outcome.status, outcome.signal, outcome.ok) == (None, name, False)


def test_output_comes_as_it_is_and_apart(links: Links, node: Node) -> None:
    outcome = once(links, node, "printf '\\377\\0out'; printf '\\376err' >&2")
    assert (outcome.stdout, outcome.stderr) == (b"\xff\0out", b"\xfeerr")


def test_much_output_on_both_sides_arrives_whole(links: Links, node: Node) -> None:
    command = "seq 200000; seq 200000 >&2 & seq 200000; wait"
    outcome = once(links, node, command)
    numbers = b"".join(b"%d\n" % number for number in range(1, 200_001))
    assert outcome.stdout == numbers * 2
    assert outcome.stderr == numbers


@pytest.mark.parametrize(
    "command",
    [
        "echo 'a  \"b\"' $((1 + 1)) \\$x",
        "echo a\necho b",
        "cat <<EOF\nhere $((2))\nEOF",
        "[[ a == a ]] && echo bash",
        "# only",
    ],
)
def test_any_text_runs_as_in_bash(links: Links, node: Node, command: str) -> None:
    expected = subprocess.run(["bash", "-c", command], capture_output=True)
    outcome = once(links, node, command)
    assert (outcome.status, outcome.stdout) == (expected.returncode, expected.stdout)


def test_it_runs_in_the_work_folder_with_marks_and_no_input(links: Links, node: Node) -> None:
    odd = dataclasses.replace(node, work_folder=node.work_folder + "/a b'c")
    outcome = once(links, odd, 'pwd; echo "$MARK"; cat', env={"MARK": 'it\'s "here"'})
    assert outcome.stdout.decode().splitlines()[0].endswith("a b'c")
    assert outcome.stdout.decode().splitlines()[1:] == ['it\'s "here"']


def test_every_node_is_reported(links: Links, nodes: tuple[Node, ...]) -> None:
    absent = dataclasses.replace(nodes[0], name="absent", port=1)
    said: list[tuple[str, str, bytes]] = []
    result = run_once(
        links,
        [*nodes, absent],
        "echo x",
        on_output=lambda *what: said.append((what[0].name, *what[1:])),
    )
    assert list(result.values) == [node.name for node in nodes]
    assert isinstance(result.errors["absent"], Unreachable)
    assert sorted(said) == [(node.name, "stdout", b"x\n") for node in nodes]


def test_a_time_out_ends_the_whole_tree(links: Links, node: Node, mark: str) -> None:
    began = time.monotonic()
    command = f"echo first; setsid sh -c 'sleep 300; : {mark}' & sleep 300; : {mark}"
    outcome = once(links, node, command, timeout_s=0.5)
    assert time.monotonic() - began < 10
    assert (outcome.timed_out, outcome.ok, outcome.status) == (True, False, None)
    assert outcome.stdout == b"first\n"
    eventually(lambda: not living(mark), within_s=2, what="the tree is gone")


def test_a_background_job_that_holds_the_output_is_ended_with_the_command(
    links: Links, node: Node, mark: str
) -> None:
    began = time.monotonic()
    outcome = once(links, node, f"(sleep 300; : {mark}) & echo done")
    assert time.monotonic() - began < 10
    assert (outcome.status, outcome.stdout) == (0, b"done\n")
    eventually(lambda: not living(mark), within_s=2, what="the job is gone")


def test_a_work_folder_that_cannot_be_made_is_an_error(links: Links, node: Node) -> None:
    nowhere = dataclasses.replace(node, work_folder="/proc/nowhere")
    with pytest.raises(NodeError, match="/proc/nowhere"):
        once(links, nowhere, "true")


def test_a_lost_connection_is_no_outcome(own_node: Node, mark: str) -> None:
    with Links() as links:
        links.connection(own_node)
        (session,) = children(listener(own_node))

        def kill() -> None:
            eventually(lambda: living(mark))
            os.kill(session, signal.SIGKILL)

        threading.Thread(target=kill).start()
        with pytest.raises(ConnectionLost):
            once(links, own_node, f"sleep 300; : {mark}")
        eventually(lambda: not living(mark), within_s=2, what="the command is gone")
