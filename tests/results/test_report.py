from __future__ import annotations

import html.parser
import json
import re
from pathlib import Path
from urllib.parse import unquote

import pytest
from evidence import Saved

from cloister.config.spec import ExperimentSpec, ResultsSpec
from cloister.errors import CloisterError
from cloister.experiment.placement import definition
from cloister.experiment.trial import Trial, trials
from cloister.results.report import Written, write_report
from cloister.results.store import Store

SPEC = ExperimentSpec.model_validate(
    {
        "name": "ping",
        "description": "Is <fast> fast?",
        "sweep": {"mode": ["<b>", "#1 %41"]},
        "repeats": 2,
        "order": "listed",
        "processes": {"main": {"role": "w", "command": "true"}},
        "metrics": {"rate": {"process": "main", "pattern": r"rate=(\S+)", "unit": "op/s"}},
    }
)
NOW = 1_700_000_000.0


class _Links(html.parser.HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.links += [value or "" for key, value in attrs if key in ("href", "src")]


@pytest.fixture
def evidence(store: Store, saved: Saved) -> list[Trial]:
    """Complete, failed, invalid, and one not run."""
    every = trials(SPEC)
    diff = store.keep("ping", "source.diff", b"+<script>alert(1)</script>\n")
    origin = {
        "keys": {},
        "sources": [{"folder": "src", "commit": "cb652bb", "diff": diff}],
        "builds": [],
    }
    log = {"main-0@n1/stdout.log": b"rate=1234.5\n"}
    common = [{"definition": definition(SPEC, each, {}), "provenance": origin} for each in every]
    saved(every[0], log, metrics={"rate": 1.0}, **common[0])
    saved(
        every[1],
        log,
        verdict="failed",
        reason="it said <no> & left",
        guilty="main-0@n1",
        last_lines=("\x1b[31mred\x1b[0m <script>", "bell\x07"),
        **common[1],
    )
    saved(every[2], {}, verdict="invalid", reason="node n1 died", **common[2])
    return every


def _written(store: Store, tmp_path: Path, **results: object) -> Written:
    return write_report(
        store,
        [SPEC],
        ResultsSpec.model_validate(results),
        tmp_path / "out",
        configuration={"a.yaml": b"name: <ping>\n"},
        now=NOW,
    )


def test_the_report_tells_all_and_needs_nothing_else(
    store: Store, evidence: list[Trial], tmp_path: Path
) -> None:
    written = _written(store, tmp_path)
    text = written.report.read_text()
    parsed = _Links()
    parsed.feed(text)
    assert "script" not in parsed.tags
    assert "link" not in parsed.tags
    for link in parsed.links:
        if link.startswith(("#", "data:")):
            continue
        assert (written.report.parent / unquote(link)).is_file(), link
    for piece in (
        "Is &lt;fast&gt; fast?",
        "it said &lt;no&gt; &amp; left",
        "red &lt;script&gt;",
        "bell\u2407",
        "node n1 died",
        "name: &lt;ping&gt;",
        "cb652bb",
        "+&lt;script&gt;alert(1)",
        "2023-11-14 22:13:20 UTC",
        "rate (op/s)",
    ):
        assert piece in text
    assert re.sub(r"\s+", " ", text).count("<td>&lt;b&gt;</td>") == 1
    assert [path.suffix for path in written.figures] == [".png", ".svg", ".pdf"]
    assert "ping: 3 of 4 trials have no result" in written.problems


def test_the_same_evidence_gives_the_same_report(
    store: Store, evidence: list[Trial], tmp_path: Path
) -> None:
    first = _written(store, tmp_path).report.read_bytes()
    assert _written(store, tmp_path).report.read_bytes() == first


def test_the_numbers_are_read_from_the_artifacts_anew(
    store: Store, evidence: list[Trial], tmp_path: Path
) -> None:
    text = _written(store, tmp_path).report.read_text()
    assert '<td class="number">1,234</td>' in text or '<td class="number">1,235</td>' in text


def test_a_damaged_artifact_is_said_and_does_not_count(
    store: Store, evidence: list[Trial], tmp_path: Path
) -> None:
    path = store.folder / evidence[0].id / "attempt-1" / "main-0@n1" / "stdout.log"
    path.write_bytes(b"rate=9999.9\n")
    written = _written(store, tmp_path)
    assert "SHA-256" in written.problems[0]
    assert written.figures == ()
    assert any("no complete trial of ping" in problem for problem in written.problems)
    assert '"number kind damaged">1<' in written.report.read_text()


def test_a_truncated_record_is_said(store: Store, evidence: list[Trial], tmp_path: Path) -> None:
    path = store.folder / evidence[0].id / "attempt-1" / "record.json"
    path.write_bytes(path.read_bytes()[:100])
    assert "truncated" in _written(store, tmp_path).problems[0]


def test_provenance_of_any_shape_is_shown(store: Store, saved: Saved, tmp_path: Path) -> None:
    origin = json.loads('{"sources": "none", "a": [{"b": [1, null]}], "c": {"d": {}}, "e": []}')
    saved(trials(SPEC)[0], provenance=origin, nodes=({}, {"facts": None}))
    text = _written(store, tmp_path).report.read_text()
    assert "a.1.b" in text


def test_nothing_at_all_makes_a_report_too(store: Store, tmp_path: Path) -> None:
    written = _written(
        store,
        tmp_path,
        figures=[{"name": "f", "experiment": "gone", "kind": "cdf", "y": "rate"}],
    )
    assert written.problems[-1] == "figure f: no such experiment"
    assert '"number kind missing">4<' in written.report.read_text()


def test_a_folder_that_cannot_be_made_is_said(store: Store, tmp_path: Path) -> None:
    (tmp_path / "out").write_text("")
    with pytest.raises(CloisterError, match="cannot create"):
        _written(store, tmp_path)
