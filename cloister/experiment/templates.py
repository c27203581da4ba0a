"""Templates in commands and paths: Jinja2, sandboxed and strict."""

from __future__ import annotations

import dataclasses
import functools
import json
import re
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

import jinja2
import jinja2.meta
from jinja2.sandbox import ImmutableSandboxedEnvironment

from cloister.config.validating import nearest, nearest_hint
from cloister.errors import UsageError
from cloister.experiment.faults import Fault, Key

# What every template may use; a parameter of such a name could not be reached.
NAMES = ("cluster", "node", "nodes", "ports", "process", "processes", "seed", "trial")
# Words of the template language itself.
WORDS = frozenset(
    [
        *("and", "else", "false", "if", "in", "is", "none", "not", "or", "self", "super", "true"),
        *("False", "None", "True"),
    ]
)

_SHOWN_MAX = 80
_NO_ENTRY = "there is no entry "
_NO_FILTER = re.compile(r"No filter named '([^']*)'")
_UNKNOWN = re.compile(r"the name '([^']*)' is not known")


class TemplateError(UsageError):
    """`is_about_names` is true where no other nodes or parameters would mend it."""

    def __init__(self, message: str, *, hint: str = "", is_about_names: bool = False) -> None:
        super().__init__(message, hint=hint)
        self.is_about_names = is_about_names


def is_template(text: str) -> bool:
    return "{{" in text or "{%" in text or "{##" in text


def render(text: str, names: Mapping[str, Any]) -> str:
    """The text with its templates filled in; TemplateError says what is wrong with which template."""
    if not is_template(text):
        return text
    template = _compiled(text)
    try:
        return template.render(names)
    except jinja2.UndefinedError as error:
        message = error.message or "a name is not known"
        unknown = _UNKNOWN.fullmatch(message)
        hint = _name_hint(unknown[1], text, names) if unknown else ""
        is_about_names = not message.startswith(_NO_ENTRY)
        raise _error(text, message, hint, is_about_names=is_about_names) from None
    except (jinja2.TemplateError, ArithmeticError, TypeError, ValueError, LookupError) as error:
        raise _error(text, str(error)) from None
    except (AttributeError, RecursionError, MemoryError) as error:
        raise _error(text, str(error) or type(error).__name__) from None


def _name_hint(name: str, text: str, names: Mapping[str, Any]) -> str:
    if name in NAMES:
        # Only counts lack some of these.
        return "this decides which nodes are used, so it cannot depend on them"
    dashed = [known for known in names if known.startswith(f"{name}-") and known in text]
    if dashed:
        return f"{dashed[0]!r} reads as a subtraction in a template: use _ in the parameter's name"
    return nearest_hint(name, names)


def template_fault(key: Key, error: TemplateError) -> Fault:
    return Fault(key=key, message=error.message, hint=error.hint, is_certain=error.is_about_names)


def names_used(text: str) -> frozenset[str]:
    """The top-level names that the template refers to."""
    if not is_template(text):
        return frozenset()
    _compiled(text)
    return frozenset(jinja2.meta.find_undeclared_variables(_environment().parse(text)))


@functools.lru_cache(maxsize=4096)
def _compiled(text: str) -> jinja2.Template:
    try:
        return _environment().from_string(text)
    except jinja2.TemplateSyntaxError as error:
        message = error.message or "not a template"
        raise _error(text, message, _syntax_hint(message), is_about_names=True) from None
    except (RecursionError, SyntaxError, MemoryError, OverflowError):
        # Jinja2 turns the template into Python, whose own limits show here.
        raise _error(text, "the template is nested too deeply", is_about_names=True) from None


def _syntax_hint(message: str) -> str:
    unknown = _NO_FILTER.match(message)
    if unknown:
        near = nearest(unknown[1], _environment().filters)
        return f"did you mean {near!r}?" if near else ""
    return "write {{ '{{' }} for braces that the program is to see"


def _error(
    text: str, message: str, hint: str = "", *, is_about_names: bool = False
) -> TemplateError:
    shown = text if len(text) <= _SHOWN_MAX else text[:_SHOWN_MAX] + "…"
    return TemplateError(
        f"in {json.dumps(shown, ensure_ascii=False)}: {message}",
        hint=hint,
        is_about_names=is_about_names,
    )


def as_text(value: object) -> str:
    """How a value stands in a command: as it is spelled in a configuration, and nothing for null."""
    if value is None:
        return ""
    return str(value).lower() if isinstance(value, bool) else str(value)


def _finalized(value: object) -> object:
    return as_text(value) if value is None or isinstance(value, bool) else value


def quote(value: object) -> str:
    """One word of a shell command, whatever is in it; of a list, one word for each entry."""
    if isinstance(value, list | tuple):
        return " ".join(quote(entry) for entry in value)
    return shlex.quote(as_text(value))


class _Unknown(jinja2.StrictUndefined):
    """Says what the name was looked up in, and what is there."""

    __slots__ = ()

    @property
    def _undefined_message(self) -> str:
        name, around = self._undefined_name, self._undefined_obj
        if self._undefined_hint:
            return str(self._undefined_hint)
        if around is jinja2.utils.missing:
            return f"the name {str(name)!r} is not known"
        if isinstance(around, list | tuple):
            count = f"{len(around)} {'entry' if len(around) == 1 else 'entries'}"
            return f"{_NO_ENTRY}[{name!r}] in a list of {count}"
        known = _inside(around)
        hint = nearest_hint(str(name), known)
        return f"there is no {str(name)!r} here" + (f" ({hint})" if hint else "")


def _inside(value: object) -> Sequence[str]:
    if isinstance(value, Mapping):
        return [str(key) for key in value]
    if dataclasses.is_dataclass(value):
        return [field.name for field in dataclasses.fields(value)]
    return []


class _Environment(ImmutableSandboxedEnvironment):
    def getattr(self, obj: Any, attribute: str) -> Any:
        # A parameter may be called `keys` or `items`, like the methods of a dictionary.
        if isinstance(obj, Mapping) and attribute in obj:
            return obj[attribute]
        return super().getattr(obj, attribute)


@functools.cache
def _environment() -> _Environment:
    environment = _Environment(
        undefined=_Unknown,
        finalize=lambda value: (
            as_text(value) if value is None or value is True or value is False else value
        ),
        keep_trailing_newline=True,
        # Commands are not HTML; `quote` is for the shell.
        autoescape=False,
        # The default, {#, is common in shell: ${#array[@]}.
        comment_start_string="{##",
        comment_end_string="##}",
        cache_size=0,
    )
    environment.filters["quote"] = quote
    return environment
