from __future__ import annotations

import contextlib
import dataclasses
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest
import sshds
from eventually import eventually
from living import children

from cloister.cluster import Cluster
from cloister.errors import HostKeyChanged, Unreachable
from cloister.plan.observed import Node
from cloister.transport.connection import connect
from cloister.transport.links import Links

OTHER_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIKGmAsbnZaG4eZ2XyTQhmfn2lMvCnCYAHDBCyYCS1Bl1"


def changed(node: Node, **fields: object) -> Node:
    return dataclasses.replace(node, **fields)  # type: ignore[arg-type]


# --- host keys -----------------------------------------------------------------------------------


# How sshd words it depends on how far it was when we went.
GONE = re.compile("Connection (closed|reset) by")


def test_another_host_key_is_refused_before_anything_is_sent(own_node: Node) -> None:
    sshds.configure(own_node, "LogLevel DEBUG1")
    with pytest.raises(HostKeyChanged, match="is not the pinned one") as raised:
        connect(changed(own_node, host_key=OTHER_KEY), pin=never)
    assert raised.value.node == own_node.name
    assert raised.value.hint
    told = eventually(
        lambda: log if GONE.search(log := sshds.log(own_node)) else "",
        what="sshd saw us go",
    )
    assert "Connection from" in told
    assert not re.search(r"Accepted|Failed|Invalid user|Postponed|userauth-request", told)


def test_a_key_of_another_kind_is_refused_too(node: Node) -> None:
    kind = "ecdsa-sha2-nistp256"
    point = (
        "AAAAE2VjZHNhLXNoYTItbmlzdHAyNTYAAAAIbmlzdHAyNTYAAABBBEmKSENjQEezOmxkZMy7opKgwFB9nkt5YRrYMjNuG5N87uRgg6CLrbo5wAdT"
        "/y6v0mKV0U2w0WZ2YB/++Tpockg="
    )
    with pytest.raises(HostKeyChanged):
        connect(changed(node, host_key=f"{kind} {point}"))


def never(node: Node, key: str) -> None:
    raise AssertionError("pinned")


def test_an_unknown_host_key_is_refused(node: Node) -> None:
    with pytest.raises(HostKeyChanged, match="no host key is pinned"):
        connect(changed(node, host_key=""))


def test_on_first_contact_the_key_is_pinned_once(node: Node) -> None:
    pinned: list[tuple[str, str]] = []
    with Links(pin=lambda node, key: pinned.append((node.name, key))) as links:
        new = changed(node, host_key="")
        links.connection(new)
        links.channel(new)
        assert links.run([new], "true").values[node.name].ok
    assert pinned == [(node.name, " ".join(node.host_key.split()[:2]))]


def test_the_pinned_key_is_accepted_with_its_comment(node: Node) -> None:
    connect(changed(node, host_key=node.host_key + " root@somewhere else"), pin=never).close()


# --- what goes wrong -----------------------------------------------------------------------------


def test_a_wrong_key_is_said_and_not_tried_again(own_node: Node, tmp_path: Path) -> None:
    sshds.configure(own_node, "LogLevel VERBOSE")
    key = tmp_path / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
    with pytest.raises(Unreachable, match="refuses the login") as raised:
        connect(changed(own_node, key=str(key)))
    assert "key" in raised.value.hint
    assert sshds.log(own_node).count("Connection from") == 1


def test_a_key_file_that_is_missing_is_said(node: Node, tmp_path: Path) -> None:
    with pytest.raises(Unreachable, match="missing"):
        connect(changed(node, key=str(tmp_path / "missing")))


def test_an_unknown_user_is_said(node: Node) -> None:
    with pytest.raises(Unreachable, match=r"nobody-at-all@.* refuses the login"):
        connect(changed(node, user="nobody-at-all"))


def test_a_refused_port_is_said_at_once(node: Node) -> None:
    began = time.monotonic()
    with pytest.raises(Unreachable, match=r"cannot connect to .*:1: "):
        connect(changed(node, port=1))
    assert time.monotonic() - began < 2


def test_a_name_that_does_not_resolve_is_said(node: Node) -> None:
    with pytest.raises(Unreachable, match=r"no-such-host\.invalid"):
        connect(changed(node, address="no-such-host.invalid"))


def test_an_sshd_that_hangs_is_given_up_in_time(own_node: Node) -> None:
    os.kill(sshds.listener(own_node), signal.SIGSTOP)
    try:
        began = time.monotonic()
        with pytest.raises(Unreachable, match="no answer within 1 s"):
            connect(changed(own_node, connect_timeout_s=1.0))
        assert time.monotonic() - began < 6
    finally:
        os.kill(sshds.listener(own_node), signal.SIGCONT)


@contextlib.contextmanager
def server(answer: Callable[[socket.socket], None]) -> Iterator[int]:
    """A port on which every connection is given to `answer`."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def accept() -> None:
            while True:
                try:
                    taken, _ = listening.accept()
                except OSError:
                    return
                with taken, contextlib.suppress(OSError):
                    answer(taken)

        threading.Thread(target=accept, daemon=True).start()
        yield listening.getsockname()[1]
        listening.shutdown(socket.SHUT_RDWR)


def test_something_that_is_no_sshd_is_said(node: Node) -> None:
    with (
        server(lambda taken: taken.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")) as port,
        pytest.raises(Unreachable, match="banner"),
    ):
        connect(changed(node, address="127.0.0.1", port=port))


def test_a_server_that_greets_and_then_says_nothing_is_given_up_in_time(node: Node) -> None:
    def answer(taken: socket.socket) -> None:
        taken.sendall(b"SSH-2.0-Quiet\r\n")
        taken.recv(1)
        time.sleep(8)

    began = time.monotonic()
    with server(answer) as port, pytest.raises(Unreachable, match="no answer within 1 s"):
        connect(changed(node, address="127.0.0.1", port=port, connect_timeout_s=1.0))
    assert time.monotonic() - began < 6


def test_connections_that_sshd_drops_at_random_are_tried_again(own_node: Node) -> None:
    """A tenth of all connections is dropped while another one has not logged in yet.

    With more, six attempts of one connection would sometimes all be dropped, and the test fail by chance.
    """
    sshds.configure(own_node, "MaxStartups 1:10:1000\nLogLevel DEBUG1")
    with socket.create_connection((own_node.address, own_node.port or 22)) as waiting:
        assert waiting.recv(4) == b"SSH-"
        for _ in range(200):
            connect(own_node).close()
            if "drop connection" in sshds.log(own_node):
                break
        else:
            pytest.fail("sshd dropped none of 200 connections")


def test_a_dead_node_does_not_hold_up_the_others(links: Links, nodes: tuple[Node, ...]) -> None:
    dead = changed(nodes[0], name="dead", port=1)
    result = links.open_all([dead, *nodes])
    assert list(result.errors) == ["dead"]
    assert isinstance(result.errors["dead"], Unreachable)
    assert list(result.values) == [node.name for node in nodes]


# --- the user's own ssh configuration ------------------------------------------------------------

SCRIPT = """
import sys
from cloister.plan.observed import Node
from cloister.transport.links import Links
name, host_key, gateway = sys.argv[1:4]
node = Node(name="n", roles=("n",), number=1, address=name, private_address=name,
            host_key=host_key, gateway=gateway or None)
with Links() as links:
    outcome = links.run([node], "echo reached $CLOISTER_NODE from ${SSH_CONNECTION%% *}").raise_first()["n"]
    sys.stdout.write(outcome.stdout.decode())
"""


def reached(
    home: Path, name: str, host_key: str, *, gateway: str = "", environment: Mapping[str, str] = {}
) -> subprocess.CompletedProcess[str]:
    """What a process of its own with this home reaches: Fabric reads ~/.ssh/config once."""
    variables = {key: value for key, value in os.environ.items() if not key.startswith("SSH_")}
    return subprocess.run(
        [sys.executable, "-c", SCRIPT, name, host_key, gateway],
        env={**variables, "HOME": str(home), **environment},
        capture_output=True,
        text=True,
        timeout=60,
    )


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "home" / ".ssh").mkdir(parents=True)
    return tmp_path / "home"


def block(name: str, node: Node, *, key: bool = True, more: str = "") -> str:
    identity = f"IdentityFile {node.key}\n" if key else ""
    return f"Host {name}\nHostName {node.address}\nPort {node.port}\nUser {node.user}\n{identity}{more}\n"


def test_what_the_users_ssh_config_says_is_honoured(home: Path, node: Node) -> None:
    (home / ".ssh" / "config").write_text(block("bench", node))
    told = reached(home, "bench", node.host_key)
    assert told.stdout.startswith("reached n from"), told.stderr


def test_without_the_ssh_config_the_same_name_is_unknown(home: Path, node: Node) -> None:
    assert "Unreachable" in reached(home, "bench.invalid", node.host_key).stderr


@pytest.mark.parametrize("where", ["configuration", "node"])
def test_a_node_is_reached_through_another(home: Path, nodes: tuple[Node, ...], where: str) -> None:
    gate, behind = nodes[:2]
    jump = "ProxyJump gate" if where == "configuration" else ""
    (home / ".ssh" / "config").write_text(block("gate", gate) + block("behind", behind, more=jump))
    before = sshds.log(gate).count("Accepted")
    gateway = "gate" if where == "node" else ""
    told = reached(home, "behind", behind.host_key, gateway=gateway)
    assert told.stdout.startswith("reached n from"), told.stderr
    assert sshds.log(gate).count("Accepted") > before


def test_behind_a_gateway_the_host_key_is_checked_all_the_same(
    home: Path, nodes: tuple[Node, ...]
) -> None:
    gate, behind = nodes[:2]
    config = block("gate", gate) + block("behind", behind, more="ProxyJump gate")
    (home / ".ssh" / "config").write_text(config)
    assert "HostKeyChanged" in reached(home, "behind", OTHER_KEY).stderr


def test_a_gateway_with_another_key_than_the_user_knows_is_refused(
    home: Path, nodes: tuple[Node, ...]
) -> None:
    gate, behind = nodes[:2]
    config = block("gate", gate) + block("behind", behind, more="ProxyJump gate")
    (home / ".ssh" / "config").write_text(config)
    (home / ".ssh" / "known_hosts").write_text(f"[{gate.address}]:{gate.port} {OTHER_KEY}\n")
    assert "HostKeyChanged" in reached(home, "behind", behind.host_key).stderr


def test_a_gateway_that_cannot_be_reached_is_an_error_of_the_node(
    home: Path, nodes: tuple[Node, ...]
) -> None:
    gate = changed(nodes[0], port=1)
    config = block("gate", gate) + block("behind", nodes[1], more="ProxyJump gate")
    (home / ".ssh" / "config").write_text(config)
    assert "Unreachable" in reached(home, "behind", nodes[1].host_key).stderr


@pytest.fixture
def ssh_agent(tmp_path: Path) -> Iterator[Path]:
    """The socket of an SSH agent that has no keys yet."""
    place = tmp_path / "agent"
    with subprocess.Popen(
        ["ssh-agent", "-D", "-a", place], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        try:
            eventually(place.exists, what="the SSH agent listens")
            yield place
        finally:
            process.kill()


def test_a_key_in_the_users_ssh_agent_is_used(home: Path, node: Node, ssh_agent: Path) -> None:
    (home / ".ssh" / "config").write_text(block("bench", node, key=False))
    environment = {"SSH_AUTH_SOCK": str(ssh_agent)}
    assert "Unreachable" in reached(home, "bench", node.host_key, environment=environment).stderr
    assert node.key
    subprocess.run(
        ["ssh-add", "-q", node.key],
        env={**os.environ, **environment},
        check=True,
        capture_output=True,
    )
    told = reached(home, "bench", node.host_key, environment=environment)
    assert told.stdout.startswith("reached n from"), told.stderr


def test_a_key_with_a_passphrase_is_used_through_the_ssh_agent(
    cluster: Cluster, node: Node, ssh_agent: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert node.key
    locked = tmp_path / "locked"
    locked.write_bytes(Path(node.key).read_bytes())
    locked.chmod(0o600)
    subprocess.run(["ssh-keygen", "-q", "-p", "-P", "", "-N", "secret", "-f", locked], check=True)
    with pytest.raises(Unreachable):
        connect(changed(node, key=str(locked)))
    monkeypatch.setenv("SSH_AUTH_SOCK", str(ssh_agent))
    subprocess.run(["ssh-add", "-q", node.key], check=True, capture_output=True)
    connect(changed(node, key=str(locked))).close()


def test_many_threads_connect_at_once(cluster: Cluster) -> None:
    nodes = [
        changed(node, name=f"{node.name}-{number}") for node in cluster.nodes for number in range(8)
    ]
    with Links() as links:
        result = links.open_all(nodes)
        assert not result.errors, next(iter(result.errors.values()))
        outcomes = links.run(nodes, "echo $CLOISTER_NODE").raise_first()
    assert [outcome.stdout.decode().strip() for outcome in outcomes.values()] == list(outcomes)


def test_closing_ends_every_session(own_node: Node) -> None:
    links = Links()
    links.channel(own_node)
    assert children(sshds.listener(own_node))
    links.close()
    eventually(lambda: not children(sshds.listener(own_node)), what="sshd's sessions are gone")
    links.close()
