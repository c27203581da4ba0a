"""Drawing figures for print: one column wide, 8 pt, colour-blind safe, the same bytes each time."""

from __future__ import annotations

import io
import itertools
import math
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cloister.results.durable import write_atomically
from cloister.results.figures import Axis, Drawing, Mark, Series
from cloister.results.numbers import number

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SUFFIXES = ("png", "svg", "pdf")

# The width of a column of the usual two-column proceedings (ACM, IEEE, USENIX).
_WIDTH_IN = 3.5
_AXES_HEIGHT_IN = 1.75
_HEIGHT_MAX_IN = 8.0
_FONT_PT = 8
_PNG_DOTS_PER_IN = 200

# Okabe and Ito, Color Universal Design (2008), without the yellow that white paper swallows.
_COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#7F7F7F")
_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "p", "h", "*")
_DASHES: tuple[Any, ...] = (
    "-",
    (0, (4, 1.5)),
    (0, (1, 1)),
    (0, (5, 1, 1, 1)),
    (0, (7, 2)),
    (0, (3, 1, 1, 1, 1, 1)),
    (0, (2, 1)),
)
_HATCHES = ("", "////", "....", "\\\\\\\\", "xxxx", "----", "++++", "||||")

_LEGEND_CHARACTERS_MAX = 46
_TICK_CHARACTERS_MAX = 26
_TITLE_CHARACTERS = 36
_TICKS_MAX = 10

# What a text must keep clear of its neighbours, in points.
_CLEAR_PT = 2.0
_SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def plot(drawing: Drawing, folder: Path) -> tuple[Path, ...]:
    """Writes `<folder>/<name>.png`, `.svg` and `.pdf`."""
    written = []
    for suffix, content in pictures(drawing).items():
        path = folder / f"{drawing.name}.{suffix}"
        write_atomically(path, content)
        written.append(path)
    return tuple(written)


def pictures(drawing: Drawing) -> Mapping[str, bytes]:
    """Suffix → content; for the same drawing and matplotlib always the same."""
    import matplotlib

    with matplotlib.rc_context(_settings(drawing)):
        figure = _drawn(drawing)
        return {suffix: _saved(figure, suffix) for suffix in SUFFIXES}


def _settings(drawing: Drawing) -> Any:
    return {
        "font.family": "DejaVu Sans",
        "font.size": _FONT_PT,
        "axes.titlesize": _FONT_PT + 1,
        "axes.labelsize": _FONT_PT,
        "xtick.labelsize": _FONT_PT,
        "ytick.labelsize": _FONT_PT,
        "legend.fontsize": _FONT_PT,
        "legend.title_fontsize": _FONT_PT,
        "axes.linewidth": 0.6,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.axisbelow": True,
        "lines.linewidth": 1.3,
        "lines.markersize": 4.5,
        "hatch.linewidth": 0.5,
        "text.usetex": False,
        "text.parse_math": False,
        "axes.unicode_minus": True,
        # Ids in the SVG are random otherwise.
        "svg.hashsalt": drawing.name,
        "svg.fonttype": "path",
        # TrueType, since publishers refuse the Type 3 fonts that are the default.
        "pdf.fonttype": 42,
    }


def _saved(figure: Figure, suffix: str) -> bytes:
    out = io.BytesIO()
    # Without dates and versions equal data give equal files.
    metadata: Mapping[str, Mapping[str, str | None]] = {
        "png": {"Software": None},
        "svg": {"Date": None, "Creator": None},
        "pdf": {"CreationDate": None, "Creator": None, "Producer": None},
    }
    figure.savefig(out, format=suffix, dpi=_PNG_DOTS_PER_IN, metadata=dict(metadata[suffix]))
    return out.getvalue()


def _drawn(drawing: Drawing) -> Figure:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    # Ample at first, so that everything can be measured; `_fit` takes away what is not needed.
    figure = Figure(figsize=(_WIDTH_IN, _HEIGHT_MAX_IN), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    match drawing.kind:
        case "line":
            _draw_lines(axes, drawing)
        case "bars":
            _draw_bars(axes, drawing)
        case "cdf":
            _draw_steps(axes, drawing)
        case "throughput-latency":
            _draw_paths(axes, drawing)
    _set_axes(axes, drawing)
    if drawing.title:
        axes.set_title("\n".join(textwrap.wrap(drawing.title, _TITLE_CHARACTERS)), loc="left")
    _add_legend(figure, axes, drawing)
    _clear_ticks(figure, axes, drawing)
    _fit(figure, axes)
    if drawing.kind == "throughput-latency":
        _label_marks(figure, axes, drawing)
    return figure


# --- the kinds -----------------------------------------------------------------------------------


def _draw_lines(axes: Axes, drawing: Drawing) -> None:
    for index, series in enumerate(drawing.series):
        marks = sorted(series.marks, key=lambda mark: mark.x)
        style = _style(index)
        axes.plot([m.x for m in marks], [m.y for m in marks], label=_short(series.label), **style)
        banded = [(m.x, *m.y_interval) for m in marks if m.y_interval]
        if len(banded) == 1:
            _draw_whisker(axes, marks[0], style["color"])
        elif banded:
            x, low, high = zip(*banded, strict=True)
            axes.fill_between(x, low, high, color=style["color"], alpha=0.18, linewidth=0)


def _draw_whisker(axes: Axes, mark: Mark, color: str) -> None:
    """A band of no width would not be seen."""
    if mark.y_interval is not None:
        axes.vlines(mark.x, *mark.y_interval, color=color, linewidth=1)


def _draw_bars(axes: Axes, drawing: Drawing) -> None:
    count = len(drawing.series)
    width = 0.8 / count
    for index, series in enumerate(drawing.series):
        places = [mark.x + (index - (count - 1) / 2) * width for mark in series.marks]
        axes.bar(
            places,
            [mark.y for mark in series.marks],
            width,
            label=_short(series.label),
            color=_COLORS[index % len(_COLORS)],
            hatch=_HATCHES[index % len(_HATCHES)],
            edgecolor="white",
            linewidth=0.3,
        )
        for place, mark in zip(places, series.marks, strict=True):
            if mark.y_interval:
                _draw_bar_whisker(axes, place, mark.y_interval, width)


def _draw_bar_whisker(
    axes: Axes, place: float, interval: tuple[float, float], width: float
) -> None:
    half = min(0.06, width / 4)
    # A white edge keeps it visible on the dark colours.
    for color, thickness in (("white", 2.0), ("#222222", 0.9)):
        axes.vlines(place, *interval, color=color, linewidth=thickness, zorder=3)
        axes.hlines(
            interval, place - half, place + half, color=color, linewidth=thickness, zorder=3
        )


def _draw_steps(axes: Axes, drawing: Drawing) -> None:
    for index, series in enumerate(drawing.series):
        style = _style(index)
        x = [series.marks[0].x, *(mark.x for mark in series.marks)]
        y = [0.0, *(mark.y for mark in series.marks)]
        # Some marks are enough to tell the lines apart.
        every = max(1, len(x) // 6)
        start = 1 + index * every // max(1, len(drawing.series))
        shown = list(range(min(start, len(x) - 1), len(x), every))
        axes.plot(
            x, y, drawstyle="steps-post", label=_short(series.label), markevery=shown, **style
        )
    axes.set_ylim(0, 1.04)


def _draw_paths(axes: Axes, drawing: Drawing) -> None:
    for index, series in enumerate(drawing.series):
        style = _style(index)
        x, y = [mark.x for mark in series.marks], [mark.y for mark in series.marks]
        for mark in series.marks:
            if mark.y_interval:
                axes.vlines(
                    mark.x, *mark.y_interval, color=style["color"], linewidth=0.7, alpha=0.6
                )
            if mark.x_interval:
                axes.hlines(
                    mark.y, *mark.x_interval, color=style["color"], linewidth=0.7, alpha=0.6
                )
        axes.plot(x, y, label=_short(series.label), **style)


def _style(index: int) -> dict[str, Any]:
    """Colour, marker and dashes differ each by itself, for readers without colours."""
    return {
        "color": _COLORS[index % len(_COLORS)],
        "marker": _MARKERS[index % len(_MARKERS)],
        "linestyle": _DASHES[index % len(_DASHES)],
        "markeredgecolor": "white",
        "markeredgewidth": 0.4,
    }


# --- axes ----------------------------------------------------------------------------------------


def _set_axes(axes: Axes, drawing: Drawing) -> None:
    x_values = [mark.x for series in drawing.series for mark in series.marks]
    y_values = [mark.y for series in drawing.series for mark in series.marks]
    axes.margins(x=0.05, y=0.08)
    _set_axis(axes, "x", drawing.x, x_values)
    _set_axis(axes, "y", drawing.y, y_values)
    if drawing.x.categories:
        names = [_short(name, _TICK_CHARACTERS_MAX) for name in drawing.x.categories]
        axes.set_xticks(range(len(names)), names)
        axes.set_xlim(-0.6, len(names) - 0.4)
        axes.tick_params(axis="x", length=0)
    if not drawing.y.log and drawing.kind != "cdf" and min(y_values) >= 0:
        axes.set_ylim(bottom=0)
    if drawing.kind == "throughput-latency" and not drawing.x.log and min(x_values) >= 0:
        axes.set_xlim(left=0)
    axes.grid(axis="both" if not drawing.x.categories else "y", color="#DDDDDD", linewidth=0.5)


def _set_axis(axes: Axes, which: str, axis: Axis, values: Sequence[float]) -> None:
    from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator

    place = axes.xaxis if which == "x" else axes.yaxis
    power = 0
    if axis.log:
        _set_log(axes, which, axis, values)
    elif not axis.categories:
        power = _power(values)
        place.set_major_locator(MaxNLocator(nbins=5, steps=[1, 2, 2.5, 5, 10]))
        place.set_major_formatter(FuncFormatter(lambda value, _: _tick(value / 10.0**power)))
    if axis.ticks and not axis.categories and len(axis.ticks) <= _TICKS_MAX:
        place.set_major_locator(FixedLocator(list(axis.ticks)))
        place.set_minor_locator(NullLocator())
    label = _axis_label(axis, power)
    _ = axes.set_xlabel(label) if which == "x" else axes.set_ylabel(label)


def _set_log(axes: Axes, which: str, axis: Axis, values: Sequence[float]) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    if which == "x":
        axes.set_xscale("log", base=axis.log)
    else:
        axes.set_yscale("log", base=axis.log)
    place = axes.xaxis if which == "x" else axes.yaxis
    narrow = max(values) / min(values) < 30
    subs = (1.0, 2.0, 5.0) if axis.log == 10 and narrow else (1.0,)
    place.set_major_locator(LogLocator(base=axis.log, subs=subs, numticks=7))
    place.set_major_formatter(FuncFormatter(lambda value, _: _log_tick(value)))
    place.set_minor_formatter(NullFormatter())


def _power(values: Sequence[float]) -> int:
    """The power of ten that moves from the ticks to the axis label, a multiple of three."""
    largest = max((abs(value) for value in values), default=0)
    if largest == 0 or 1e-2 <= largest < 1e6:
        return 0
    # The smallest floats have no power of ten of their own.
    return max(-300, 3 * math.floor(math.log10(largest) / 3))


def _tick(value: float) -> str:
    return number(value, digits=6).replace("-", "−")


def _log_tick(value: float) -> str:
    exponent = math.log10(value) if value > 0 else 0.0
    if 1e-3 <= value < 1e6 or not math.isclose(exponent, round(exponent)):
        return number(value)
    return f"10{str(round(exponent)).translate(_SUPERSCRIPT)}"


def _axis_label(axis: Axis, power: int) -> str:
    scale = f"10{str(power).translate(_SUPERSCRIPT)}" if power else ""
    unit = " ".join(part for part in (scale, axis.unit) if part)
    label = f"{axis.title} ({unit})" if unit else axis.title
    return "\n".join(textwrap.wrap(label, 40)) or label


# --- keeping texts apart -------------------------------------------------------------------------


def _short(text: str, most: int = _LEGEND_CHARACTERS_MAX) -> str:
    """Cut in the middle: names often differ at one of their ends."""
    if len(text) <= most:
        return text
    head = (most - 1) // 2
    return f"{text[:head]}…{text[len(text) - (most - 1 - head) :]}"


def _add_legend(figure: Figure, axes: Axes, drawing: Drawing) -> None:
    """Below the axes, so never over data, in as many columns as fit."""
    handles, labels = axes.get_legend_handles_labels()
    if len(labels) < 2:
        return
    for columns in range(min(len(labels), 6), 0, -1):
        legend = figure.legend(
            handles,
            labels,
            loc="outside lower center",
            ncols=columns,
            title=drawing.legend or None,
            frameon=False,
            columnspacing=1.2,
            handlelength=2.6,
            handletextpad=0.5,
            borderaxespad=0.1,
            borderpad=0.1,
        )
        width = legend.get_window_extent(_renderer(figure)).width
        if columns == 1 or width <= figure.get_window_extent().width:
            return
        legend.remove()


def _renderer(figure: Figure) -> Any:
    return figure.canvas.get_renderer()  # type: ignore[attr-defined]


def _clear_ticks(figure: Figure, axes: Axes, drawing: Drawing) -> None:
    """Names of categories are turned until they fit; of numbers that overlap, some are left out."""
    if drawing.x.categories:
        for degrees in (0, 30, 90):
            axes.tick_params(axis="x", rotation=degrees)
            for label in axes.get_xticklabels():
                label.set_horizontalalignment("right" if degrees == 30 else "center")
                label.set_rotation_mode("anchor" if degrees == 30 else "default")
            figure.draw_without_rendering()
            if _far_enough(axes, degrees, figure.dpi):
                return
        return
    figure.draw_without_rendering()
    ticks = list(axes.get_xticks())
    if not drawing.x.ticks or len(ticks) > _TICKS_MAX:
        return
    from matplotlib.ticker import FixedLocator

    axes.xaxis.set_major_locator(FixedLocator(_apart(figure, axes, sorted(ticks))))


def _far_enough(axes: Axes, degrees: int, dots_per_in: float) -> bool:
    labels = axes.get_xticklabels()
    if degrees == 30:
        # Slanted lines of text are apart by sin(30°) of the distance of their ends.
        places = [label.get_window_extent().x1 for label in labels]
        needed = 2 * (_FONT_PT + _CLEAR_PT) * dots_per_in / 72
        return all(b - a >= needed for a, b in itertools.pairwise(places))
    boxes = [label.get_window_extent() for label in labels]
    clear = 2 * _CLEAR_PT * dots_per_in / 72
    return all(a.x1 + clear <= b.x0 for a, b in itertools.pairwise(boxes))


def _apart(figure: Figure, axes: Axes, ticks: Sequence[float]) -> list[float]:
    """Those whose texts do not touch: the two ends first, then the others from the left."""
    extents = {
        tick: label.get_window_extent(_renderer(figure))
        for tick, label in zip(axes.get_xticks(), axes.get_xticklabels(), strict=False)
    }
    clear = 2 * _CLEAR_PT * figure.dpi / 72
    kept: list[float] = []
    for tick in (ticks[0], ticks[-1], *ticks[1:-1]):
        box = extents[tick]
        others = (extents[other] for other in kept)
        if all(box.x1 + clear <= other.x0 or other.x1 + clear <= box.x0 for other in others):
            kept.append(tick)
    return sorted(kept)


def _fit(figure: Figure, axes: Axes) -> None:
    """Makes the figure as high as the axes and what stands around them need."""
    figure.draw_without_rendering()
    around = (figure.get_window_extent().height - axes.get_window_extent().height) / figure.dpi
    figure.set_size_inches(_WIDTH_IN, min(_AXES_HEIGHT_IN + around, _HEIGHT_MAX_IN))
    figure.draw_without_rendering()


def _label_marks(figure: Figure, axes: Axes, drawing: Drawing) -> None:
    """Next to each mark, at the first of eight places that is free; where none is, there is no label."""
    from matplotlib.transforms import Bbox

    figure.draw_without_rendering()
    size = figure.dpi / 72
    taken = [
        Bbox.from_bounds(x - 3 * size, y - 3 * size, 6 * size, 6 * size)
        for x, y in _along(axes, drawing.series, size)
    ]
    inside = axes.get_window_extent()
    for series, color in zip(drawing.series, _text_colors(len(drawing.series)), strict=True):
        for mark in series.marks:
            if mark.label:
                _label_mark(figure, axes, mark, color, taken, inside)


def _text_colors(count: int) -> list[Any]:
    """The colours of the series, darker: thin letters need more contrast than lines."""
    from matplotlib.colors import to_rgb

    colors = [to_rgb(_COLORS[index % len(_COLORS)]) for index in range(count)]
    return [tuple(0.62 * part for part in color) for color in colors]


def _label_mark(
    figure: Figure, axes: Axes, mark: Mark, color: Any, taken: list[Any], inside: Any
) -> None:
    for dx, dy in ((6, 4), (-6, 4), (6, -4), (-6, -4), (0, 8), (0, -8), (9, 0), (-9, 0)):
        text = axes.annotate(
            _short(mark.label, 16),
            (mark.x, mark.y),
            xytext=(dx, dy),
            textcoords="offset points",
            ha="left" if dx > 0 else "right" if dx < 0 else "center",
            va="bottom" if dy > 0 else "top" if dy < 0 else "center",
            color=color,
            fontsize=_FONT_PT,
        )
        text.set_in_layout(False)
        box = text.get_window_extent(_renderer(figure))
        free = not any(box.overlaps(other) for other in taken)
        if free and inside.x0 <= box.x0 and box.x1 <= inside.x1 and box.y1 <= inside.y1:
            taken.append(box)
            return
        text.remove()


def _along(axes: Axes, series: Sequence[Series], size: float) -> Iterator[tuple[float, float]]:
    """Pixels along the lines, close enough together to fence them off."""
    for entry in series:
        ends = [axes.transData.transform((mark.x, mark.y)) for mark in entry.marks]
        yield from ((float(x), float(y)) for x, y in ends)
        for (x0, y0), (x1, y1) in itertools.pairwise(ends):
            steps = min(200, int(max(abs(x1 - x0), abs(y1 - y0)) / (5 * size)))
            for step in range(1, steps):
                share = step / steps
                yield float(x0 + share * (x1 - x0)), float(y0 + share * (y1 - y0))
