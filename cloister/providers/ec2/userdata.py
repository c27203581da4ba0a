"""What a node runs at its first boot: first of all, the end of its lease."""

from __future__ import annotations

# A node whose clock is wrong ends after this many minutes, and not at once.
_MINUTES_IF_WRONG = 60


def user_data(expires: int) -> str:
    """The same text at every repetition of a launch, which is why it computes the minutes on the node.

    expires: Unix seconds.  The shutdown terminates the instance, as the launch call says.
    """
    left = f"( {expires} - $(date +%s) + 59 ) / 60"
    return f"#!/bin/sh\nm=$(( {left} )); [ $m -gt 0 ] || m={_MINUTES_IF_WRONG}; shutdown -P +$m\n"
