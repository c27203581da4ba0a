from __future__ import annotations

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from cloister.transport.fold import fold, fold_equal


def unfold(text: str) -> list[str]:
    """As a person reads it."""
    names: list[str] = []
    for part in re.findall(r"[^,\[]+(?:\[[^\]]*\])?", text):
        prefix, _, inside = part.partition("[")
        if not inside:
            names.append(prefix)
            continue
        for run in inside.rstrip("]").split(","):
            first, _, last = run.partition("-")
            names += [f"{prefix}{number}" for number in range(int(first), int(last or first) + 1)]
    return names


NAMES = st.from_regex(r"[a-z0-9.-]{0,4}[a-z][0-9]{0,3}", fullmatch=True)


@given(names=st.lists(NAMES))
@example(names=["a01", "a1", "a2", "a10"])
@example(names=["a0", "a00", "a1"])
@example(names=["a", "a", "a1", "a1"])
def test_folded_names_unfold_to_the_same_names(names: list[str]) -> None:
    assert sorted(unfold(fold(names))) == sorted(set(names))


@pytest.mark.parametrize(
    ("names", "folded"),
    [
        ([], ""),
        (["a"], "a"),
        (["a1"], "a1"),
        (["a1", "a2"], "a[1-2]"),
        (["w3", "w1", "w2", "w9"], "w[1-3,9]"),
        (["w1", "m1", "w2", "b"], "w[1-2],m1,b"),
        (["w08", "w09", "w10"], "w10,w08,w09"),
    ],
)
def test_numbered_names_are_folded(names: list[str], folded: str) -> None:
    assert fold(names) == folded


@given(outputs=st.dictionaries(NAMES, st.sampled_from(["", "ok", "no"])))
def test_equal_outputs_are_shown_once_with_everyone_who_gave_them(outputs: dict[str, str]) -> None:
    groups = fold_equal(outputs)
    assert [output for _, output in groups] == list(dict.fromkeys(outputs.values()))
    seen = {name: output for names, output in groups for name in unfold(names)}
    assert seen == outputs
