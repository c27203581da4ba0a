from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import pytest

from cloister.errors import CloisterError
from cloister.plan.observed import Node
from cloister.transport.channel import Channel
from cloister.transport.links import Links
from cloister.transport.process import Process

# Listens after a moment, and writes a line for each connection that it gets.
SERVER = """
import socket, sys, time
time.sleep(0.2)
listening = socket.socket(socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET)
listening.bind((sys.argv[1], int(sys.argv[2])))
listening.listen()
print("port", listening.getsockname()[1], flush=True)
while True:
    taken, _ = listening.accept()
    print("connection", flush=True)
    if taken.recv(1000):
        taken.sendall(sys.argv[3].encode() + b"\\r\\nContent-Length: 0\\r\\nConnection: close\\r\\n\\r\\n")
    taken.close()
"""


def until(process: Process, kind: str, value: Any, *, within_s: float = 20.0, **more: Any) -> float:
    seconds: float = process.channel.call(
        "until",
        timeout_s=within_s + 20,
        process=process.identity,
        kind=kind,
        value=value,
        within_s=within_s,
        **more,
    )
    return seconds


def serve(channel: Channel, address: str, port: int, answer: str = "HTTP/1.0 200 OK") -> Process:
    return channel.start(["python3", "-c", SERVER, address, str(port), answer], stdout="server.log")


def port_of(node: Node, offset: int) -> int:
    """Nodes have addresses of their own, so that any port of them is free; every test uses another."""
    return 20_000 + offset


def test_a_port_is_seen_without_being_connected_to(
    channel: Channel, node: Node, folder: Path
) -> None:
    process = serve(channel, node.address, port_of(node, 1))
    took_s = until(process, "port", port_of(node, 1), address=node.address)
    assert 0.15 < took_s < 15
    time.sleep(0.1)
    assert (folder / "server.log").read_text() == f"port {port_of(node, 1)}\n"
    process.stop()


@pytest.mark.parametrize("address", ["0.0.0.0", "::", "::ffff:{own}"])
def test_a_port_on_a_wildcard_address_counts(
    channel: Channel, node: Node, folder: Path, address: str
) -> None:
    process = serve(channel, address.format(own=node.address), 0)
    until(process, "log", "port", logs=["server.log"])
    port = int((folder / "server.log").read_text().split()[1])
    until(process, "port", port, address=node.address, within_s=5)
    process.stop()


def test_a_port_on_another_address_does_not_count(
    channel: Channel, nodes: tuple[Node, ...]
) -> None:
    process = serve(channel, nodes[1].address, port_of(nodes[1], 2))
    until(process, "port", port_of(nodes[1], 2), address=nodes[1].address)
    with pytest.raises(CloisterError, match=r"not ready within 0\.3 s"):
        until(process, "port", port_of(nodes[1], 2), address=nodes[0].address, within_s=0.3)
    process.stop()


def test_a_line_of_the_log_is_found_across_the_borders_of_what_is_read(
    channel: Channel,
) -> None:
    script = (
        "head -c 1048570 /dev/zero | tr '\\0' x; echo; head -c 3000000 /dev/zero | tr '\\0' y;"
        " printf ' serv'; sleep 0.2; printf 'ing on '; sleep 0.2; echo 8080; sleep 300"
    )
    process = channel.start(script, stdout="log")
    assert until(process, "log", r"serving on \d+", logs=["log"]) > 0.3
    process.stop()


def test_any_of_several_logs_will_do_and_one_that_is_not_there_yet(channel: Channel) -> None:
    process = channel.start("sleep 0.2; mkdir in; echo ready > in/late; sleep 300", stdout="out")
    until(process, "log", "^ready$", logs=["out", "in/late"])
    process.stop()


def test_a_prompt_without_an_end_of_line_is_found(channel: Channel) -> None:
    process = channel.start("printf 'name: '; sleep 300", stdout="out")
    until(process, "log", "name: $", logs=["out"])
    process.stop()


def test_a_pattern_matches_bytes_that_are_no_text(channel: Channel) -> None:
    process = channel.start("printf '\\377 ready ü\\n'; sleep 300", stdout="out")
    until(process, "log", "ready ü", logs=["out"])
    process.stop()


def test_a_file_is_waited_for(channel: Channel) -> None:
    process = channel.start("sleep 0.3; touch up; sleep 300")
    assert until(process, "file", "up") > 0.2
    process.stop()


def test_a_url_is_waited_for_until_it_answers_well(channel: Channel, node: Node) -> None:
    good, bad = port_of(node, 3), port_of(node, 4)
    fine = serve(channel, node.address, good)
    broken = serve(channel, node.address, bad, answer="HTTP/1.0 503 Not yet")
    until(fine, "http", f"http://{node.address}:{good}/")
    until(broken, "port", bad, address=node.address)
    with pytest.raises(CloisterError, match="not ready within"):
        until(broken, "http", f"http://{node.address}:{bad}/", within_s=0.5)
    fine.stop()
    broken.stop()


def test_a_command_is_waited_for_until_it_succeeds(channel: Channel) -> None:
    process = channel.start("sleep 0.3; echo yes > answer; sleep 300")
    until(process, "command", "grep -q yes answer")
    process.stop()


NEVER = pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("port", 1),
        ("log", "never"),
        ("file", "never"),
        ("http", "http://127.0.0.1:1/"),
        ("command", "false"),
    ],
)


@NEVER
def test_what_never_becomes_ready_is_told_so_in_time(
    channel: Channel, kind: str, value: Any
) -> None:
    process = channel.start("sleep 300", stdout="out")
    began = time.monotonic()
    with pytest.raises(CloisterError, match=r"not ready within 0\.4 s"):
        until(process, kind, value, within_s=0.4, logs=["out"])
    assert time.monotonic() - began < 10
    assert not process.is_over
    process.stop()


@NEVER
def test_what_ends_before_it_is_ready_is_told_so_at_once(
    channel: Channel, kind: str, value: Any
) -> None:
    process = channel.start("sleep 0.2; exit 3", stdout="out")
    began = time.monotonic()
    with pytest.raises(CloisterError, match="ended before it was ready"):
        until(process, kind, value, within_s=30, logs=["out"])
    assert time.monotonic() - began < 10
    assert process.wait(5).status == 3


def test_what_says_that_it_is_ready_and_ends_was_ready(channel: Channel) -> None:
    process = channel.start("echo ready", stdout="out")
    process.wait(10)
    until(process, "log", "ready", logs=["out"])


def test_a_command_that_hangs_holds_up_neither_the_others_nor_the_time_limit(
    channel: Channel,
) -> None:
    process = channel.start("sleep 300", stdout="out")
    told: list[str] = []

    def wait() -> None:
        with pytest.raises(CloisterError, match="not ready"):
            until(process, "command", "sleep 299", within_s=1.0)
        told.append("in time")

    waiting = threading.Thread(target=wait)
    waiting.start()
    assert channel.start("echo meanwhile").wait(10).stdout == b"meanwhile\n"
    waiting.join(20)
    assert told == ["in time"]


def test_several_processes_become_ready_at_once(links: Links, nodes: tuple[Node, ...]) -> None:
    processes = [
        links.channel(node).start("sleep 0.2; touch up-$CLOISTER_NODE; sleep 300") for node in nodes
    ]
    for process in processes:
        until(process, "file", f"up-{process.channel.node.name}")
        process.stop()
