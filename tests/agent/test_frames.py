from __future__ import annotations

import json
import math
import struct
from collections.abc import Iterator
from typing import Any

import pytest
from agent_on_pipes import HEADER, AgentOnPipes, frame
from hypothesis import example, given, settings
from hypothesis import strategies as st

from cloister.agent import core


@pytest.fixture(scope="module")
def agent() -> Iterator[AgentOnPipes]:
    with AgentOnPipes() as agent:
        agent.greet()
        yield agent


@settings(max_examples=30, deadline=None)
@given(
    payloads=st.lists(st.binary(max_size=3000), max_size=6), cuts=st.lists(st.integers(0, 20_000))
)
def test_frames_arrive_however_they_are_cut(
    agent: AgentOnPipes, payloads: list[bytes], cuts: list[int]
) -> None:
    identity = next(agent.numbers)
    stream = agent.call_frame(identity, "start", command=["cat"], stdin=True)
    stream += b"".join(frame("d", identity, payload) for payload in payloads)
    stream += frame("z", identity)
    at = 0
    for cut in [*sorted(cut for cut in cuts if cut < len(stream)), len(stream)]:
        agent.write(stream[at:cut])
        at = cut
    frames = agent.until(lambda frame: frame[0] == "q" and frame[1] == identity)
    said = b"".join(data for kind, number, data in frames if kind == "o" and number == identity)
    assert said == b"".join(payloads)
    agent.write(agent.call_frame(0, "forget", process=identity))


def test_a_ping_is_answered(agent: AgentOnPipes) -> None:
    agent.write(frame("p", 0))
    assert agent.until(lambda frame: frame[0] == "p")[-1] == ("p", 0, b"")


def test_an_unknown_operation_is_an_error_and_not_the_end(agent: AgentOnPipes) -> None:
    with pytest.raises(RuntimeError, match="no-such-thing"):
        agent.call("no-such-thing")
    assert agent.call("echo") is None


def test_an_oversized_frame_ends_the_agent() -> None:
    with AgentOnPipes() as agent:
        agent.greet()
        agent.write(HEADER.pack(core.FRAME_BYTES_MAX + 1, ord("d"), 1))
        assert agent.frame() is None
        assert agent.child.wait(10) == 0


def test_the_end_of_its_input_ends_the_agent_even_within_a_frame() -> None:
    with AgentOnPipes() as agent:
        agent.greet()
        agent.write(struct.pack(">I", 7))
        assert agent.child.stdin
        agent.child.stdin.close()
        assert agent.frame() is None
        assert agent.child.wait(10) == 0


# Lone surrogates stand for the bytes of file names that are no UTF-8.
TEXTS = st.text(st.characters(exclude_categories=[]), max_size=20)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXTS,
    lambda inner: st.lists(inner) | st.dictionaries(TEXTS, inner),
    max_leaves=20,
)


@given(value=VALUES)
@example(value=[math.inf, -math.inf, math.nan])
def test_its_json_is_read_as_the_library_reads_its_own(value: Any) -> None:
    text = core.to_json(value)
    assert text.isascii()
    assert same(json.loads(text), json.loads(json.dumps(value)))


@given(text=st.binary().map(lambda name: name.decode("utf-8", "surrogateescape")))
def test_file_names_of_any_bytes_travel_as_json(text: str) -> None:
    assert json.loads(core.to_json(text)) == text


def same(one: Any, other: Any) -> bool:
    """Equality in which not-a-number equals itself."""
    match one, other:
        case float(), float():
            return one == other or (math.isnan(one) and math.isnan(other))
        case list(), list():
            return len(one) == len(other) and all(map(same, one, other))
        case dict(), dict():
            return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    return type(one) is type(other) and one == other
