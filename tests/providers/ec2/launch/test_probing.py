"""Probes of real sockets."""

from __future__ import annotations

import contextlib
import resource
import socket
import threading
import time
from collections.abc import Iterator

import pytest

from cloister.providers.ec2.launch.probing import Probes

HOST = "127.0.0.1"
FAR_S = 30.0


@contextlib.contextmanager
def serving(says: bytes, *, after_s: float = 0.0, reset: int = 0) -> Iterator[int]:
    """A port that says this to everyone but the first `reset`, whom it leaves without a word."""
    with socket.socket() as door:
        door.bind((HOST, 0))

        def serve() -> None:
            time.sleep(after_s)
            door.listen()
            with contextlib.suppress(OSError):
                for number in range(1000):
                    visitor = door.accept()[0]
                    # A visitor who has heard enough leaves before the last letter.
                    with visitor, contextlib.suppress(OSError):
                        for at in range(len(says) if number >= reset else 0):
                            visitor.send(says[at : at + 1])

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield door.getsockname()[1]
        door.shutdown(socket.SHUT_RDWR)
    thread.join(5)


def answers(probes: Probes, count: int, within_s: float = 10.0) -> dict[str, str]:
    found = {}
    for key, why in probes.answers(time.monotonic() + within_s):
        found[key] = why
        if len(found) == count:
            break
    return found


@pytest.mark.parametrize(
    "server", [{}, {"after_s": 0.4}, {"reset": 2}], ids=["there", "there later", "resetting first"]
)
def test_an_ssh_server_is_found(server: dict) -> None:
    with (
        serving(b"SSH-2.0-x\r\n", **server) as port,
        contextlib.closing(Probes(ends_at=time.monotonic() + FAR_S)) as probes,
    ):
        probes.add("one", HOST, port)
        assert answers(probes, 1) == {"one": ""}
        assert "one" not in probes


@pytest.mark.parametrize(
    ("says", "why"), [(b"HTTP/1.1", "something else answers"), (b"", "it hangs up")]
)
def test_what_is_no_ssh_server_is_said_when_the_time_is_over(says: bytes, why: str) -> None:
    with (
        serving(says) as port,
        contextlib.closing(Probes(ends_at=time.monotonic() + 0.3)) as probes,
    ):
        probes.add("one", HOST, port)
        assert answers(probes, 1) == {"one": f"no SSH server answers: {why}"}


def test_nobody_there_is_said_too() -> None:
    with socket.socket() as closed:
        closed.bind((HOST, 0))
        with contextlib.closing(Probes(ends_at=time.monotonic() + 0.3)) as probes:
            probes.add("one", HOST, closed.getsockname()[1])
            found = answers(probes, 1)
    assert found == {"one": "no SSH server answers: Connection refused"}


def test_who_accepts_and_is_silent_holds_up_nobody() -> None:
    with socket.socket() as silent, serving(b"SSH-2.0-x") as port:
        silent.bind((HOST, 0))
        silent.listen()
        with contextlib.closing(Probes(ends_at=time.monotonic() + FAR_S)) as probes:
            probes.add("silent", HOST, silent.getsockname()[1])
            probes.add("other", HOST, port)
            assert answers(probes, 1, within_s=2.0) == {"other": ""}
            assert "silent" in probes


def test_what_was_dropped_does_not_answer() -> None:
    with (
        serving(b"SSH-2.0-x") as port,
        contextlib.closing(Probes(ends_at=time.monotonic() + FAR_S)) as probes,
    ):
        probes.add("one", HOST, port)
        probes.drop("one")
        probes.drop("never there")
        assert answers(probes, 1, within_s=0.2) == {}


def test_more_nodes_than_files_may_be_open(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (4, 4))
    with (
        serving(b"SSH-2.0-x") as port,
        contextlib.closing(Probes(ends_at=time.monotonic() + FAR_S)) as probes,
    ):
        for number in range(9):
            probes.add(str(number), HOST, port)
        assert set(answers(probes, 9).values()) == {""}
