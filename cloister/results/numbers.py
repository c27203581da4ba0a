"""How numbers and parameters are shown to people: four significant digits, thousands apart."""

from __future__ import annotations

import json
import math
from typing import Any

from cloister.results.statistics import Estimate, Metric

_DIGITS = 4
# Beyond these a power of ten is easier to read.
_PLAIN_MAX = 1e9
_PLAIN_MIN = 1e-4


def number(value: float | None, *, digits: int = _DIGITS) -> str:
    """`12,345`, `1.235`, `2.5e-07`; a dash for no value."""
    if value is None:
        return "–"
    if value == 0 or not math.isfinite(value):
        return f"{value:g}"
    if not _PLAIN_MIN <= abs(value) < _PLAIN_MAX:
        mantissa, exponent = f"{value:.{digits - 1}e}".split("e")
        return f"{mantissa.rstrip('0').rstrip('.')}e{int(exponent)}"
    decimals = max(0, digits - 1 - math.floor(math.log10(abs(value))))
    return _without_zeros(f"{value:,.{decimals}f}")


def _without_zeros(text: str) -> str:
    return text.rstrip("0").rstrip(".") if "." in text else text


def interval(estimate: Estimate | None) -> str:
    if estimate is None or estimate.low is None or estimate.high is None:
        return "–"
    return f"[{number(estimate.low)}, {number(estimate.high)}]"


def parameter(value: Any) -> str:
    """As the user would write it: `64`, `fast`, `true`, `[1, 2]`."""
    match value:
        case None:
            return "–"
        case str():
            return value
        case bool():
            return "true" if value else "false"
        case float():
            return repr(value)
        case _:
            return json.dumps(value, default=str, ensure_ascii=False)


def titled(metric: Metric) -> str:
    return f"{metric.name} ({metric.unit})" if metric.unit else metric.name


def percent(share: float) -> str:
    return f"{_without_zeros(f'{100 * share:.2f}')} %"
