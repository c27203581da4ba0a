"""Commands that succeed on some nodes: what each node says, and the exit status of it all."""

from __future__ import annotations

from collections.abc import Mapping

from cloister.cli.output import say, show
from cloister.errors import CloisterError, PartlyDone


def show_folded(texts: Mapping[str, str]) -> None:
    """A line for each distinct text, with the nodes that it is about."""
    from cloister.transport.fold import fold_equal

    for names, text in fold_equal(texts):
        show(f"{names}: {text}")


def expect_no_errors(
    errors: Mapping[str, CloisterError], nodes: int, what: str, *, hint: str = ""
) -> None:
    """Say each node's error; PartlyDone if other nodes have none, CloisterError if all `nodes` have one.

    what: "the logs were not fetched", for example.
    """
    if not errors:
        return
    from cloister.transport.fold import fold

    for error in errors.values():
        say(str(error) + (f" ({error.hint})" if error.hint else ""))
    kind = CloisterError if len(errors) >= nodes else PartlyDone
    raise kind(f"{what} on {len(errors)} of {nodes} nodes: {fold(errors)}", hint=hint)
