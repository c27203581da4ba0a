"""`results` and `report`: what the evidence says."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cloister.cli.context import Context
from cloister.cli.options import config_options, json_option, with_context
from cloister.cli.output import say, show, show_json
from cloister.errors import CloisterError, UsageError

if TYPE_CHECKING:
    from cloister.config.loading import Configuration
    from cloister.config.spec import ExperimentSpec


@click.command(epilog="Example: cloister results -c configs/experiments/ring.yaml --export csv")
@config_options
@click.option(
    "-e", "--experiment", "names", multiple=True, help="Only this experiment; repeatable."
)
@click.option("--markdown", is_flag=True, help="Print the tables as Markdown.")
@click.option(
    "--export",
    "formats",
    multiple=True,
    type=click.Choice(["csv", "json", "parquet"]),
    help="Also write trials and summaries as files; repeatable.",
)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    help="Where exported files go; by default `export` in the results folder.",
)
@click.option("--verify", is_flag=True, help="Check every artifact against its SHA-256 first.")
@json_option
@with_context
def results(
    context: Context,
    names: tuple[str, ...],
    markdown: bool,
    formats: tuple[str, ...],
    output: Path | None,
    verify: bool,
) -> None:
    """Print n, mean, median and confidence interval of each metric at each point."""
    from cloister.results.current import reading
    from cloister.results.export import export, summary_frame, trial_frame
    from cloister.results.rereading import reread
    from cloister.results.statistics import summary
    from cloister.results.store import Store
    from cloister.results.table import rendered

    configuration = context.configuration()
    store = Store(context.results_folder(configuration))
    contents = store.contents()
    damages = list(contents.damages)
    if verify:
        damages += [damage for record in contents.records for damage in store.verify(record)]
    for damage in damages:
        say(f"damaged, left out: {damage}")
    spoilt = {damage.path for damage in damages}
    records = [r for r in contents.records if not _is_spoilt(store.attempt_folder(r), spoilt)]
    tables, frames = [], []
    for spec in _chosen(configuration, names):
        read = reading(spec, records)
        current, valueless = reread(store, spec, records, read.definitions)
        for warning in (*read.warnings, *valueless):
            say(f"{spec.name}: {warning}")
        settings = configuration.results
        table = summary(
            current,
            spec,
            definitions=read.definitions,
            confidence=settings.confidence,
            seed=settings.seed,
        )
        tables.append(table)
        frames += [trial_frame(current, spec, definitions=read.definitions), summary_frame(table)]
    if context.json:
        show_json(tables)
    else:
        width = shutil.get_terminal_size((120, 24)).columns
        for table in tables:
            form: Any = "markdown" if markdown else "text"
            show(rendered(table, form=form, width=width, color=sys.stdout.isatty()))
    if formats:
        chosen: Any = formats
        for path in export(frames, output or store.folder / "export", chosen):
            say(f"wrote {path}")
    if damages:
        raise CloisterError(
            f"{len(damages)} files of evidence are damaged",
            hint="`cloister run` measures those trials again",
        )


def _is_spoilt(attempt: Path, spoilt: set[Path]) -> bool:
    return any(path == attempt or attempt in path.parents for path in spoilt)


def _chosen(configuration: Configuration, names: tuple[str, ...]) -> list[ExperimentSpec]:
    known = {experiment.name: experiment for experiment in configuration.experiments}
    if not known:
        raise UsageError(
            "the configuration has no experiments", hint="name their file with -c as well"
        )
    if unknown := [name for name in names if name not in known]:
        raise UsageError(f"no experiment {unknown[0]!r}", hint=f"there are {', '.join(known)}")
    return [experiment for name, experiment in known.items() if not names or name in names]


@click.command(epilog="Example: cloister report -c configs/experiments/ring.yaml")
@config_options
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    help="Where it goes; by default `report` in the results folder.",
)
@json_option
@with_context
def report(context: Context, output: Path | None) -> None:
    """Write report.html, one self-contained file, and each figure as PNG, SVG and PDF."""
    from cloister.results.report import write_report
    from cloister.results.store import Store

    configuration = context.configuration()
    store = Store(context.results_folder(configuration))
    written = write_report(
        store,
        _chosen(configuration, ()),
        configuration.results,
        output or store.folder / "report",
        configuration={path.name: path.read_bytes() for path in configuration.files},
    )
    for problem in written.problems:
        say(problem)
    if context.json:
        show_json(written)
    else:
        show(f"report: {written.report}")
        for folder in sorted({path.parent for path in written.figures}):
            here = sum(1 for path in written.figures if path.parent == folder)
            show(f"figures: {here} files in {folder}")
