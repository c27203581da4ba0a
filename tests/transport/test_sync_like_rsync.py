from __future__ import annotations

import subprocess
from pathlib import Path

import trees
from hypothesis import HealthCheck, example, given, settings

from cloister.plan.observed import Node
from cloister.transport.links import Links
from cloister.transport.manifest import manifest
from cloister.transport.sync import Synced, sync

# 0 and 0400 are readable for root alone; test_sync_unprivileged.py does the same as somebody else.
TREES = trees.trees((0o644, 0o755, 0o400, 0o4711), (0o755, 0o700, 0o555, 0o1777))


def rsync(source: Path, target: Path) -> None:
    subprocess.run(["rsync", "-a", "--delete", f"{source}/", f"{target}/"], check=True)


def synced(links: Links, node: Node, source: Path, target: str = "target") -> Synced:
    return sync(links, [node], manifest(source), target).raise_first()[node.name]


def tree(*inside: tuple[str, trees.File | trees.Link | trees.Folder]) -> trees.Folder:
    return trees.Folder(inside, 0o755, trees.TIME_S)


FILE = trees.File(b"1", 0o644, trees.TIME_S)


@settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(before=TREES, after=TREES)
@example(before=tree(("a", tree(("b", FILE)))), after=tree(("a", FILE)))
@example(
    before=tree(("a", tree(("x", FILE))), ("b", tree(("x", FILE)))),
    after=tree(("a", trees.Link("b")), ("b", tree(("x", FILE)))),
)
@example(before=tree(("a", trees.Link("b")), ("b", tree())), after=tree(("a", tree(("x", FILE)))))
@example(before=tree(("a", FILE)), after=tree(("a", tree(("a", tree())))))
def test_a_synchronised_folder_is_what_rsync_would_make_of_it(
    links: Links,
    node: Node,
    folder: Path,
    tmp_path: Path,
    before: trees.Tree,
    after: trees.Tree,
) -> None:
    source, target, expected = tmp_path / "source", folder / "target", tmp_path / "expected"
    trees.remove(target)
    trees.remove(expected)
    for stage in (before, after):
        trees.write(stage, source)
        rsync(source, expected)
        synced(links, node, source)
        assert trees.read(target) == trees.read(expected)
    again = synced(links, node, source)
    assert (again.sent, again.sent_bytes, again.deleted) == (0, 0, 0)
    assert trees.read(target) == trees.read(expected)
