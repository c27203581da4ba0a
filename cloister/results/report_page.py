"""What stands in the report: from tables, pictures and records to HTML; pure but for the template."""

from __future__ import annotations

import base64
import csv
import dataclasses
import datetime
import io
import json
import os
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from cloister import __version__
from cloister.config.spec import ExperimentSpec
from cloister.experiment.record import TrialRecord
from cloister.results.figures import Drawing
from cloister.results.numbers import interval, number, parameter, percent, titled
from cloister.results.statistics import Estimate, Row, Table
from cloister.results.store import RECORD, Damage
from cloister.results.verdicts import KINDS, MEANINGS, Verdict

# A page of more is not read; the records in the results folder have all of it.
TRIALS_MAX = 1000
FAILURES_MAX = 100
_SHARED_CHARACTERS_MAX = 200_000

_ESCAPE_SEQUENCE = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|[@-Z\\-_])")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Picture:
    drawing: Drawing
    svg: bytes
    files: tuple[Path, ...]


@dataclasses.dataclass(frozen=True, kw_only=True)
class ExperimentPage:
    """All about one experiment; `shared` has the files that its records name, by their path."""

    spec: ExperimentSpec
    table: Table
    verdicts: tuple[Verdict, ...]
    attempts: tuple[TrialRecord, ...]
    pictures: tuple[Picture, ...]
    problems: tuple[str, ...]
    shared: Mapping[str, bytes]


def page(
    experiments: Sequence[ExperimentPage],
    *,
    damages: Sequence[Damage],
    other: Sequence[str],
    configuration: Mapping[str, bytes],
    results_folder: Path,
    folder: Path,
    now: float,
) -> str:
    """The report as HTML; links are relative to `folder`."""
    place = _Place(results=results_folder, report=folder)
    return _template().render(
        title=", ".join(entry.spec.name for entry in experiments) or "no experiments",
        written=_time(now),
        version=__version__,
        kinds=[(kind, MEANINGS[kind]) for kind in KINDS],
        experiments=[_experiment(entry, place) for entry in experiments],
        problems=[
            *(f"{place.relative(damage.path)}: {damage.why}" for damage in damages),
            *(problem for entry in experiments for problem in entry.problems),
            *other,
        ],
        configuration=[(name, _text(content)) for name, content in configuration.items()],
        trials_max=TRIALS_MAX,
        failures_max=FAILURES_MAX,
    )


def _template() -> Any:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("cloister.results", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("report.html.j2")


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Place:
    """Where the evidence lies, seen from the report."""

    results: Path
    report: Path

    def relative(self, path: Path) -> str:
        return path.relative_to(self.results).as_posix()

    def link(self, path: Path) -> str:
        # Both resolved, or a link in one of the paths would lead the way up astray.
        found = os.path.relpath(path.absolute(), self.report.absolute())
        return quote(found.replace(os.sep, "/"))


# --- one experiment ------------------------------------------------------------------------------


def _experiment(entry: ExperimentPage, place: _Place) -> dict[str, Any]:
    kinds = [verdict.kind for verdict in entry.verdicts]
    failures = _failures(entry, place)
    varying = entry.table.varying()
    return {
        "name": entry.spec.name,
        "description": entry.spec.description,
        "counts": [kinds.count(kind) for kind in KINDS],
        "total": len(kinds),
        "table": _table(entry.table),
        "figures": [_figure(picture, place) for picture in entry.pictures],
        "failures": failures[:FAILURES_MAX],
        "failures_left": max(0, len(failures) - FAILURES_MAX),
        "trials": [
            _trial(verdict, entry.table, varying, place) for verdict in entry.verdicts[:TRIALS_MAX]
        ],
        "trials_left": max(0, len(kinds) - TRIALS_MAX),
        "metrics": [titled(metric) for metric in entry.table.metrics],
        "provenance": _provenance(entry, place),
    }


def _table(table: Table) -> dict[str, Any]:
    shown = table.varying()
    return {
        "constants": [f"{name} = {parameter(value)}" for name, value in table.constants().items()],
        "parameters": shown,
        "confidence": percent(table.confidence),
        "wanted": table.wanted,
        "metrics": [
            {
                "title": titled(metric),
                "better": metric.better or "",
                "rows": [
                    {
                        "parameters": _parameters(table, row, shown),
                        "n": row.n,
                        "estimate": _estimate(row.estimates[index]),
                    }
                    for row in table.rows
                ],
            }
            for index, metric in enumerate(table.metrics)
        ],
    }


def _parameters(table: Table, row: Row, shown: Iterable[str]) -> list[str]:
    return [parameter(row.parameters[table.parameters.index(name)]) for name in shown]


def _estimate(estimate: Estimate | None) -> list[str]:
    if estimate is None:
        return ["–"] * 4
    return [
        number(estimate.mean),
        interval(estimate),
        number(estimate.median),
        number(estimate.std),
    ]


def _figure(picture: Picture, place: _Place) -> dict[str, Any]:
    drawing = picture.drawing
    what = f"{drawing.y.title} by {drawing.x.title}"
    if drawing.kind == "cdf":
        what = f"distribution of {drawing.x.title}"
    return {
        "name": drawing.name,
        "title": drawing.title or what[:1].upper() + what[1:],
        "what": f"{drawing.kind} figure: {what}, {len(drawing.series)} series",
        "caption": drawing.caption,
        "image": _data_url("image/svg+xml", picture.svg),
        "data": _data_url("text/csv", _figure_csv(drawing)),
        "files": [(path.suffix[1:].upper(), place.link(path)) for path in picture.files],
    }


def _figure_csv(drawing: Drawing) -> bytes:
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    x, y = (
        titled_axis(drawing.x.title, drawing.x.unit),
        titled_axis(drawing.y.title, drawing.y.unit),
    )
    ends = ("x low", "x high", "y low", "y high")
    writer.writerow((drawing.legend or "series", x, y, *ends, "label"))
    for series in drawing.series:
        for mark in series.marks:
            place = drawing.x.categories[int(mark.x)] if drawing.x.categories else repr(mark.x)
            bounds = (*(mark.x_interval or ("", "")), *(mark.y_interval or ("", "")))
            writer.writerow((series.label, place, repr(mark.y), *bounds, mark.label))
    return text.getvalue().encode("utf-8", "replace")


def titled_axis(title: str, unit: str) -> str:
    return f"{title} ({unit})" if unit else title


def _data_url(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


# --- trials --------------------------------------------------------------------------------------


def _failures(entry: ExperimentPage, place: _Place) -> list[dict[str, Any]]:
    """Every failed or invalid attempt at a trial of the configuration, latest first."""
    kinds = {verdict.trial.id: verdict.kind for verdict in entry.verdicts}
    bad = [
        record
        for record in entry.attempts
        if record.verdict != "complete" and record.trial in kinds
    ]
    return [
        {
            "trial": record.trial,
            "attempt": record.attempt,
            "verdict": record.verdict,
            "reason": _clean(record.reason),
            "guilty": record.guilty,
            "time": _time(record.started_at),
            "since": kinds[record.trial] == "complete",
            "lines": _clean("\n".join(record.last_lines)),
            "artifacts": _artifacts(record, place),
        }
        for record in sorted(bad, key=lambda record: (-record.started_at, record.trial))
    ]


def _trial(verdict: Verdict, table: Table, varying: Sequence[str], place: _Place) -> dict[str, Any]:
    record = verdict.record
    varied = [f"{name}={parameter(verdict.trial.parameters.get(name))}" for name in varying]
    found: dict[str, Any] = {
        "id": ", ".join([*varied, f"repetition {verdict.trial.repeat}"]),
        "kind": verdict.kind,
        "attempt": "–",
        "time": "–",
        "duration": "–",
        "metrics": ["–"] * len(table.metrics),
        "record": "",
        "artifacts": [],
    }
    if record is None:
        return found
    counts = verdict.kind == "complete"
    values = [record.metrics.get(metric.name) if counts else None for metric in table.metrics]
    return {
        **found,
        "attempt": record.attempt,
        "time": _time(record.started_at),
        "duration": f"{number(record.duration_s)} s",
        "metrics": [number(value) for value in values],
        "record": place.link(_folder(record, place) / RECORD),
        "artifacts": _artifacts(record, place),
    }


def _folder(record: TrialRecord, place: _Place) -> Path:
    return place.results / record.trial / f"attempt-{record.attempt}"


def _artifacts(record: TrialRecord, place: _Place) -> list[dict[str, str]]:
    folder = _folder(record, place)
    return [
        {
            "path": artifact.path,
            "link": place.link(folder / artifact.path),
            "size": f"{artifact.size:,} bytes",
            "sha256": artifact.sha256,
        }
        for artifact in record.artifacts
    ]


# --- provenance ----------------------------------------------------------------------------------


def _provenance(entry: ExperimentPage, place: _Place) -> dict[str, Any] | None:
    """Of the trials that are shown; what differs between them is shown once per kind."""
    records = [verdict.record for verdict in entry.verdicts if verdict.record is not None]
    if not records:
        return None
    ends = [record.started_at + record.duration_s for record in records]
    return {
        "first": _time(min(record.started_at for record in records)),
        "last": _time(max(ends)),
        "origins": [
            {
                "trials": count,
                "facts": _flat({k: v for k, v in origin.items() if k != "sources"}),
                "sources": [_source(source, entry, place) for source in _sources(origin)],
            }
            for origin, count in _distinct(record.provenance for record in records)
        ],
        "nodes": [
            {"name": node.get("name", "?"), "trials": count, "facts": _flat(_without_name(node))}
            for node, count in _distinct(node for record in records for node in record.nodes)
        ],
    }


def _without_name(node: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in node.items() if key != "name"}


def _distinct(values: Iterable[Mapping[str, Any]]) -> list[tuple[Mapping[str, Any], int]]:
    """Each different value, and how often it is there."""
    found: dict[str, tuple[Mapping[str, Any], int]] = {}
    for value in values:
        key = json.dumps(value, sort_keys=True, default=str)
        found[key] = (value, found.get(key, (value, 0))[1] + 1)
    return [found[key] for key in sorted(found)]


def _sources(origin: Mapping[str, Any]) -> list[dict[str, Any]]:
    entries = origin.get("sources")
    return [entry for entry in entries or () if isinstance(entry, dict)]


def _source(source: Mapping[str, Any], entry: ExperimentPage, place: _Place) -> dict[str, Any]:
    path = str(source.get("diff") or "")
    diff = entry.shared.get(path)
    return {
        "facts": _flat({key: value for key, value in source.items() if key != "diff"}),
        "dirty": bool(path),
        "diff": None if diff is None else _text(diff),
        "link": place.link(place.results / entry.spec.name / path) if diff is not None else "",
    }


def _flat(value: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """Nested tables as lines of a dotted key and a text."""
    lines: list[tuple[str, str]] = []
    for key, inner in value.items():
        if isinstance(inner, Mapping):
            lines += _flat(inner, f"{prefix}{key}.")
        elif isinstance(inner, list | tuple) and any(isinstance(part, Mapping) for part in inner):
            numbered = {str(index): part for index, part in enumerate(inner, start=1)}
            lines += _flat(numbered, f"{prefix}{key}.")
        elif isinstance(inner, list | tuple):
            lines.append((prefix + key, ", ".join(parameter(part) for part in inner) or "–"))
        else:
            lines.append((prefix + key, _clean(parameter(inner)) or "–"))
    return lines


# --- text ----------------------------------------------------------------------------------------


def _text(content: bytes) -> str:
    text = _clean(content.decode("utf-8", "replace"))
    if len(text) <= _SHARED_CHARACTERS_MAX:
        return text
    left = len(text) - _SHARED_CHARACTERS_MAX
    return f"{text[:_SHARED_CHARACTERS_MAX]}\n… and {left:,} more characters"


def _clean(text: str) -> str:
    """Without terminal colours; other control characters, which HTML forbids, as their pictures."""
    return "".join(
        character
        if character in "\n\t" or unicodedata.category(character) not in ("Cc", "Cs")
        else chr(0x2400 + ord(character))
        if ord(character) < 0x20
        else "\ufffd"
        for character in _ESCAPE_SEQUENCE.sub("", text).replace("\r\n", "\n")
    )


def _time(seconds: float) -> str:
    try:
        moment = datetime.datetime.fromtimestamp(seconds, datetime.UTC)
    except (OverflowError, ValueError, OSError):
        return f"{seconds:g} s after 1970"
    return moment.strftime("%Y-%m-%d %H:%M:%S UTC")
