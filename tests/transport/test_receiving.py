"""The client's end of a channel against a session that says what a test wants."""

from __future__ import annotations

import json
import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloister.errors import ConnectionLost, NodeError, NoPython, Refused
from cloister.plan.observed import Node
from cloister.transport import bundle
from cloister.transport.channel import Channel
from cloister.transport.process import Process

NODE = Node(name="n1", roles=("n",), number=1, address="127.0.0.1", private_address="127.0.0.1")
HEADER = struct.Struct(">IBI")
OUTCOME = struct.Struct(">iiIddddQ")
GREETING = bundle.HELLO + b"3.11\0B"


class Session:
    """The side of a paramiko channel that is read, with its data given piece by piece."""

    def __init__(self) -> None:
        self.pieces: list[bytes] = []
        self.sent = bytearray()
        self.eof_received = False
        self.closed = False
        self.in_buffer = self

    def read_ready(self) -> bool:
        return bool(self.pieces)

    def recv_ready(self) -> bool:
        return bool(self.pieces)

    def recv(self, size: int) -> bytes:
        return self.pieces.pop(0)

    def sendall(self, data: bytes) -> None:
        self.sent += data

    def exit_status_ready(self) -> bool:
        return False

    def recv_stderr_ready(self) -> bool:
        return False

    def close(self) -> None:
        self.closed = True


class Post:
    def add(self, channel: Channel, session: Any) -> None: ...

    def remove(self, channel: Channel) -> None: ...


def channel_on(session: Session) -> Channel:
    channel = Channel(NODE, None, Post())  # type: ignore[arg-type]
    channel._ssh = session
    return channel


def greeted() -> tuple[Channel, Session]:
    session = Session()
    channel = channel_on(session)
    say(channel, session, GREETING)
    return channel, session


def say(channel: Channel, session: Session, *pieces: bytes) -> None:
    for piece in pieces:
        session.pieces.append(piece)
        channel.receive()


def frame(kind: str, identity: int, payload: bytes = b"") -> bytes:
    return HEADER.pack(len(payload), ord(kind), identity) + payload


def ended(status: int = 0, signal: int = 0) -> bytes:
    return OUTCOME.pack(status, signal, 0, 1.0, 2.0, 0.1, 0.2, 1000)


def cut(stream: bytes, places: list[int]) -> list[bytes]:
    ends = [*sorted(place for place in places if 0 < place < len(stream)), len(stream)]
    return [stream[start:end] for start, end in zip([0, *ends], ends, strict=False)]


@given(
    noise=st.binary(max_size=50).filter(lambda noise: b"\0" not in noise),
    said=st.lists(st.tuples(st.sampled_from("ox"), st.binary(max_size=300)), max_size=8),
    places=st.lists(st.integers(0, 3000)),
)
def test_frames_are_taken_however_they_are_cut(
    noise: bytes, said: list[tuple[str, bytes]], places: list[int]
) -> None:
    session = Session()
    channel = channel_on(session)
    process = Process(channel, 7, None, None)
    channel._waiting[7] = process
    stream = noise + GREETING + frame("s", 7, struct.pack(">I", 99))
    stream += b"".join(frame(kind, 7, data) for kind, data in said) + frame("q", 7, ended(3))
    say(channel, session, *cut(stream, places))
    outcome = process.wait(0)
    assert (process.pid, outcome.status) == (99, 3)
    assert outcome.stdout == b"".join(data for kind, data in said if kind == "o")
    assert outcome.stderr == b"".join(data for kind, data in said if kind == "x")


def test_an_oversized_frame_loses_the_channel() -> None:
    channel, session = greeted()
    pending = channel.begin("echo")
    say(channel, session, HEADER.pack(1 << 27, ord("r"), 1))
    with pytest.raises(ConnectionLost, match="protocol"):
        pending.wait(0)
    assert not channel.is_open


@pytest.mark.parametrize(
    "broken",
    [
        frame("r", 1, b"{no json"),
        frame("e", 1, b"[]"),
        frame("e", 1, b'{"kind": "os"}'),
        frame("q", 2, b"short"),
    ],
)
def test_a_reply_that_cannot_be_read_loses_the_channel_with_a_reason(broken: bytes) -> None:
    channel, session = greeted()
    pending = channel.begin("echo")
    process = channel.start("true")
    say(channel, session, broken)
    with pytest.raises(ConnectionLost, match="protocol"):
        pending.wait(0)
    with pytest.raises(ConnectionLost, match="protocol"):
        process.wait(0)


def test_frames_for_nobody_and_of_unknown_kinds_are_passed_over() -> None:
    channel, session = greeted()
    pending = channel.begin("echo")
    say(channel, session, frame("o", 99, b"late") + frame("?", 1) + frame("r", 1, b"5"))
    assert pending.wait(0) == 5


def test_a_version_that_is_none_is_no_greeting() -> None:
    session = Session()
    channel = channel_on(session)
    say(channel, session, bundle.HELLO + b"none\0")
    assert not channel.is_open


def test_an_old_python_is_named() -> None:
    session = Session()
    channel = channel_on(session)
    say(channel, session, bundle.HELLO + b"3.6\0")
    with pytest.raises(NoPython, match=r"3\.6"):
        channel.send("p", 0)


@pytest.mark.parametrize(
    ("kind", "error"), [("os", Refused), ("not ready", NodeError), ("bug", NodeError)]
)
def test_an_error_of_the_node_names_the_node(kind: str, error: type[NodeError]) -> None:
    channel, session = greeted()
    pending = channel.begin("echo")
    detail = {"kind": kind, "message": "no space", "errno": 28}
    say(channel, session, frame("e", 1, json.dumps(detail).encode()))
    with pytest.raises(error, match=r"n1: .*no space") as raised:
        pending.wait(0)
    assert raised.value.node == "n1"


def test_the_end_of_the_session_fails_everything_that_waits() -> None:
    channel, session = greeted()
    pending, process = channel.begin("echo"), channel.start("true")
    session.eof_received = True
    channel.receive()
    for waiting in (pending, process):
        with pytest.raises(ConnectionLost):
            waiting.wait(0)
    with pytest.raises(ConnectionLost):
        channel.start("true")


def test_a_sink_that_fails_fails_its_own_process_alone() -> None:
    channel, session = greeted()

    def sink(data: bytes) -> None:
        raise BrokenPipeError("nobody reads this")

    broken, sound = channel.start("a", on_stdout=sink), channel.start("b")
    say(channel, session, frame("o", 1, b"1") + frame("o", 2, b"2"))
    say(channel, session, frame("q", 1, ended()) + frame("q", 2, ended()))
    with pytest.raises(BrokenPipeError):
        broken.wait(0)
    assert sound.wait(0).stdout == b"2"
