"""download-logs, erase-logs and erase-all-logs as they are typed."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from calling import Caller

STAMP = "01312026_1200"
FOLDER = "experiments/cpp/ring"


@pytest.fixture
def logged(launched: Caller) -> Iterator[Caller]:
    """Logs of one run on every node of `launched`, and of the next minute on the manager."""
    command = (
        f"mkdir -p {FOLDER}; echo x > {FOLDER}/worker0_{STAMP}.log; echo x > {FOLDER}/old_01010000_0000.log; "
        f"touch -d 2001-01-01 {FOLDER}/old_01010000_0000.log"
    )
    launched.ok("run-command", command)
    launched.ok("run-command", "-r", "manager", f"echo m > {FOLDER}/manager_01312026_1201.log")
    yield launched
    launched.ok("run-command", "rm -rf experiments")


def there(caller: Caller) -> set[str]:
    [cluster] = (caller.state / "clusters").iterdir()
    folder = cluster / "nodes"
    return {
        f"{path.parents[5].name}/{path.name}"
        for path in folder.rglob("*.log")
        if FOLDER in str(path)
    }


def test_logs_come_to_a_folder_for_each_node_and_the_managers_newest_too(logged: Caller) -> None:
    called = logged.ok("download-logs", "ring", STAMP)
    into = logged.folder / f"logs_ring_{STAMP}"
    assert {str(path.relative_to(into)) for path in into.rglob("*.log")} == {
        f"manager1/worker0_{STAMP}.log",
        "manager1/manager_01312026_1201.log",
        f"workers1/worker0_{STAMP}.log",
        f"workers2/worker0_{STAMP}.log",
    }
    assert f"workers[1-2]: worker0_{STAMP}.log" in called.stdout
    assert "manager1: manager_01312026_1201.log for being among its newest" in called.stdout
    assert "4 logs verified" in called.stdout
    data = logged.ok("download-logs", "ring", STAMP, "--json").json
    assert data["newest"] == ["manager_01312026_1201.log"]


def test_nothing_found_is_an_error_that_says_where_it_looked_and_what_there_is(
    logged: Caller,
) -> None:
    called = logged("download-logs", "ring", "01312026_1159")
    assert called.status == 1
    assert (
        "experiments/cpp/ring below the work folder, and ~/clamor/experiments/cpp/ring"
        in called.stderr
    )
    assert f"there are logs of 01010000_0000, {STAMP}, 01312026_1201" in called.stderr
    assert not (logged.folder / "logs_ring_01312026_1159").exists()


def test_erasing_says_what_was_removed_and_again_that_nothing_was(logged: Caller) -> None:
    called = logged.ok("erase-logs", "ring", STAMP)
    assert f"manager1,workers[1-2]: erased worker0_{STAMP}.log" in called.stdout
    assert "manager1/manager_01312026_1201.log" in there(logged)
    assert "nothing to erase" in logged.ok("erase-logs", "ring", STAMP).stdout


def test_a_script_is_not_asked_before_all_logs_go(logged: Caller) -> None:
    logged.ok("erase-all-logs", "ring")
    assert there(logged) == set()


@pytest.mark.parametrize(("typed", "left"), [("n\n", True), ("y\n", False)])
def test_a_person_is_asked(logged: Caller, typed: str, left: bool) -> None:
    status, shown = logged.in_terminal("erase-all-logs", "ring", typed=typed)
    assert "remove 7 logs of ring?" in shown
    assert status == (1 if left else 0)
    assert bool(there(logged)) == left


def test_yes_answers_before_the_question(logged: Caller) -> None:
    status, shown = logged.in_terminal("erase-all-logs", "ring", "--yes")
    assert status == 0
    assert "?" not in shown
