from __future__ import annotations

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from cloister.providers.ec2.journal import FILE, Journal


def test_an_intent_is_on_disk_before_the_call_and_open_until_settled(tmp_path: Path) -> None:
    journal = Journal(tmp_path / FILE)
    first = journal.intend("us-east-1", "run_instances", {"ClientToken": "a"})
    second = journal.intend("eu-west-1", "import_key_pair", {"KeyName": "k"})
    assert Journal(tmp_path / FILE).open_intents == (first, second)
    journal.settle(first, "i-1")
    assert Journal(tmp_path / FILE).open_intents == (second,)
    assert journal.open_intents == (second,)


def test_numbers_go_on_after_a_restart(tmp_path: Path) -> None:
    Journal(tmp_path / FILE).intend("r", "a", {})
    again = Journal(tmp_path / FILE)
    assert again.intend("r", "a", {}).number == 2


@given(cut=st.integers(0, 200))
def test_a_journal_that_was_cut_anywhere_is_read_and_written_on(tmp_path_factory, cut: int) -> None:
    path = tmp_path_factory.mktemp("journal") / FILE
    journal = Journal(path)
    intents = [journal.intend("r", "run_instances", {"ClientToken": str(n)}) for n in range(3)]
    content = path.read_bytes()
    path.write_bytes(content[: max(0, len(content) - cut)])
    again = Journal(path)
    assert list(again.open_intents) == intents[: len(again.open_intents)]
    more = again.intend("r", "run_instances", {"ClientToken": "more"})
    assert Journal(path).open_intents[-1] == more


def test_nobody_else_may_read_it(tmp_path: Path) -> None:
    Journal(tmp_path / FILE).intend("r", "a", {})
    assert (tmp_path / FILE).stat().st_mode & 0o777 == 0o600


def test_what_aws_refused_is_not_waited_for(tmp_path: Path) -> None:
    journal = Journal(tmp_path / FILE)
    refused, done, unknown = (journal.intend("r", "run_instances", {"n": n}) for n in range(3))
    journal.settle(refused, "InsufficientInstanceCapacity", refused=True)
    journal.settle(done, "i-1")
    assert Journal(tmp_path / FILE).recent_intents == (done, unknown)
    assert Journal(tmp_path / FILE).open_intents == (unknown,)
