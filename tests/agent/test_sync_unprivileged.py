"""Synchronisation by an agent that is not root, for which the modes of folders matter."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import trees
from agent_on_pipes import AgentOnPipes, frame
from hypothesis import given, settings

from cloister.plan.observed import Node
from cloister.transport.manifest import manifest
from cloister.transport.sync import sync

NOBODY = 65534
NODE = Node(name="n1", roles=("n",), number=1, address="a", private_address="a")
# rsync, which shows what is right, has to be able to read it all.
TREES = trees.trees((0o644, 0o400, 0o555), (0o755, 0o700, 0o555, 0o500))


class Channel:
    """What `sync` uses of a channel, on an agent that runs on pipes."""

    node = NODE
    folder = ""

    def __init__(self, agent: AgentOnPipes) -> None:
        self.agent = agent

    def begin_numbered(self, operation: str, **arguments: Any) -> tuple[int, Any]:
        identity = next(self.agent.numbers)
        self.agent.write(self.agent.call_frame(identity, operation, **arguments))
        return identity, SimpleNamespace(wait=lambda within_s: self.agent.reply(identity))

    def send_frames(self, frames: bytes) -> None:
        self.agent.write(frames)

    def send(self, kind: str, identity: int) -> None:
        self.agent.write(frame(kind, identity))


@pytest.fixture(scope="module")
def place() -> Iterator[Path]:
    """A folder that is nobody's, in which nobody has all rights."""
    folder = Path(tempfile.mkdtemp())
    if os.geteuid() == 0:
        os.chown(folder, NOBODY, NOBODY)
    yield folder
    for path in [folder, *folder.iterdir()]:
        with contextlib.suppress(OSError):
            trees.remove(path)
    shutil.rmtree(folder, ignore_errors=True)


def somebody_else() -> dict[str, Any]:
    if os.geteuid() != 0:
        return {}
    return {"user": NOBODY, "group": NOBODY, "extra_groups": []}


@pytest.fixture(scope="module")
def agent(place: Path) -> Iterator[AgentOnPipes]:
    with AgentOnPipes(cwd=place, **somebody_else()) as agent:
        agent.greet()
        yield agent


def given_away(place: Path) -> None:
    if os.geteuid() == 0:
        for path in [place, *place.rglob("*")]:
            os.chown(path, NOBODY, NOBODY, follow_symlinks=False)


@settings(max_examples=15, deadline=None)
@given(before=TREES, after=TREES)
def test_folders_without_rights_become_what_rsync_makes_of_a_new_copy(
    agent: AgentOnPipes, place: Path, before: trees.Tree, after: trees.Tree
) -> None:
    source, target, expected = place / "source", place / "target", place / "expected"
    links: Any = SimpleNamespace(channel=lambda node: Channel(agent), at_once=1, ssh_config=None)
    trees.remove(target)
    for number, stage in enumerate((before, after)):
        trees.write(stage, source, later_s=10 * number)
        given_away(source)
        # Not on top of the first: rsync cannot put a link in place of a folder that is not writable.
        trees.remove(expected)
        subprocess.run(["rsync", "-a", f"{source}/", f"{expected}/"], check=True, **somebody_else())
        sync(links, [NODE], manifest(source), str(target)).raise_first()
        assert trees.read(target) == trees.read(expected)


@pytest.mark.parametrize("mode", [0o000, 0o400, 0o600, 0o200, 0o100])
def test_a_folder_that_its_owner_locked_is_mended(
    agent: AgentOnPipes, place: Path, mode: int
) -> None:
    source, target = place / "source", place / "target"
    links: Any = SimpleNamespace(channel=lambda node: Channel(agent), at_once=1, ssh_config=None)
    trees.remove(target)
    trees.remove(source)
    (source / "in" / "deep").mkdir(parents=True)
    (source / "in" / "deep" / "file").write_text("1")
    sync(links, [NODE], manifest(source), str(target)).raise_first()
    (target / "in" / "extra").mkdir()
    (target / "in" / "extra" / "file").write_text("2")
    given_away(target)
    for locked in ("in/extra", "in/deep", "in"):
        (target / locked).chmod(mode)
    sync(links, [NODE], manifest(source), str(target)).raise_first()
    assert trees.read(target) == trees.read(source)
