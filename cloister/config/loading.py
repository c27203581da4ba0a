"""From configuration files to one checked configuration, or to all problems at once."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from cloister.config.consistency import Sections, inconsistencies
from cloister.config.including import read_all
from cloister.config.located import Key, Located, child, find, key_text, plain
from cloister.config.merging import absolute_path, merged
from cloister.config.problems import Place, Problem, in_reading_order
from cloister.config.reading import Source
from cloister.config.seed_json import plain_name
from cloister.config.spec import (
    ClusterSpec,
    ConfigurationSpec,
    ExperimentSpec,
    ResultsSpec,
    SyncSpec,
)
from cloister.config.validating import M, found, unknown_key, validated
from cloister.errors import ConfigurationError, UsageError


@dataclasses.dataclass(frozen=True, kw_only=True)
class Configuration:
    """What the user asked for; all paths in it are absolute.

    `positions` are those of the experiments in their list.  `files` are all that were read, included ones too; `sha256` is of their bytes.
    `notes` say what of a file of an old format is not done; there are some of each.
    """

    cluster: ClusterSpec | None
    deploy: tuple[SyncSpec, ...]
    experiments: tuple[ExperimentSpec, ...]
    positions: tuple[int, ...]
    results: ResultsSpec
    files: tuple[Path, ...]
    sha256: str
    notes: tuple[str, ...]
    tree: Located = dataclasses.field(repr=False)

    @property
    def old(self) -> bool:
        """Whether one of the files is of an old format."""
        return bool(self.notes)

    def place(self, key: Sequence[str | int]) -> Place:
        """Where the key stands, or else the nearest key around it."""
        return find(self.tree, key).place

    def problem(self, key: Sequence[str | int], message: str, hint: str = "") -> Problem:
        return Problem(place=self.place(key), key=key_text(key), message=message, hint=hint)


def load(
    paths: Sequence[Path], further: Callable[[Configuration], Sequence[Problem]] = lambda _: ()
) -> Configuration:
    """The configuration in these files and all that they include; later files win.

    `further` looks for what later stages know to be wrong, in the sections that are right so far.
    Raises ConfigurationError with every problem that was found.
    """
    if not paths:
        raise UsageError("no configuration file was given", hint="name one with -c FILE")
    read = read_all(paths)
    trees = [source.tree for source in read.sources if source.tree is not None]
    if len(trees) < len(read.sources) or not trees:
        # What is in the unread file would seem to be missing from the others.
        raise ConfigurationError(in_reading_order(read.problems))
    tree = merged(trees)
    sections, problems = _sections(tree, paths[0])
    problems = [*problems, *inconsistencies(tree, sections)]
    # Of a value that no configuration can hold, the models only saw that it is not there.
    known = {(problem.place, problem.key) for problem in read.problems}
    new = [problem for problem in problems if (problem.place, problem.key) not in known]
    configuration = Configuration(
        cluster=sections.cluster,
        deploy=tuple(sections.deploy.values()),
        experiments=tuple(sections.experiments.values()),
        positions=tuple(sections.experiments),
        results=sections.results or ResultsSpec(),
        files=tuple(source.file for source in read.sources),
        sha256=_digest(read.sources),
        notes=tuple(f"{s.file}: {note}" for s in read.sources for note in s.notes),
        tree=tree,
    )
    if problems := [*read.problems, *new, *further(configuration)]:
        raise ConfigurationError(in_reading_order(problems))
    return configuration


def cluster_name_in(paths: Sequence[Path], label: str | None = None) -> str | None:
    """The cluster's name, whatever else is wrong with the files: destroying must not depend on it.

    label: another name for it, which with a file of an old format may be one of its time.
    """
    if label is not None and (not paths or plain_name(label) == label):
        return label
    sources = read_all(paths).sources
    if label is not None:
        return plain_name(label) if any(source.notes for source in sources) else label
    trees = [source.tree for source in sources if source.tree is not None]
    section = child(merged(trees), "cluster") if trees else None
    name = child(section, "name") if section is not None else None
    return name.value if name is not None and isinstance(name.value, str) else None


def _digest(sources: Sequence[Source]) -> str:
    digest = hashlib.sha256()
    for source in sources:
        digest.update(b"%d\n" % len(source.content))
        digest.update(source.content)
    return digest.hexdigest()


def _sections(tree: Located, first_file: Path) -> tuple[Sections, list[Problem]]:
    """Each section validated for itself: a mistake in one does not hide those of the others."""
    problems = _unknown_sections(tree)
    cluster = results = None
    if child(tree, "cluster") is not None:
        cluster = _section(ClusterSpec, tree, ("cluster",), problems)
    if child(tree, "results") is not None:
        results = _section(ResultsSpec, tree, ("results",), problems)
    else:
        results = ResultsSpec()
    return Sections(
        cluster=cluster,
        deploy=_list_section(SyncSpec, tree, "deploy", problems),
        experiments=_list_section(ExperimentSpec, tree, "experiments", problems),
        results=_with_folder(results, first_file),
    ), problems


def _unknown_sections(tree: Located) -> list[Problem]:
    known = [*ConfigurationSpec.model_fields, "include"]
    assert isinstance(tree.value, Mapping)
    return [unknown_key(tree, (key,), known) for key in tree.value if key not in known]


def _section(model: type[M], tree: Located, key: Key, problems: list[Problem]) -> M | None:
    spec, mistakes = validated(model, tree, key)
    problems.extend(mistakes)
    return spec


def _list_section(
    model: type[M], tree: Located, name: str, problems: list[Problem]
) -> dict[int, M]:
    """By its index, so that a valid entry keeps its place beside an invalid one."""
    section = child(tree, name)
    if section is None:
        return {}
    if not isinstance(section.value, tuple):
        message = f"expected a list, {found(plain(section))}"
        problems.append(Problem(place=section.place, key=name, message=message))
        return {}
    specs = {
        index: _section(model, tree, (name, index), problems) for index in range(len(section.value))
    }
    return {index: spec for index, spec in specs.items() if spec is not None}


def _with_folder(results: ResultsSpec | None, first_file: Path) -> ResultsSpec | None:
    """The default folder lies beside the first configuration file."""
    if results is None or "folder" in results.model_fields_set:
        return results
    folder = absolute_path(results.folder, first_file.parent)
    return results.model_copy(update={"folder": folder})
