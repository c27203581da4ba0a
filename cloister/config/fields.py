"""The kinds of values that the models of a configuration are made of."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

# A name becomes part of file names, tags and environment values.
Name = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_-]{0,62}$")]
Port = Annotated[int, Field(ge=1, le=65535)]
# A count may be a template such as "{{ workers }}", so that a sweep can vary it.
Count = Annotated[int, Field(ge=0, le=100_000)] | Annotated[str, Field(pattern=r"\{\{")]
Scalar = bool | int | float | str | None

_DURATION_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def seconds(value: object) -> object:
    """`1h30m`, `500ms` or a plain number of seconds, as seconds; anything else is a ValueError."""
    if isinstance(value, bool) or not isinstance(value, str):
        return value
    text = value.strip()
    parts = _DURATION_PART.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise ValueError("expected a duration such as 500ms, 10s, 1h30m or a number of seconds")
    return sum(float(number) * _SECONDS[unit] for number, unit in parts)


Duration = Annotated[float, BeforeValidator(seconds), Field(ge=0, allow_inf_nan=False)]


def _compiles(pattern: str) -> str:
    try:
        re.compile(pattern)
    except (re.error, OverflowError, RecursionError) as error:
        raise ValueError(f"not a regular expression: {error}") from None
    return pattern


def _has_group(pattern: str) -> str:
    if re.compile(_compiles(pattern)).groups == 0:
        raise ValueError("the pattern has no group: put ( ) around the number to take")
    return pattern


Pattern = Annotated[str, AfterValidator(_compiles)]
PatternWithGroup = Annotated[str, AfterValidator(_has_group)]


class Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)
