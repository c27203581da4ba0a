"""A spot instance that AWS takes back in the middle of `cloister run`."""

from __future__ import annotations

import threading
from pathlib import Path

from calling import Called, wait_until
from on_ec2 import User

from cloister.experiment.record import TrialRecord
from cloister.results.store import Store

# Every trial waits for a file in the node's home, and takes it away.
_COMMAND = "touch ~/waiting; while [ ! -e ~/go ]; do sleep 0.05; done; rm ~/go ~/waiting; echo n 1"
EXPERIMENT = {
    "name": "tiny",
    "repeats": 3,
    "timeout": "60s",
    "processes": {"p": {"role": "workers", "command": _COMMAND}},
    "metrics": {"n": {"process": "p", "pattern": "n (\\d+)"}},
}


def records(user: User) -> list[TrialRecord]:
    return list(Store(user.folder / "results").records(every_attempt=True))


def workers(user: User) -> dict[str, Path]:
    """Instance → its home."""
    return {one["id"]: Path(one["home"]) for one in user.living() if "worker" in one["name"]}


def waiting(user: User) -> bool:
    return all((home / "waiting").exists() for home in workers(user).values())


def go(user: User) -> None:
    wait_until(lambda: waiting(user), "a trial on both workers", within_s=60)
    for home in workers(user).values():
        (home / "go").touch()
    wait_until(lambda: not any((h / "go").exists() for h in workers(user).values()), "its end")


def in_background(user: User, *arguments: str) -> tuple[threading.Thread, list[Called]]:
    called: list[Called] = []
    thread = threading.Thread(target=lambda: called.append(user(*arguments)))
    thread.start()
    return thread, called


def test_an_interrupted_trial_is_invalid_and_launch_and_run_complete_it(user: User) -> None:
    user.configure(ec2={"market": "spot"}, experiments=[EXPERIMENT])
    assert user("launch").status == 0
    thread, called = in_background(user, "run")
    go(user)
    wait_until(lambda: waiting(user) and len(records(user)) == 1, "the second trial", within_s=30)
    user.cloud.interrupt(next(iter(workers(user))))
    thread.join(90)
    assert called[0].status == 3, called
    verdicts = [record.verdict for record in records(user)]
    assert verdicts.count("complete") == 1
    assert "invalid" in verdicts and "failed" not in verdicts, records(user)

    assert user("launch").status == 0
    thread, called = in_background(user, "run")
    go(user)
    go(user)
    thread.join(90)
    assert called[0].status == 0, called
    assert "2 complete, 0 failed, 0 invalid, 1 were complete already" in called[0].stdout
