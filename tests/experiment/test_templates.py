"""Templates: what they may say, how values stand in a command, what a mistake is told."""

from __future__ import annotations

import shlex
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from cloister.errors import UsageError
from cloister.experiment.names import nested
from cloister.experiment.templates import TemplateError, as_text, names_used, quote, render

NAMES = nested(
    {
        "workers": 2,
        "rate": 0.5,
        "on": True,
        "nothing": None,
        "client.keys": 7,
        "client.net.items": "x",
        "sizes": [1, 2],
        "mode": {"get": "fast"},
        "text": "it's $HOME",
        "block-size": 4,
    }
)


@pytest.mark.parametrize(
    ("text", "rendered"),
    [
        ("plain $HOME ${#array[@]} ${x%%.*} {a,b} { print $1 }", None),
        ("{{ workers }}", "2"),
        ("{{ workers * 2 + 1 }}", "5"),
        ("{{ rate }}", "0.5"),
        ("--on={{ on }} {{ not on }}", "--on=true false"),
        ("[{{ nothing }}]", "[]"),
        ("{{ client.keys }} {{ client.net.items }} {{ mode.get }}", "7 x fast"),
        ("{{ client['keys'] }}", "7"),
        ("{{ sizes[1] }} {{ sizes | length }} {{ sizes | join(',') }}", "2 2 1,2"),
        ("{{ text | quote }}", "'it'\"'\"'s $HOME'"),
        ("{{ sizes | quote }} {{ on | quote }} {{ nothing | quote }}", "1 2 true ''"),
        ("{% for n in range(workers) %}{{ n }},{% endfor %}", "0,1,"),
        ("{% if on %}-v{% endif %}", "-v"),
        ("{{ missing | default('none') }}", "none"),
        ("{% if missing is defined %}x{% endif %}y", "y"),
        ("{## a comment ##}x ${#array}", "x ${#array}"),
        ("{{ '{{' }}.Names}}", "{{.Names}}"),
        ("line\n{{ workers }}\n", "line\n2\n"),
        ("{{ text }}", "it's $HOME"),
    ],
)
def test_a_template_is_filled_in(text: str, rendered: str | None) -> None:
    assert render(text, NAMES) == (text if rendered is None else rendered)


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("{{ worker }}", "the name 'worker' is not known", "did you mean 'workers'?"),
        ("{{ client.key }}", "there is no 'key' here (did you mean 'keys'?)", ""),
        ("{{ sizes[5] }}", "there is no entry [5] in a list of 2 entries", ""),
        ("{{ block-size }}", "the name 'block' is not known", "subtraction"),
        ("{{ zzz.x }}", "the name 'zzz' is not known", "known: workers"),
        ("{{ workers", "unexpected end of template", "braces"),
        ("{{ workers | qoute }}", "No filter named 'qoute'", "did you mean 'quote'?"),
        ("{{ 1 / 0 }}", "division by zero", ""),
        ("{{ workers + text }}", "unsupported operand", ""),
        ("{{ sizes.append(3) }}", "unsafe", ""),
        ("{{ ''.__class__ }}", "unsafe", ""),
        ("{{ range(10000000) | list }}", "too big", ""),
        ("{% include 'x' %}", "no loader", ""),
        ("{{ " + "(" * 500 + ")" * 500 + " }}", "too deeply", ""),
    ],
)
def test_a_mistake_names_the_template_and_the_nearest_name(
    text: str, message: str, hint: str
) -> None:
    with pytest.raises(TemplateError) as caught:
        render(text, NAMES)
    assert message in caught.value.message
    assert text[:40] in caught.value.message.replace('\\"', '"')
    assert hint in caught.value.hint
    assert isinstance(caught.value, UsageError)


def test_a_long_template_is_cut_in_the_message() -> None:
    with pytest.raises(TemplateError) as caught:
        render("x" * 1000 + "{{ unknown }}", NAMES)
    assert len(caught.value.message) < 200


def test_one_template_cannot_change_another() -> None:
    render("{% set workers = 9 %}{{ workers }}", NAMES)
    assert render("{{ workers }}", NAMES) == "2"
    for text in ("{{ sizes.clear() }}", "{{ mode.update({'get': 1}) }}"):
        with pytest.raises(TemplateError):
            render(text, NAMES)


def test_the_names_that_a_template_uses_are_known_before_it_is_rendered() -> None:
    assert names_used("{{ a.b }} {% for x in c %}{{ x }}{{ d[e] }}{% endfor %}") == {
        "a",
        "c",
        "d",
        "e",
    }
    assert names_used("no {a} template") == frozenset()


@given(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])))
@example("a b'c\n$(d)")
def test_a_quoted_text_is_one_word_of_a_shell(text: str) -> None:
    assert shlex.split(quote(text)) == [text]
    assert render("{{ x | quote }}", {"x": text}) == quote(text)


@settings(deadline=None)
@given(
    st.lists(
        st.sampled_from(
            ["{{", "}}", "{%", "%}", "{##", "##}", "a", ".", "[", "]", "(", ")", "|", "'"]
        )
        | st.sampled_from(
            [" for ", " in ", " if ", " endif ", "workers", " x ", "1", "-", " set ", "="]
        )
    ).map("".join)
)
def test_any_template_renders_or_gives_a_template_error(text: str) -> None:
    try:
        assert isinstance(render(text, NAMES), str)
    except TemplateError as error:
        assert error.message


def test_values_stand_in_a_command_as_a_configuration_spells_them() -> None:
    values: list[Any] = [True, False, None, 1, 1.5, "x", [1]]
    assert [as_text(value) for value in values] == ["true", "false", "", "1", "1.5", "x", "[1]"]


def test_dotted_parameters_are_tables() -> None:
    assert nested({"a.b.c": 1, "a.d": 2, "e": 3}) == {"a": {"b": {"c": 1}, "d": 2}, "e": 3}
