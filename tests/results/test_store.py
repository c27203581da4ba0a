from __future__ import annotations

import dataclasses
import errno
import json
import multiprocessing
import os
from pathlib import Path

import pytest
from evidence import Saved, artifact, record, trial

from cloister.errors import Busy, CloisterError
from cloister.results import durable
from cloister.results.store import RECORD, Store


def test_a_saved_record_reads_back_the_same(store: Store, saved: Saved) -> None:
    entry = saved(trial(), last_lines=("ä", "b"), metrics={"rate": 1.5})
    assert store.records() == (entry,)
    assert store.latest(entry.trial) == entry
    assert store.verify(entry) == []


def test_the_layout_is_experiment_point_repetition_attempt(store: Store) -> None:
    number, folder = store.new_attempt(trial({"n": 2, "size": 64}, repeat=3))
    assert number == 1
    assert folder == store.folder / "ping" / "n=2,size=64" / "rep-3" / "attempt-1"


def test_attempts_count_up_and_never_reuse_a_folder(store: Store) -> None:
    assert [store.new_attempt(trial())[0] for _ in range(3)] == [1, 2, 3]
    (store.folder / trial().id / "attempt-10").mkdir()
    assert store.new_attempt(trial())[0] == 11


def test_an_attempt_killed_half_way_is_not_counted_and_stays(store: Store, saved: Saved) -> None:
    _, folder = store.new_attempt(trial())
    (folder / "main-0@n1").mkdir()
    (folder / "main-0@n1" / "stdout.log").write_bytes(b"half a l")
    (folder / f".{RECORD}.1.part").write_bytes(b'{"format": 1')
    assert store.records() == ()
    assert store.standing(trial(), "d1").kind == "missing"
    assert saved(trial()).attempt == 2
    assert store.standing(trial(), "d1").kind == "complete"
    assert (folder / "main-0@n1" / "stdout.log").exists()


def test_the_latest_attempt_comes_first(store: Store, saved: Saved) -> None:
    first, second = saved(trial(), verdict="failed"), saved(trial())
    other = saved(trial(repeat=2))
    assert store.records() == (second, other)
    assert store.records(every_attempt=True) == (second, first, other)


@pytest.mark.parametrize("verdict", ["failed", "invalid"])
def test_what_failed_runs_again(store: Store, saved: Saved, verdict: str) -> None:
    entry = saved(trial(), verdict=verdict)
    standing = store.standing(trial(), "d1")
    assert (standing.kind, standing.record, standing.to_run) == (verdict, entry, True)


def test_another_definition_is_not_a_result(store: Store, saved: Saved) -> None:
    saved(trial(), definition="old")
    assert store.standing(trial(), "d1").kind == "changed"


def test_a_complete_attempt_counts_even_if_a_later_one_failed(store: Store, saved: Saved) -> None:
    complete = saved(trial())
    saved(trial(), verdict="failed", definition="d2")
    assert store.standing(trial(), "d1").record == complete


def test_a_changed_byte_is_noticed(store: Store, saved: Saved) -> None:
    entry = saved(trial())
    path = store.attempt_folder(entry) / entry.artifacts[0].path
    path.write_bytes(b"hellO\n")
    standing = store.standing(trial(), "d1")
    assert standing.kind == "damaged"
    assert standing.damages[0].path == path
    assert "SHA-256" in standing.damages[0].why


@pytest.mark.parametrize(
    ("harm", "why"),
    [
        (lambda path: path.unlink(), "is missing"),
        (lambda path: path.write_bytes(b"hell"), "has 4 bytes, had 6"),
        (lambda path: (path.unlink(), path.symlink_to("/dev/null")), "cannot be read"),
        (lambda path: (path.unlink(), path.mkdir()), "is not a regular file"),
        (lambda path: (path.unlink(), os.mkfifo(path)), "is not a regular file"),
        (lambda path: (path.unlink(), path.parent.rmdir()), "is missing"),
    ],
)
def test_damage_says_what_is_wrong(store: Store, saved: Saved, harm, why: str) -> None:
    entry = saved(trial())
    harm(store.attempt_folder(entry) / entry.artifacts[0].path)
    (damage,) = store.verify(entry)
    assert why in damage.why
    assert damage.trial == trial().id


def test_an_older_sound_attempt_stands_in_for_a_damaged_one(store: Store, saved: Saved) -> None:
    sound, damaged = saved(trial()), saved(trial())
    (store.attempt_folder(damaged) / damaged.artifacts[0].path).unlink()
    standing = store.standing(trial(), "d1")
    assert (standing.kind, standing.record) == ("complete", sound)
    assert len(standing.damages) == 1


def test_an_artifact_that_is_not_what_the_node_had_is_not_saved(store: Store) -> None:
    number, folder = store.new_attempt(trial())
    good = artifact(folder, "main-0@n1/stdout.log", b"hello\n")
    bad = dataclasses.replace(good, sha256="0" * 64)
    with pytest.raises(CloisterError, match=r"cannot save ping/n=2/rep-1: .*SHA-256"):
        store.save(record(trial(), number, artifacts=(bad,)))
    assert not (folder / RECORD).exists()


@pytest.mark.parametrize("path", ["../x", "/etc/passwd", "a/../../x", "a\x00b", "a\udc80"])
def test_an_artifact_outside_its_folder_or_without_a_proper_name_is_damage(
    store: Store, path: str
) -> None:
    number, folder = store.new_attempt(trial())
    good = artifact(folder, "main-0@n1/stdout.log", b"hello\n")
    with pytest.raises(CloisterError):
        store.save(record(trial(), number, artifacts=(dataclasses.replace(good, path=path),)))
    assert store.records() == ()


def test_a_record_is_saved_once(store: Store, saved: Saved) -> None:
    entry = saved(trial())
    with pytest.raises(CloisterError, match="exists already"):
        store.save(entry)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"\xff\xfe",
        b'{"format": 1}',
        b'{"format": 99, "trial": "x"}',
        b"[" * 100_000,
        b'{"hello": "a package.json, say"}',
    ],
)
def test_a_foreign_or_truncated_record_is_damage_with_its_path(
    store: Store, saved: Saved, content: bytes
) -> None:
    entry = saved(trial())
    path = store.attempt_folder(entry) / RECORD
    path.write_bytes(content)
    contents = store.contents()
    assert contents.records == ()
    assert [damage.path for damage in contents.damages] == [path]
    assert store.standing(trial(), "d1").kind == "damaged"


@pytest.mark.parametrize(
    ("key", "value"),
    [("repeat", "two"), ("verdict", "great"), ("metrics", {"a": "b"}), ("artifacts", [{}])],
)
def test_a_record_with_a_wrong_type_inside_is_damage(
    store: Store, saved: Saved, key: str, value: object
) -> None:
    path = store.attempt_folder(saved(trial())) / RECORD
    path.write_text(json.dumps({**json.loads(path.read_text()), key: value}))
    assert store.records() == ()
    assert len(store.contents().damages) == 1


def test_every_truncation_of_a_record_is_damage(store: Store, saved: Saved) -> None:
    path = store.attempt_folder(saved(trial())) / RECORD
    whole = path.read_bytes().rstrip()
    for length in range(0, len(whole), 37):
        path.write_bytes(whole[:length])
        assert store.records() == ()
        assert len(store.contents().damages) == 1


def test_a_record_copied_elsewhere_is_not_a_result_there(store: Store, saved: Saved) -> None:
    path = store.attempt_folder(saved(trial())) / RECORD
    _, other = store.new_attempt(trial(repeat=2))
    (other / RECORD).write_bytes(path.read_bytes())
    (damage,) = store.contents().damages
    assert damage.path == other / RECORD
    assert "belongs to attempt 1 of ping/n=2/rep-1" in damage.why


def test_other_things_in_the_results_folder_are_left_alone(store: Store, saved: Saved) -> None:
    entry = saved(trial())
    (store.folder / "notes.txt").write_text("mine")
    (store.folder / "ping" / "rep-x").mkdir()
    (store.folder / "ping" / "n=2" / "rep-1" / "attempt-01").mkdir()
    assert store.contents().records == (entry,)
    assert store.contents().damages == ()


def test_a_results_folder_that_is_not_there_is_empty(store: Store) -> None:
    assert store.records() == ()
    assert store.latest("a/b/rep-1") is None


def test_a_full_disk_leaves_no_half_record(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    number, folder = store.new_attempt(trial())
    entry = record(trial(), number, artifacts=(artifact(folder, "m-0@n/stdout.log", b"x"),))
    real = os.fsync

    def full(descriptor: int) -> None:
        if f".{RECORD}." in str(Path(f"/proc/self/fd/{descriptor}").readlink()):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(descriptor)

    monkeypatch.setattr(durable.os, "fsync", full)
    with pytest.raises(CloisterError, match="No space left on device"):
        store.save(entry)
    assert [path.name for path in folder.iterdir()] == ["m-0@n"]
    monkeypatch.undo()
    store.save(entry)
    assert store.records() == (entry,)


def test_a_results_folder_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    (tmp_path / "results").write_text("a file")
    with pytest.raises(CloisterError, match="results"):
        Store(tmp_path / "results").new_attempt(trial())


def test_shared_things_are_kept_once_by_content(store: Store) -> None:
    first = store.keep("ping", "source.diff", b"- a\n+ b\n")
    assert store.keep("ping", "source.diff", b"- a\n+ b\n") == first
    assert store.keep("ping", "source.diff", b"other") != first
    assert (store.folder / "ping" / first).read_bytes() == b"- a\n+ b\n"
    assert first.startswith("provenance/source-")
    assert store.records() == ()


def _take(folder: str, repeats: int, out: multiprocessing.Queue) -> None:
    store = Store(Path(folder))
    for _ in range(repeats):
        number, place = store.new_attempt(trial())
        (place / "mine").write_text(str(os.getpid()))
        store.save(record(trial(), number))
        out.put(number)


def test_two_processes_never_share_an_attempt(store: Store) -> None:
    out: multiprocessing.Queue = multiprocessing.Queue()
    both = [
        multiprocessing.Process(target=_take, args=(str(store.folder), 20, out)) for _ in range(2)
    ]
    for process in both:
        process.start()
    numbers = [out.get(timeout=30) for _ in range(40)]
    for process in both:
        process.join(timeout=30)
    assert sorted(numbers) == list(range(1, 41))
    assert len(store.records(every_attempt=True)) == 40


def _hold(folder: str, ready: multiprocessing.Queue, go: multiprocessing.Event) -> None:
    with Store(Path(folder)).lock():
        ready.put(os.getpid())
        go.wait(30)


def test_a_second_run_is_told_who_holds_the_folder(store: Store) -> None:
    ready: multiprocessing.Queue = multiprocessing.Queue()
    go = multiprocessing.Event()
    holder = multiprocessing.Process(target=_hold, args=(str(store.folder), ready, go))
    holder.start()
    pid = ready.get(timeout=30)
    with pytest.raises(Busy, match=f"process {pid} "), store.lock():
        pass
    holder.kill()
    holder.join(timeout=30)
    with store.lock():
        assert store.records() == ()
