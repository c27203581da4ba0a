"""Writing the report: one HTML file that needs nothing else, and every figure for print."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from cloister.config.spec import ExperimentSpec, FigureSpec, ResultsSpec
from cloister.experiment.record import TrialRecord
from cloister.results.current import reading
from cloister.results.durable import clear_errors, write_atomically
from cloister.results.figures import Undrawable, default_figures, drawing
from cloister.results.plots import pictures
from cloister.results.report_page import ExperimentPage, Picture, page
from cloister.results.rereading import reread
from cloister.results.statistics import Table, summary
from cloister.results.store import Damage, Store
from cloister.results.verdicts import verdicts

REPORT = "report.html"
FIGURES = "figures"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Written:
    """`problems` are what a reader should know: damage, left-out trials, figures without data."""

    report: Path
    figures: tuple[Path, ...]
    problems: tuple[str, ...]


def write_report(
    store: Store,
    experiments: Sequence[ExperimentSpec],
    results: ResultsSpec,
    folder: Path,
    *,
    configuration: Mapping[str, bytes],
    now: float | None = None,
) -> Written:
    """Writes `<folder>/report.html` and `<folder>/figures/<name>.{png,svg,pdf}`.

    Every artifact is verified first, and a trial with a damaged one does not count; then the
    numbers are read from the artifacts anew.
    configuration: name → content of the files as written.  now: Unix seconds, for the heading.
    """
    with clear_errors("create", folder):
        (folder / FIGURES).mkdir(parents=True, exist_ok=True)
    sound, damages = _verified(store)
    pages = [
        _experiment(spec, sound, damages, results, folder / FIGURES, store) for spec in experiments
    ]
    wanted = {spec.name for spec in experiments}
    other = [
        Undrawable(name=figure.name, experiment=figure.experiment, why="no such experiment")
        for figure in results.figures
        if figure.experiment not in wanted
    ]
    text = page(
        pages,
        damages=damages,
        other=tuple(map(str, other)),
        configuration=configuration,
        results_folder=store.folder,
        folder=folder,
        now=time.time() if now is None else now,
    )
    write_atomically(folder / REPORT, text.encode("utf-8", "replace"))
    return Written(
        report=folder / REPORT,
        figures=tuple(path for entry in pages for p in entry.pictures for path in p.files),
        problems=(
            *map(str, damages),
            *(problem for entry in pages for problem in entry.problems),
            *map(str, other),
        ),
    )


def _verified(store: Store) -> tuple[tuple[TrialRecord, ...], tuple[Damage, ...]]:
    """The records whose evidence is as it was saved, and all damage."""
    contents = store.contents()
    damages = list(contents.damages)
    sound = []
    for record in contents.records:
        found = store.verify(record)
        damages += found
        if not found:
            sound.append(record)
    return tuple(sound), tuple(damages)


def _experiment(
    spec: ExperimentSpec,
    sound: Sequence[TrialRecord],
    damages: Sequence[Damage],
    results: ResultsSpec,
    figures: Path,
    store: Store,
) -> ExperimentPage:
    own = tuple(record for record in sound if record.experiment == spec.name)
    read = reading(spec, own)
    own, unread = reread(store, spec, own, read.definitions)
    table = summary(
        own, spec, definitions=read.definitions, confidence=results.confidence, seed=results.seed
    )
    drawn, undrawable = _pictures(_figures(results, table), table, figures)
    return ExperimentPage(
        spec=spec,
        table=table,
        verdicts=verdicts(spec, own, damages, read.definitions),
        attempts=own,
        pictures=drawn,
        problems=(*(f"{spec.name}: {text}" for text in read.warnings), *unread, *undrawable),
        shared=_shared(own, store.folder / spec.name),
    )


def _figures(results: ResultsSpec, table: Table) -> list[FigureSpec]:
    """Those that were asked for; if none was, for any experiment, sensible ones."""
    if not results.figures:
        return default_figures(table)
    return [figure for figure in results.figures if figure.experiment == table.experiment]


def _pictures(
    specs: Sequence[FigureSpec], table: Table, folder: Path
) -> tuple[tuple[Picture, ...], tuple[str, ...]]:
    drawn: list[Picture] = []
    problems: list[str] = []
    for spec in specs:
        found = drawing(spec, table)
        if isinstance(found, Undrawable):
            problems.append(str(found))
            continue
        contents = pictures(found)
        files = []
        for suffix, content in contents.items():
            path = folder / f"{found.name}.{suffix}"
            write_atomically(path, content)
            files.append(path)
        drawn.append(Picture(drawing=found, svg=contents["svg"], files=tuple(files)))
    return tuple(drawn), tuple(problems)


def _shared(records: Sequence[TrialRecord], folder: Path) -> dict[str, bytes]:
    """The shared files that the records name, as far as they are there: path → content."""
    found: dict[str, bytes] = {}
    for record in records:
        for source in record.provenance.get("sources") or ():
            path = source.get("diff") if isinstance(source, dict) else None
            if not isinstance(path, str) or not path or path in found or ".." in path:
                continue
            if (folder / path).is_file():
                with clear_errors("read", folder / path):
                    found[path] = (folder / path).read_bytes()
    return found
