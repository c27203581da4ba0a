from __future__ import annotations

import threading
import time

import pytest
from eventually import eventually

from cloister.errors import CloisterError, NodeError, Unreachable
from cloister.plan.observed import Node
from cloister.transport.fanout import FanOut, fan_out


def nodes(count: int) -> list[Node]:
    return [
        Node(name=f"n{i}", roles=("n",), number=i, address="a", private_address="a")
        for i in range(1, count + 1)
    ]


def test_values_come_in_the_order_of_the_nodes() -> None:
    def work(node: Node) -> int:
        time.sleep(0.001 * (10 - node.number))
        return node.number

    result = fan_out(nodes(9), work)
    assert list(result.values.items()) == [(f"n{i}", i) for i in range(1, 10)]
    assert result.errors == {}


def test_no_more_than_at_once_are_worked_on() -> None:
    lock, inside, most = threading.Lock(), set[str](), [0]

    def work(node: Node) -> None:
        with lock:
            inside.add(node.name)
            most[0] = max(most[0], len(inside))
        time.sleep(0.005)
        with lock:
            inside.discard(node.name)

    fan_out(nodes(40), work, at_once=7)
    assert most[0] == 7


def test_all_are_worked_on_at_once_when_they_may_be() -> None:
    together = threading.Barrier(20)
    result = fan_out(nodes(20), lambda node: together.wait(20), at_once=20)
    assert len(result.values) == 20


def test_the_error_of_a_node_is_its_result_and_the_others_go_on() -> None:
    def work(node: Node) -> str:
        if node.number % 2:
            raise Unreachable(node.name, "no answer")
        return "ok"

    result = fan_out(nodes(6), work)
    assert list(result.values) == ["n2", "n4", "n6"]
    assert list(result.errors) == ["n1", "n3", "n5"]
    assert all(isinstance(error, Unreachable) for error in result.errors.values())


def test_who_is_not_through_by_the_deadline_is_named() -> None:
    release, begun = threading.Event(), set[str]()

    def work(node: Node) -> str:
        begun.add(node.name)
        if node.number in (2, 3):
            release.wait(30)
        return "ok"

    began = time.monotonic()
    result = fan_out(nodes(5), work, at_once=5, deadline_s=0.3)
    assert time.monotonic() - began < 5
    assert list(result.values) == ["n1", "n4", "n5"]
    assert [str(error) for error in result.errors.values()] == [
        "n2: not done within 0.3 s",
        "n3: not done within 0.3 s",
    ]
    release.set()


def test_after_the_deadline_no_further_node_is_begun() -> None:
    release, begun = threading.Event(), list[str]()

    def work(node: Node) -> None:
        begun.append(node.name)
        release.wait(30)

    before = threading.active_count()
    result = fan_out(nodes(10), work, at_once=2, deadline_s=0.1)
    assert len(result.errors) == 10
    release.set()
    eventually(lambda: threading.active_count() <= before, what="the threads end")
    assert len(begun) == 2


def test_a_bug_is_raised_when_the_work_in_hand_has_ended() -> None:
    ended = list[str]()

    def work(node: Node) -> None:
        if node.number == 1:
            raise ZeroDivisionError("a bug")
        time.sleep(0.02)
        ended.append(node.name)

    with pytest.raises(ZeroDivisionError, match="a bug"):
        fan_out(nodes(4), work)
    assert sorted(ended) == ["n2", "n3", "n4"]


def test_done_is_told_of_each_node_in_the_callers_thread() -> None:
    told: dict[str, object] = {}
    threads = set[threading.Thread]()

    def done(node: Node, result: object) -> None:
        told[node.name] = result
        threads.add(threading.current_thread())

    def work(node: Node) -> int:
        if node.number == 2:
            raise NodeError(node.name, "no")
        return node.number

    fan_out(nodes(3), work, done=done)
    assert (told["n1"], told["n3"]) == (1, 3)
    assert isinstance(told["n2"], NodeError)
    assert threads == {threading.current_thread()}


def test_no_nodes_are_no_work() -> None:
    assert fan_out([], lambda node: 1) == FanOut(values={}, errors={})


def test_the_first_error_is_raised_and_all_who_failed_are_named() -> None:
    errors = {f"w{i}": NodeError(f"w{i}", "disk full", hint="make room") for i in (1, 2, 3, 7)}
    with pytest.raises(
        CloisterError, match=r"4 nodes failed \(w\[1-3,7\]\); the first: w1: disk full"
    ) as all_:
        FanOut(values={}, errors=errors).raise_first()
    assert all_.value.hint == "make room"
    with pytest.raises(NodeError, match="w7: disk full"):
        FanOut(values={}, errors={"w7": errors["w7"]}).raise_first()
    assert FanOut(values={"w1": 1}, errors={}).raise_first() == {"w1": 1}
