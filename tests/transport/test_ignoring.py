from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from cloister.transport.manifest import Ignoring, manifest

# No name of a single letter beyond ASCII: for git, `?` is one byte of it.
NAMES = ["a", "b", "a.x", "b.x", "keep", "üb", "a b"]
PATTERNS = [
    "a", "b", "/a", "a/", "/b/", "!a", "!/a", "!a/", "*", "!*/", "/*", "*.x", "!*.x", "a/b", "/a/b", "!a/b",
    "a/*", "!a/keep", "**/a", "a/**", "a/**/b", "**", "!keep", "keep/", "?", "[ab]", "[!a]", "a.?", "ü*", "a b",
    "a ", "a\\ ", "# a", "\\#a", "\\!a", "", "  ", "**/keep/", "a/**/", "*/b", "!*/b", "b\r", "[a", "a//b", "/",
]  # fmt: skip


def git(place: Path, *words: str, stdin: bytes = b"") -> bytes:
    return subprocess.run(
        ["git", *words],
        cwd=place,
        input=stdin,
        capture_output=True,
        env={"PATH": os.environ["PATH"], "GIT_CONFIG_NOSYSTEM": "1", "HOME": str(place.parent)},
    ).stdout


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("repository") / "work"
    place.mkdir()
    git(place, "init", "-q")
    return place


PATHS = st.lists(
    st.lists(st.sampled_from(NAMES), min_size=1, max_size=4).map("/".join), min_size=1, max_size=12
)
RULES = st.dictionaries(
    st.sampled_from(["", "a", "b", "a/b", "keep"]),
    st.lists(st.sampled_from(PATTERNS), min_size=1, max_size=4),
    max_size=3,
)


def lay_out(place: Path, paths: list[str], rules: dict[str, list[str]]) -> None:
    for old in place.iterdir():
        if old.name != ".git":
            shutil.rmtree(old) if old.is_dir() else old.unlink()
    for path in sorted(set(paths), key=len, reverse=True):
        full = place / path
        if full.exists() or any(parent.is_file() for parent in full.parents):
            continue
        full.parent.mkdir(parents=True, exist_ok=True)
        full.write_text("")
    for folder, lines in rules.items():
        if (place / folder).is_dir():
            (place / folder / ".gitignore").write_bytes("\n".join(lines).encode())


@settings(
    max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(paths=PATHS, rules=RULES)
@example(paths=["a/keep", "a/b", "b"], rules={"": ["a/*", "!a/keep"]})
@example(paths=["keep/a.x", "a.x"], rules={"": ["*.x", "!keep/"]})
@example(paths=["a/b/keep", "keep"], rules={"": ["*", "!*/", "!keep"]})
@example(paths=["a/a.x", "b.x"], rules={"": ["*.x"], "a": ["!a.x"]})
@example(paths=["a/a.x"], rules={"": ["a/"], "a": ["!a.x"]})
def test_what_git_would_ignore_is_not_sent(
    place: Path, paths: list[str], rules: dict[str, list[str]]
) -> None:
    lay_out(place, paths, rules)
    listed = git(place, "ls-files", "-z", "--others", "--exclude-standard").decode().split("\0")
    sent = {entry.path for entry in manifest(place).entries if entry.kind != "d"}
    assert sent == set(listed) - {""}


@settings(
    max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(paths=PATHS, rules=RULES)
def test_what_git_would_ignore_is_protected_on_the_node(
    place: Path, paths: list[str], rules: dict[str, list[str]]
) -> None:
    lay_out(place, paths, rules)
    there = sorted(
        str(path.relative_to(place))
        for path in place.rglob("*")
        if path.is_file() and path.relative_to(place).parts[0] != ".git"
    )
    names = "".join(f"{path}\0" for path in there).encode()
    ignored = git(place, "check-ignore", "-z", "--no-index", "--stdin", stdin=names)
    ignoring = Ignoring(place)
    assert {path for path in there if ignoring.protects(path)} == set(
        ignored.decode().split("\0")
    ) - {""}


def test_the_repository_itself_is_never_sent(place: Path) -> None:
    lay_out(place, ["a"], {})
    assert [entry.path for entry in manifest(place).entries] == ["a"]


def test_excluded_patterns_win_over_what_gitignore_allows(place: Path) -> None:
    lay_out(place, ["a", "b.x", "keep/b.x", "keep/a"], {"": ["!*.x"]})
    sent = {entry.path for entry in manifest(place, exclude=["*.x", "/a"]).entries}
    assert sent == {".gitignore", "keep", "keep/a"}


@pytest.mark.parametrize(
    "content", [b"\xef\xbb\xbfa\n", b"a\r\nb\r\n", b"\xff\na\n", b"x\x0ca\na\n"]
)
def test_files_of_other_editors_are_read_as_git_reads_them(place: Path, content: bytes) -> None:
    lay_out(place, ["a", "b", "keep"], {})
    (place / ".gitignore").write_bytes(content)
    listed = git(place, "ls-files", "-z", "--others", "--exclude-standard").decode().split("\0")
    assert {entry.path for entry in manifest(place).entries} == set(listed) - {""}


def test_a_link_to_a_folder_is_no_folder_for_a_pattern(place: Path) -> None:
    lay_out(place, ["keep/a"], {"": ["b/"]})
    (place / "b").symlink_to("keep")
    assert "b" in {entry.path for entry in manifest(place).entries}
